"""Who may come in, in more detail: addresses, names, origins, sessions, tokens, and what they are told."""

from __future__ import annotations

import json
import socket
from contextlib import closing

import pytest
from serving import (
    AWAY,
    CSRF,
    ELSEWHERE,
    LOCAL,
    application,
    away,
    beside,
    client,
    local_client,
    operations,
    problem,
    stranger,
    token_of,
)

from sensorium.errors import SensoriumError
from sensorium.server import running
from sensorium.server.access import accounts as accounts_module
from sensorium.server.access import addresses, tokens
from sensorium.server.access.accounts import Accounts
from sensorium.server.access.tokens import Role
from sensorium.server.app import create_app
from sensorium.server.settings import ServerSettings


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.9.1"])
def test_names_of_this_machine_are_loopback(folder, host):
    assert ServerSettings(library=folder, host=host).loopback


@pytest.mark.parametrize("header", ["Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"])
def test_whoever_comes_through_a_proxy_is_not_the_owner(local, header):
    problem(local.get("/api/v1/tokens", headers={header: "for=192.0.2.7"}), 401, "sign_in_needed")


def test_another_address_is_not_the_owner(folder):
    with client(application(folder), address=ELSEWHERE) as asking:
        problem(asking.get("/api/v1/tokens"), 401, "sign_in_needed")


def test_a_machine_of_many_users_can_demand_a_token_here_too(folder):
    with client(application(folder, sign_in=True)) as asking:
        problem(asking.get("/api/v1/tokens"), 401, "sign_in_needed")


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/nothing",
        "/api/",
        "/api/v1/openapi.json",
        "/%61pi/v1/status",
        "/api/v1/shares",
        "/api/v2/status",
    ],
)
def test_what_does_not_exist_is_not_told_apart(folder, path):
    with stranger(away(folder)) as asking:
        problem(asking.get(path), 401, "sign_in_needed")


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "//api/v1/status", "/API/v1/status"])
def test_there_is_no_way_around(folder, path):
    with stranger(away(folder)) as asking:
        problem(asking.get(path), 404, "not_found")


@pytest.mark.parametrize(("role", "allowed"), [("view", False), ("edit", False), ("admin", True)])
def test_a_role_that_is_too_small_is_told_so(folder, role, allowed):
    app = away(folder)
    with stranger(app) as asking:
        asking.headers["Authorization"] = f"Bearer {token_of(app, role)}"
        answer = asking.get("/api/v1/tokens")
        if allowed:
            assert answer.status_code == 200
        else:
            problem(answer, 403, "forbidden")


def test_roles_include_each_other_in_order():
    assert [[role.includes(other) for other in Role] for role in Role] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]


def test_on_loopback_no_token_is_made_unless_asked_for(folder):
    with local_client(app := application(folder)), socket.create_server(("127.0.0.1", 0)) as listener:
        assert running._readiness(app, listener, new_token=False).token is None
        assert running._readiness(app, listener, new_token=True).token.startswith("sns_")


@pytest.mark.parametrize("given", ["", "sns_", "sns_0123456789abcdef_", "x" * 10_000, "sns_é", "Bearer"])
def test_what_is_no_token_opens_nothing(folder, given):
    with closing(Accounts.open(folder)) as opened:
        token, secret = opened.add_token("Ann", Role.VIEW)
        assert opened.token_of(given) is None
        assert opened.token_of(f"sns_{token.id}_{'A' * 43}") is None
        assert opened.token_of(secret[:-1]) is None
        assert opened.token_of(secret).id == token.id


def test_a_withdrawn_token_ends_its_sessions(folder):
    app = away(folder)
    with stranger(app) as asking:
        boss, guest = token_of(app, "admin"), token_of(app, "view")
        signed_in = asking.post("/api/v1/session", json={"token": guest})
        assert signed_in.status_code == 200
        assert asking.get("/api/v1/session").json()["role"] == "view"
        headers = {"Authorization": f"Bearer {boss}"}
        for row in asking.get("/api/v1/tokens", headers=headers).json()["tokens"]:
            if row["role"] == "view":
                assert asking.delete(f"/api/v1/tokens/{row['id']}", headers=headers).status_code == 204
        problem(asking.get("/api/v1/session"), 401, "sign_in_needed")
        problem(
            asking.get("/api/v1/tokens", headers={"Authorization": f"Bearer {guest}"}), 401, "wrong_token"
        )


def test_the_last_administrators_token_stays(folder):
    app = away(folder)
    with stranger(app) as asking:
        asking.headers["Authorization"] = f"Bearer {token_of(app, 'admin')}"
        [row] = asking.get("/api/v1/tokens").json()["tokens"]
        assert row["current"]
        problem(asking.delete(f"/api/v1/tokens/{row['id']}"), 409, "last_admin")
        made = asking.post("/api/v1/tokens", json={"name": "second", "role": "admin"}).json()
        assert "token" not in json.dumps(asking.get("/api/v1/tokens").json()["tokens"])
        assert asking.delete(f"/api/v1/tokens/{row['id']}").status_code == 204
        asking.headers["Authorization"] = f"Bearer {made['token']}"
        assert len(asking.get("/api/v1/tokens").json()["tokens"]) == 1


def test_tokens_and_sessions_outlive_a_restart(folder):
    with stranger(app := away(folder)) as asking:
        token = token_of(app, "edit")
        asking.post("/api/v1/session", json={"token": token})
        cookies, csrf = asking.cookies, asking.get("/api/v1/session").json()["csrf"]
    with stranger(away(folder)) as asking:
        asking.cookies = cookies
        document = asking.get("/api/v1/session").json()
        assert (document["role"], document["csrf"], document["signed_in"]) == ("edit", csrf, True)


def test_a_session_ends_in_time(folder, monkeypatch):
    with stranger(app := away(folder)) as asking:
        asking.post("/api/v1/session", json={"token": token_of(app, "view")})
        assert asking.get("/api/v1/session").status_code == 200
        later = accounts_module._now() + accounts_module.SESSION_DAYS * 86_400 + 1
        monkeypatch.setattr(accounts_module, "_now", lambda: later)
        problem(asking.get("/api/v1/session"), 401, "sign_in_needed")


def test_signing_out_ends_the_session(folder):
    with stranger(app := away(folder)) as asking:
        asking.post("/api/v1/session", json={"token": token_of(app, "view")})
        stolen = dict(asking.cookies)
        headers = {CSRF: asking.get("/api/v1/session").json()["csrf"]}
        assert asking.delete("/api/v1/session", headers=headers).status_code == 204
        assert not asking.cookies
        asking.cookies.update(stolen)
        problem(asking.get("/api/v1/session"), 401, "sign_in_needed")


def test_without_tls_nothing_is_said_of_it(local):
    assert "strict-transport-security" not in local.get("/api/v1/session").headers


@pytest.mark.parametrize("host", ["localhost", "localhost:8765", "127.0.0.1:1", "[::1]:8765", "LOCALHOST."])
def test_this_machine_has_these_names(local, host):
    assert local.get("/api/v1/session", headers={"Host": host}).status_code == 200


def test_elsewhere_the_machine_has_its_own_name(folder):
    own = addresses.names_of_machine()
    assert own <= away(folder).state.settings.names
    assert not own & ServerSettings(library=folder).names


@pytest.mark.parametrize(
    "host", ["", "a b", "localhost:99999", "user@localhost", "localhost/x", "[::1", "[1.2]"]
)
def test_a_host_that_is_none_is_refused(local, host):
    problem(local.get("/api/v1/session", headers={"Host": host}), 400, "wrong_host")


def test_elsewhere_the_names_are_those_that_were_given(folder, certificate):
    chain, key, _ = certificate
    with stranger(away(folder, certificate=chain, key=key, without_tls=False)) as asking:
        for host in ("photos.example", "photos.example:1", "a.wild.example", "localhost"):
            problem(asking.get("/api/v1/status", headers={"Host": host}), 401, "sign_in_needed")
        for host in ("wild.example", "a.b.wild.example", "xphotos.example", "example"):
            problem(asking.get("/api/v1/status", headers={"Host": host}), 421, "wrong_host")


def test_elsewhere_the_address_of_the_connection_is_a_name_too(folder):
    with client(away(folder), address=ELSEWHERE, base_url="https://192.0.2.9:8765") as asking:
        problem(asking.get("/api/v1/status"), 401, "sign_in_needed")
        problem(asking.get("/api/v1/status", headers={"Host": "192.0.2.10:8765"}), 421, "wrong_host")


def test_our_own_page_may_ask(local):
    assert local.get("/api/v1/session", headers={"Origin": LOCAL}).status_code == 200
    same = {"Host": "localhost", "Origin": "http://localhost:80", "Sec-Fetch-Site": "same-origin"}
    assert local.get("/api/v1/session", headers=same).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_pages_of_other_sites_embed_is_refused(local, site):
    """Old browsers send no Origin with pictures and scripts, newer ones say where they come from."""
    embedded = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}
    for path in ("/api/v1/status", "/web/main.js", "/"):
        problem(local.get(path, headers=embedded), 403, "wrong_origin")
    link = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}
    assert local.get("/", headers=link).status_code == 200
    problem(local.get("/api/v1/status", headers=link), 403, "wrong_origin")
    problem(local.post("/", headers=link), 403, "wrong_origin")


def test_no_other_site_is_ever_let_in_by_a_header(local):
    answer = local.get("/api/v1/session", headers={"Origin": LOCAL})
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_the_header_of_one_session_is_worth_nothing_in_another(folder):
    app = away(folder)
    with stranger(app) as one:
        other = beside(one, base_url=AWAY)
        values = []
        for asking in (one, other):
            asking.post("/api/v1/session", json={"token": token_of(app, "admin")})
            values.append(asking.get("/api/v1/session").json()["csrf"])
        assert values[0] != values[1]
        problem(one.delete("/api/v1/session", headers={CSRF: values[1]}), 403, "csrf")


def test_a_program_with_a_token_needs_no_such_header(folder):
    with stranger(app := away(folder)) as asking:
        headers = {"Authorization": f"Bearer {token_of(app, 'admin')}"}
        answer = asking.post("/api/v1/tokens", json={"name": "x", "role": "view"}, headers=headers)
        assert answer.status_code == 201


def test_a_form_of_another_site_cannot_sign_a_browser_in(folder):
    with stranger(app := away(folder)) as asking:
        body = json.dumps({"token": token_of(app, "view")})
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
            answer = asking.post("/api/v1/session", content=body, headers={"content-type": kind})
            problem(answer, 422, "invalid")
        assert not asking.cookies


def test_answers_of_the_api_are_not_kept_by_browsers(local):
    assert local.get("/api/v1/session").headers["cache-control"] == "no-store"
    assert local.get("/api/v1/tokens").headers["cache-control"] == "no-store"


def test_guessing_in_a_header_and_at_links_counts_as_well(folder):
    with stranger(away(folder)) as asking:
        for _ in range(5):
            headers = {"Authorization": "Bearer sns_guess"}
            problem(asking.get("/api/v1/tokens", headers=headers), 401, "wrong_token")
            problem(asking.get("/api/v1/shared/sns_guess"), 404, "not_found")
        problem(asking.get("/api/v1/shared/sns_guess"), 429, "too_many_attempts")


def test_a_household_of_ipv6_is_one_address():
    from sensorium.server.access.addresses import group_of

    assert group_of("2001:db8:1:2:3::4") == group_of("2001:db8:1:2:ffff::1") != group_of("2001:db8:1:3::1")
    assert group_of("::ffff:192.0.2.7") == group_of("192.0.2.7") != group_of("192.0.2.8")


def test_paths_are_for_administrators(folder):
    from sensorium.server.api.problems import of_error

    line = "cannot read /home/ann/My Photos/trip (2)/img 1.jpg: it is damaged"
    assert of_error(SensoriumError(line), to_admin=True).detail == line
    assert of_error(SensoriumError(line), to_admin=False).detail == "cannot read img 1.jpg: it is damaged"
    windows = "cannot read C:\\Users\\ann\\x.jpg"
    assert of_error(SensoriumError(windows), to_admin=False).detail == "cannot read x.jpg"


def test_a_bug_is_told_without_a_traceback(folder):
    app = away(folder)

    @app.get("/api/v1/bug")
    def bug():
        raise RuntimeError("/home/ann/secret")

    with stranger(app, raise_server_exceptions=False) as asking:
        asking.headers["Authorization"] = f"Bearer {token_of(app, 'admin')}"
        answer = asking.get("/api/v1/bug")
        problem(answer, 500, "internal")
        assert "ann" not in answer.text
        assert answer.headers["content-security-policy"]


def test_a_refusal_does_not_repeat_what_was_sent(local):
    answer = local.post("/api/v1/session", json={"token": ["sns_secret"]})
    document = problem(answer, 422, "invalid")
    assert document["errors"][0]["field"] == "body.token"
    assert "sns_secret" not in answer.text


def test_an_application_is_made_without_touching_the_disk(tmp_path):
    create_app(ServerSettings(library=tmp_path / "none"))
    assert not list(tmp_path.iterdir())


def test_nothing_is_changed_with_the_role_view(folder):
    """Searching, asking and cutting out take a body and change nothing; signing out is one's own affair."""
    harmless = ("/api/v1/search", "/api/v1/search/image", "/api/v1/ask", "/api/v1/session")
    cutting = tuple(f"/api/v1/photos/{{photo_id}}/{last}" for last in ("cut", "cut/embed", "cut.png"))
    for path, method, role in operations(application(folder)):
        if role is Role.VIEW and method not in ("GET", "HEAD"):
            assert path in harmless + cutting, (method, path)


def test_secrets_have_256_random_bits_and_differ():
    made = {tokens.fresh().secret for _ in range(100)}
    assert len(made) == 100
    assert all(len(secret.partition("_")[2].partition("_")[2]) == 43 for secret in made)  # 43 * 6 bits


def test_the_session_is_out_of_reach_of_scripts_and_other_sites(folder):
    with stranger(app := away(folder)) as asking:
        answer = asking.post("/api/v1/session", json={"token": token_of(app, "view")})
        assert {"httponly", "samesite=strict"} <= set(answer.headers["set-cookie"].lower().split("; "))
        assert "token" not in answer.json()
        assert answer.headers["cache-control"] == "no-store"


def test_a_link_out_of_the_page_is_not_followed(tmp_path):
    from starlette.applications import Starlette
    from starlette.testclient import TestClient

    from sensorium.server import pages

    web = tmp_path / "web"
    web.mkdir()
    (tmp_path / "secret.js").write_text("secret")
    (web / "link.js").symlink_to(tmp_path / "secret.js")
    (web / "main.js").write_text("fine")
    asking = TestClient(Starlette(routes=pages.routes(web)))
    assert asking.get("/web/main.js").text == "fine"
    assert asking.get("/web/link.js").status_code == 404


@pytest.mark.parametrize(
    "spelling", ["0", "-1", "1e0", "0x1", "%31%2e%2e", "99999999999999999999999", "a", "٣"]
)
def test_an_id_that_is_none_leads_to_no_photo(local, spelling):
    for part in ("", "/media", "/thumbnail?size=240", "/similar"):
        assert local.get(f"/api/v1/photos/{spelling}{part}").status_code in (404, 422)


@pytest.mark.parametrize(
    "spelling",
    [
        "../secret.txt",
        "..%2fsecret.txt",
        "%2e%2e/secret.txt",
        "%2e%2e%2fsecret.txt",
        "..%5csecret.txt",
        "..\\secret.txt",
        "%252e%252e%252fsecret.txt",
        "....//secret.txt",
        "%c0%ae%c0%ae/secret.txt",
        "lib/../../secret.txt",
        "~x/../../secret.txt",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "lib/%00",
        "a" * 5000,
        ".hidden.js",
        "node_modules/preact/package.json",
        "package.json",
        "tools/vendor.mjs",
    ],
)
def test_no_spelling_leads_out_of_the_page(local, spelling):
    for prefix in ("/web/", "/photo/", "/api/v1/photos/", "/share/", "/api/v1/shared/"):
        answer = local.get(prefix + spelling)
        # The page's own router says what it thinks of such an address; the server knows no file by it.
        is_page = prefix in ("/photo/", "/share/") and answer.headers["content-type"].startswith("text/html")
        assert answer.status_code in (400, 404, 405, 422) or is_page, (prefix, answer.status_code)
        assert "root:" not in answer.text
