"""The page's files: types, tags, compression, and addresses that may be kept for ever."""

from __future__ import annotations

import os
import re
import zlib

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from sensorium.server import pages

INDEX = '<!doctype html><link href="/web/style/a.css"><script type="module" src="/web/main.js"></script>'


@pytest.fixture
def web(tmp_path):
    web = tmp_path / "web"
    (web / "lib").mkdir(parents=True)
    (web / "style").mkdir()
    (web / "node_modules" / "preact").mkdir(parents=True)
    (web / "index.html").write_text(INDEX)
    (web / "main.js").write_text("import './lib/a.js';" + "//" * 2000)
    (web / "lib" / "a.js").write_text("export const a = 1;")
    (web / "style" / "a.css").write_text("a { color: red }")
    (web / "node_modules" / "preact" / "a.js").write_text("not served")
    (web / "package.json").write_text("{}")
    (web / ".npmrc").write_text("secret")
    (web / "notes.md").write_text("not served")
    return web


@pytest.fixture
def asking(web):
    return TestClient(Starlette(routes=pages.routes(web)))


@pytest.mark.parametrize(
    "address",
    [
        "/",
        "/search?q=x",
        "/photo/12",
        "/people",
        "/people/3",
        "/albums/4",
        "/map",
        "/share/sns_x",
        "/sign-in",
    ],
)
def test_every_address_of_the_page_is_the_page(asking, address):
    answer = asking.get(address)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert "<!doctype html>" in answer.text
    assert asking.head(address).status_code == 200


@pytest.mark.parametrize("address", ["/wp-login.php", "/photos", "/search/x", "/index.html", "/web", "/web/"])
def test_no_other_address_is(asking, address):
    assert asking.get(address, follow_redirects=False).status_code in (404, 307)
    assert asking.get(address).status_code == 404


@pytest.mark.parametrize(
    ("path", "kind"),
    [("main.js", "text/javascript; charset=utf-8"), ("style/a.css", "text/css; charset=utf-8")],
)
def test_types_do_not_depend_on_the_machine(asking, path, kind):
    assert asking.get(f"/web/{path}").headers["content-type"] == kind


@pytest.mark.parametrize(
    "path",
    ["node_modules/preact/a.js", "package.json", ".npmrc", "notes.md", "lib", "none.js", "lib/none.js"],
)
def test_what_is_no_part_of_the_page_is_not_served(asking, path):
    assert asking.get(f"/web/{path}").status_code == 404


def test_the_page_names_its_files_by_what_is_in_them(asking, web):
    def named() -> list[str]:
        return re.findall(r'"(/web/~[0-9a-f]{16}/[^"]*)"', asking.get("/").text)

    before = named()
    assert len(before) == 2
    for address in before:
        answer = asking.get(address)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
    (web / "lib" / "a.js").write_text("export const a = 2;")
    after = named()
    assert set(after).isdisjoint(before)
    # A page of before still finds its files, but must not keep those of now under the name of before.
    old = asking.get(before[1].replace("main.js", "lib/a.js"))
    assert (old.text, old.headers["cache-control"]) == ("export const a = 2;", "no-cache")
    new = asking.get(after[1].replace("main.js", "lib/a.js"))
    assert "immutable" in new.headers["cache-control"]


def test_a_file_that_a_browser_has_is_not_sent_again(asking, web):
    first = asking.get("/web/main.js")
    assert first.headers["cache-control"] == "no-cache"
    again = asking.get("/web/main.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    os.utime(web / "main.js", (1, 1))
    assert asking.get("/web/main.js", headers={"If-None-Match": first.headers["etag"]}).status_code == 200


def test_text_is_compressed_where_that_helps(asking):
    with asking.stream("GET", "/web/main.js", headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.headers["content-encoding"] == "gzip"
        assert "accept-encoding" in answer.headers["vary"].lower()
        packed = b"".join(answer.iter_raw())
    assert zlib.decompress(packed, 31).startswith(b"import")
    assert len(packed) < 200
    plain = asking.get("/web/main.js", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    small = asking.get("/web/lib/a.js", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in small.headers


def test_an_installation_without_a_page_says_so(tmp_path):
    asking = TestClient(Starlette(routes=pages.routes(tmp_path / "none")))
    answer = asking.get("/")
    assert answer.status_code == 404
    assert "no page" in answer.text


def test_only_reading_is_answered(asking):
    assert asking.post("/web/main.js").status_code == 405
    assert asking.post("/").status_code == 405
