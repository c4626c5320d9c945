"""The security list of the server, a case or more for each of its lines. More: test_security_*.py."""

from __future__ import annotations

import ast
import io
import json
import re
import socket
import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image
from serving import (
    AWAY,
    CSRF,
    application,
    away,
    beside,
    client,
    index,
    local_client,
    make_library,
    operations,
    plain,
    problem,
    share,
    stranger,
    token_of,
    write,
)

import sensorium.server
from sensorium.errors import SensoriumError
from sensorium.server import running
from sensorium.server.access import accounts as accounts_module
from sensorium.server.access.accounts import FILE_NAME, Accounts
from sensorium.server.access.tokens import Role
from sensorium.server.settings import ServerSettings

# Loopback by default


def test_it_listens_on_loopback_by_default(folder):
    settings = ServerSettings(library=folder)
    assert settings.loopback
    assert settings.open_to_the_owner
    with closing(running._listen(settings.host, 0)) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "::ffff:192.0.2.1"])
def test_elsewhere_it_refuses_to_listen_in_the_clear(folder, host):
    with pytest.raises(SensoriumError, match="--certificate"):
        ServerSettings(library=folder, host=host)
    assert not ServerSettings(library=folder, host=host, without_tls=True).open_to_the_owner


def test_the_owner_at_this_machine_needs_no_token(local):
    document = local.get("/api/v1/session").json()
    assert (document["role"], document["needs_sign_in"]) == ("admin", False)


# Elsewhere a token is demanded; every route has a role: view, edit, admin


def test_every_route_demands_a_role_but_signing_in_and_shares(folder):
    without = {(path, method) for path, method, role in operations(application(folder)) if role is None}
    assert without == {
        ("/api/v1/session", "GET"),
        ("/api/v1/session", "POST"),
        ("/api/v1/shared/{key}", "GET"),
        ("/api/v1/shared/{key}/photos/{photo_id}/thumbnail", "GET"),
        ("/api/v1/shared/{key}/photos/{photo_id}/media", "GET"),
    }


def test_every_route_without_a_token_answers_401(folder):
    app = away(folder)
    with stranger(app) as asking:
        tried = 0
        for path, method, _ in operations(app):
            if path.startswith("/api/v1/shared/") or (path, method) == ("/api/v1/session", "POST"):
                continue
            address = re.sub(r"\{[^}]*\}", "1", path)
            answer = asking.request(
                method, address, content=b"{", headers={"content-type": "application/json"}
            )
            problem(answer, 401, "sign_in_needed")
            tried += 1
        assert tried > 30
        problem(asking.post("/api/v1/session", json={"token": "sns_none"}), 401, "wrong_token")


@pytest.mark.parametrize(
    ("path", "method", "least"),
    [
        ("/api/v1/status", "GET", "view"),
        ("/api/v1/grid", "GET", "view"),
        ("/api/v1/search", "GET", "view"),
        ("/api/v1/search", "POST", "view"),
        ("/api/v1/search/image", "POST", "view"),
        ("/api/v1/photos/{photo_id}/media", "GET", "view"),
        ("/api/v1/photos/marks", "POST", "edit"),
        ("/api/v1/albums", "POST", "edit"),
        ("/api/v1/export", "POST", "edit"),
        ("/api/v1/shares", "POST", "edit"),
        ("/api/v1/shares", "GET", "edit"),
        ("/api/v1/tokens", "GET", "admin"),
        ("/api/v1/tokens", "POST", "admin"),
        ("/api/v1/roots", "POST", "admin"),
        ("/api/v1/jobs", "POST", "admin"),
        ("/api/v1/settings", "PATCH", "admin"),
        ("/api/v1/backups", "GET", "admin"),
    ],
)
def test_roles_are_as_agreed(folder, path, method, least):
    roles = {(path, method): role for path, method, role in operations(application(folder))}
    assert roles[path, method] == least


# The token: created on the first start, shown once, stored hashed


def test_the_first_start_makes_an_administrators_token_and_shows_it_once(folder):
    told = []
    for _ in range(2):
        app = away(folder)
        with stranger(app) as asking, socket.create_server(("127.0.0.1", 0)) as listener:
            ready = running._readiness(app, listener, new_token=False)
            told.append(ready.token)
            headers = {"Authorization": f"Bearer {told[0]}"}
            assert asking.get("/api/v1/tokens", headers=headers).status_code == 200
    assert told[0].startswith("sns_")
    assert told[1] is None


def test_no_secret_is_stored(folder):
    with closing(Accounts.open(folder)) as opened:
        token, secret = opened.add_token("Ann", Role.VIEW)
        _, cookie = opened.begin_session(token)
        _, key = opened.add_share("trip", 60, photos={1: 1})
    for file in folder.iterdir():
        content = file.read_bytes()
        for kept in (secret, cookie, key):
            assert kept.encode() not in content
            assert kept[-43:].encode() not in content


def test_the_file_is_its_owners_alone_and_no_part_of_a_backup(folder):
    file = folder / FILE_NAME
    file.touch()
    file.chmod(0o666)  # as if copied there by hand
    with closing(Accounts.open(folder)) as opened:
        opened.add_token("Ann", Role.VIEW)
        for written in folder.glob(f"{FILE_NAME}*"):
            assert stat.S_IMODE(written.stat().st_mode) == 0o600, written
    with closing(sqlite3.connect(folder / "library.sqlite3")) as library:
        names = {row[0] for row in library.execute("SELECT name FROM sqlite_master")}
    assert not names & {"tokens", "sessions", "shares"}


# TLS by certificate flags


def test_a_certificate_that_cannot_be_used_is_refused_in_one_line(folder, tmp_path, certificate):
    chain, key, other_key = certificate
    with pytest.raises(SensoriumError, match="cannot read"):
        ServerSettings(library=folder, host="0.0.0.0", certificate=tmp_path / "none.pem")
    with pytest.raises(SensoriumError, match="does not belong to"):
        ServerSettings(library=folder, host="0.0.0.0", certificate=chain, key=other_key)
    with pytest.raises(SensoriumError, match="without --certificate"):
        ServerSettings(library=folder, host="0.0.0.0", key=key)
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n")
    with pytest.raises(SensoriumError, match="no certificate with its key"):
        ServerSettings(library=folder, host="0.0.0.0", certificate=broken)


def test_with_tls_cookies_are_bound_to_it_and_browsers_are_told_to_stay(folder, certificate):
    chain, key, _ = certificate
    app = away(folder, certificate=chain, key=key, without_tls=False)
    assert "photos.example" in app.state.settings.names
    with stranger(app) as asking:
        answer = asking.post("/api/v1/session", json={"token": token_of(app, "view")})
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("__Host-sensorium=")
        assert {"httponly", "path=/", "samesite=strict", "secure"} <= set(cookie.lower().split("; "))
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        insecure = {"Origin": "http://photos.example:8765"}
        problem(asking.get("/api/v1/session", headers=insecure), 403, "wrong_origin")


# Host and Origin checked (DNS rebinding)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "192.0.2.1", "[2001:db8::1]", "0.0.0.0"],
)
def test_another_name_that_leads_here_is_turned_away(local, host):
    """DNS rebinding: the page of another site that made its own name resolve to this machine."""
    for path in ("/api/v1/session", "/", "/web/main.js"):
        problem(local.get(path, headers={"Host": host}), 421, "wrong_host")


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://127.0.0.1:3000", "file://", "http://127.0.0.1", "ftp://x"],
)
def test_pages_of_other_sites_may_not_ask(local, origin):
    for method in ("GET", "POST", "OPTIONS"):
        problem(local.request(method, "/api/v1/session", headers={"Origin": origin}), 403, "wrong_origin")


# CSRF-safe


def test_changes_take_the_header_that_only_our_page_can_send(folder):
    with client(application(folder)) as asking:
        body = {"name": "x", "role": "view"}
        problem(asking.post("/api/v1/tokens", json=body), 403, "csrf")
        problem(asking.post("/api/v1/tokens", json=body, headers={CSRF: "0" * 64}), 403, "csrf")
        problem(asking.post("/api/v1/tokens", json=body, headers={CSRF: "é".encode()}), 403, "csrf")
        assert asking.get("/api/v1/tokens").json() == {"tokens": []}
        csrf = asking.get("/api/v1/session").json()["csrf"]
        assert asking.post("/api/v1/tokens", json=body, headers={CSRF: csrf}).status_code == 201


def test_every_route_that_changes_something_takes_it(folder):
    app = application(folder)
    with client(app) as asking:
        for path, method, _ in operations(app):
            if method not in ("GET", "HEAD") and (path, method) != ("/api/v1/session", "POST"):
                address = re.sub(r"\{[^}]*\}", "1", path)
                problem(asking.request(method, address, json={}), 403, "csrf")


# Strict CSP without inline script


@pytest.mark.parametrize(
    "path", ["/", "/search?q=x", "/web/main.js", "/api/v1/session", "/nothing", "/api/nothing"]
)
def test_every_answer_tells_browsers_what_to_keep_to(local, path):
    headers = local.get(path).headers
    policy = dict(rule.partition(" ")[::2] for rule in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["style-src"] == "'self'"
    assert policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"
    assert "geolocation=()" in headers["permissions-policy"]
    assert "server" not in headers


def test_the_page_needs_no_inline_script_or_style_and_no_other_host():
    page = (Path(sensorium.server.__file__).parent / "web" / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    assert not re.search(r"\son[a-z]+\s*=|<style|\sstyle\s*=|javascript:", page, re.IGNORECASE)
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", page)


# Rate-limited sign-in


def test_guessing_is_stopped(folder):
    with stranger(app := away(folder)) as asking:
        for _ in range(10):
            problem(asking.post("/api/v1/session", json={"token": "sns_guess"}), 401, "wrong_token")
        answer = asking.post("/api/v1/session", json={"token": token_of(app, "admin")})
        problem(answer, 429, "too_many_attempts")
        assert int(answer.headers["retry-after"]) > 0
        wrong = {"Authorization": "Bearer sns_guess"}
        problem(asking.get("/api/v1/tokens", headers=wrong), 429, "too_many_attempts")
        problem(asking.get("/api/v1/shared/sns_guess"), 429, "too_many_attempts")
        headers = {"Authorization": f"Bearer {token_of(app, 'admin')}"}
        assert asking.get("/api/v1/tokens", headers=headers).status_code == 200  # whoever has one already
    with client(app, address=("198.51.100.1", 1), base_url=AWAY) as other:
        assert other.post("/api/v1/session", json={"token": token_of(app, "view")}).status_code == 200


# Upload and body limits


def test_a_body_that_says_it_is_too_large_is_refused(local):
    body = json.dumps({"name": "x" * 1_100_000, "role": "view"})
    answer = local.post("/api/v1/tokens", content=body, headers={"content-type": "application/json"})
    problem(answer, 413, "body_too_large")


def test_a_body_that_does_not_say_so_is_refused_as_well(local):
    def stream():
        for _ in range(30):
            yield b"x" * 50_000

    answer = local.post("/api/v1/tokens", content=stream(), headers={"content-type": "application/json"})
    problem(answer, 413, "body_too_large")


def test_a_picture_may_be_larger_but_not_without_end(made):
    with local_client(application(made)) as asking:
        headers = {"content-type": "image/jpeg"}
        problem(
            asking.post("/api/v1/search/image", content=b"x" * 2_000_000, headers=headers), 422, "bad_image"
        )
        answer = asking.post("/api/v1/search/image", content=b"x" * 50_000_001, headers=headers)
        problem(answer, 413, "body_too_large")


# No URL fetching


def test_no_part_of_the_server_can_ask_another_one():
    forbidden = {
        "httpx",
        "httpx2",
        "requests",
        "urllib.request",
        "aiohttp",
        "http.client",
        "ftplib",
        "smtplib",
    }
    for file in Path(sensorium.server.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
            assert not forbidden & set(names), file


def test_an_address_in_a_request_is_not_asked(made):
    asked = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as trap, local_client(application(made)) as asking:
        trap.settimeout(3)

        def watch():
            try:
                trap.accept()[0].close()
            except OSError:
                return
            asked.set()

        watching = threading.Thread(target=watch)
        watching.start()
        url = f"http://127.0.0.1:{trap.getsockname()[1]}/red.jpg"
        for words in (url, f"{url} + red", f"red - {url}"):
            asking.get("/api/v1/search", params={"q": words})
        asking.post("/api/v1/search", json={"query": {"text": url, "terms": [{"image": url}]}, "terms": []})
        asking.post("/api/v1/search/image", content=url.encode(), headers={"content-type": "text/uri-list"})
        asking.post("/api/v1/roots", json={"path": url})
        trap.close()
        watching.join()
    assert not asked.is_set()


# Paths only by id, and always inside a library root after resolving links


def test_a_sentence_opens_no_file(made, tmp_path):
    secret = tmp_path / "secret.jpg"
    Image.new("RGB", (8, 8), (220, 20, 20)).save(secret)
    with local_client(application(made)) as asking:
        for words in (f"{secret}", f"{secret} + red", f"red - {secret}", f"2*{secret} + red"):
            told = []
            for colour in ((220, 20, 20), (20, 200, 40), None):
                if colour is None:
                    secret.unlink()
                else:
                    Image.new("RGB", (8, 8), colour).save(secret)
                answer = asking.get("/api/v1/search", params={"q": words})
                told.append((answer.status_code, answer.text))
            # What is in the file, and whether there is one, is all the same.
            assert told[0] == told[1] == told[2]
        query = asking.get("/api/v1/parse", params={"q": "red"}).json()["query"]
        query["terms"] = [{"weight": 1.0, "words": None, "image": str(secret)}]
        answer = asking.post("/api/v1/search", json={"query": query, "terms": []})
        assert answer.status_code in (400, 404, 422), answer.text


@pytest.mark.parametrize("exchanged", ["file", "folder"])
def test_a_link_out_of_a_root_is_not_followed(tmp_path, exchanged):
    folder = make_library(tmp_path / "library", ("green",))
    inner, secret = tmp_path / "pictures" / "trip", tmp_path / "secret"
    write(inner / "red.jpg", plain("red"))
    write(secret / "red.jpg", plain("blue"))
    index(folder)
    if exchanged == "file":
        (inner / "red.jpg").unlink()
        (inner / "red.jpg").symlink_to(secret / "red.jpg")
    else:
        inner.rename(tmp_path / "away")
        inner.symlink_to(secret)
    with local_client(application(folder)) as asking:
        ids = asking.get("/api/v1/grid").json()["ids"]
        cards = asking.get("/api/v1/photos", params={"ids": ",".join(map(str, ids))}).json()["photos"]
        red = next(card["id"] for card in cards if card["name"] == "red.jpg")
        for part in ("media", "thumbnail?size=240", "thumbnail?size=1600", "media?download=1"):
            answer = asking.get(f"/api/v1/photos/{red}/{part}")
            problem(answer, 403, "photo_outside")
            assert str(tmp_path) not in answer.text


# Share links that expire and strip location


def test_a_share_shows_its_photos_and_nothing_else(trip):
    folder, ids = trip
    with local_client(away(folder, host="127.0.0.1")) as owner:
        visitor = beside(owner, base_url=AWAY)
        shared, other = ids["kyoto with ann.jpg"], ids["red.jpg"]
        made = share(owner, photo_ids=[shared], name="spring")
        link = f"/api/v1/shared/{made['key']}"
        document = visitor.get(link).json()
        assert document["name"] == "spring"
        assert [photo["id"] for photo in document["photos"]] == [shared]
        for part in ("thumbnail?size=240", "thumbnail?size=1600", "media"):
            answer = visitor.get(f"{link}/photos/{shared}/{part}")
            assert answer.status_code == 200, answer.text
            problem(visitor.get(f"{link}/photos/{other}/{part}"), 404, "not_found")
            problem(visitor.get(f"{link}/photos/9999/{part}"), 404, "not_found")
        for path in (
            f"/api/v1/photos/{shared}",
            "/api/v1/grid",
            "/api/v1/shares",
            f"/api/v1/photos/{shared}/media",
        ):
            problem(visitor.get(path, headers={"Authorization": "Bearer x"}), 401, "wrong_token")
            problem(visitor.get(path), 401, "sign_in_needed")
        problem(visitor.delete(link), 405, "method_not_allowed")


def test_nothing_of_a_share_tells_where_by_whom_or_on_what(trip):
    folder, ids = trip
    with local_client(away(folder, host="127.0.0.1")) as owner:
        visitor = beside(owner, base_url=AWAY)
        shared = ids["kyoto with ann.jpg"]
        detail = owner.get(f"/api/v1/photos/{shared}").json()
        assert detail["latitude"] == pytest.approx(35.01, abs=0.01)  # the library knows
        link = f"/api/v1/shared/{share(owner, photo_ids=[shared])['key']}"
        answer = visitor.get(link)
        [photo] = answer.json()["photos"]
        assert set(photo) == {"id", "kind", "width", "height", "taken_at", "duration"}
        assert photo["taken_at"] == "2021-05-01T10:00:00"
        assert not re.search(r"kyoto|ann|35\.|135\.|camera", answer.text.lower())
        for part in (
            "thumbnail?size=240",
            "thumbnail?size=720",
            "thumbnail?size=1600",
            "media",
            "media?download=1",
        ):
            answer = visitor.get(f"{link}/photos/{shared}/{part}")
            with Image.open(io.BytesIO(answer.content)) as image:
                image.load()
                assert not image.getexif()
                assert not {"exif", "xmp", "comment", "photoshop", "icc_profile"} & set(image.info)
            content = answer.content + repr(sorted(answer.headers.items())).encode()
            assert not re.search(rb"Kyoto|kyoto|Ann|Camera|Exif", content)


def test_a_share_ends(trip, monkeypatch):
    folder, ids = trip
    with local_client(away(folder, host="127.0.0.1")) as owner:
        visitor = beside(owner, base_url=AWAY)
        photo = ids["red.jpg"]
        revoked, expired = share(owner, photo_ids=[photo]), share(owner, photo_ids=[photo], days=1)
        assert revoked["expires_at"] > expired["expires_at"]
        assert len(owner.get("/api/v1/shares").json()["shares"]) == 2
        owner.delete(f"/api/v1/shares/{revoked['id']}")
        now = accounts_module._now()
        monkeypatch.setattr(accounts_module, "_now", lambda: now + 86_401)
        for made, code in ((revoked, "share_revoked"), (expired, "share_expired")):
            for part in ("", f"/photos/{photo}/thumbnail", f"/photos/{photo}/media"):
                problem(visitor.get(f"/api/v1/shared/{made['key']}{part}"), 410, code)
        assert [row["expired"] for row in owner.get("/api/v1/shares").json()["shares"]] == [True]
    with closing(Accounts.open(folder)) as later:
        assert later.share_of(revoked["key"]).revoked_at is not None  # told apart after a restart as well
