"""Tokens, sessions and shares as they are kept; names and addresses as they are compared."""

from __future__ import annotations

import sqlite3
import string
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from sensorium.errors import SensoriumError
from sensorium.server.access import accounts as accounts_module
from sensorium.server.access import addresses, tokens
from sensorium.server.access.accounts import FILE_NAME, Accounts
from sensorium.server.access.tokens import Role
from sensorium.server.api.problems import without_folders

PHOTOS = st.dictionaries(st.integers(1, 2**40), st.integers(0, 2**50), max_size=5)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


class Credentials(RuleBasedStateMachine):
    """Whatever is made, withdrawn and opened again: who may come in is what the model says."""

    made_tokens = Bundle("tokens")
    made_sessions = Bundle("sessions")
    made_shares = Bundle("shares")

    def __init__(self) -> None:
        super().__init__()
        import tempfile
        from pathlib import Path

        self.place = tempfile.TemporaryDirectory()
        self.folder = Path(self.place.name)
        self.accounts = Accounts.open(self.folder)
        self.roles: dict[str, Role] = {}
        self.sessions: dict[str, str] = {}
        self.shares: dict[str, dict[int, int]] = {}

    @rule(target=made_tokens, name=NAMES, role=st.sampled_from(list(Role)))
    def add_token(self, name, role):
        token, secret = self.accounts.add_token(name, role)
        assert (token.name, token.role) == (name, role)
        self.roles[secret] = role
        return secret

    @rule(target=made_sessions, secret=made_tokens)
    def sign_in(self, secret):
        token = self.accounts.token_of(secret)
        if token is None:
            return multiple()
        _, cookie = self.accounts.begin_session(token)
        self.sessions[cookie] = secret
        return cookie

    @rule(cookie=consumes(made_sessions))
    def sign_out(self, cookie):
        found = self.accounts.session_of(cookie)
        if found is not None:
            self.accounts.end_session(found[0].id)
        self.sessions.pop(cookie, None)

    @rule(secret=consumes(made_tokens))
    def withdraw(self, secret):
        assert self.accounts.remove_token(self.accounts.token_of(secret).id)
        del self.roles[secret]
        self.sessions = {cookie: token for cookie, token in self.sessions.items() if token != secret}

    @rule(
        target=made_shares, photos=st.dictionaries(st.integers(1, 2**40), st.integers(0, 2**50), max_size=5)
    )
    def add_share(self, photos):
        _, key = self.accounts.add_share("x", 1000, photos=photos)
        self.shares[key] = photos
        return key

    @rule(key=made_shares)
    def revoke(self, key):
        share = self.accounts.share_of(key)
        assert self.accounts.revoke_share(share.id) == (key in self.shares)
        self.shares.pop(key, None)
        assert self.accounts.share_of(key).revoked_at is not None

    @rule()
    def start_again(self):
        self.accounts.close()
        self.accounts = Accounts.open(self.folder)

    @invariant()
    def everybody_is_who_they_are(self):
        for secret, role in self.roles.items():
            assert self.accounts.token_of(secret).role is role
        for cookie, secret in self.sessions.items():
            session, token = self.accounts.session_of(cookie)
            assert token.role is self.roles[secret]
            assert self.accounts.token_of(cookie) is None
            assert self.accounts.csrf(session.id) != self.accounts.csrf("owner")
        assert len(self.accounts.tokens()) == len(self.roles)
        assert {share.id for share in self.accounts.shares()} == {
            self.accounts.share_of(key).id for key in self.shares
        }
        for key, photos in self.shares.items():
            assert self.accounts.share_of(key).photos == photos

    def teardown(self):
        self.accounts.close()
        self.place.cleanup()


Credentials.TestCase.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)
TestCredentials = Credentials.TestCase


@given(st.text(max_size=100))
def test_no_text_is_a_secret_by_chance(text):
    assert tokens.identifier(text) is None or tokens.digest(text)


@given(st.integers(0, 62))
def test_a_secret_with_another_character_is_another_one(place):
    made = tokens.fresh()
    place %= len(made.secret)
    for other in string.ascii_letters + string.digits:
        changed = made.secret[:place] + other + made.secret[place + 1 :]
        assert tokens.matches(changed, made.digest) == (changed == made.secret)


def test_what_ended_long_ago_is_forgotten(tmp_path, monkeypatch):
    with closing(Accounts.open(tmp_path)) as accounts:
        token, _ = accounts.add_token("Ann", Role.VIEW)
        accounts.begin_session(token)
        _, key = accounts.add_share("trip", 60, photos={1: 1})
        now = accounts_module._now()
    monkeypatch.setattr(accounts_module, "_now", lambda: now + 3600)
    with closing(Accounts.open(tmp_path)) as accounts:
        assert accounts.share_of(key).expired()
    monkeypatch.setattr(accounts_module, "_now", lambda: now + 40 * 86_400)
    with closing(Accounts.open(tmp_path)) as accounts:
        assert accounts.share_of(key) is None
        assert not accounts._sessions
        assert len(accounts.tokens()) == 1
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as file:
        assert file.execute("SELECT count(*) FROM share_photos").fetchone() == (0,)


def test_when_a_token_was_used_is_kept(tmp_path):
    with closing(Accounts.open(tmp_path)) as accounts:
        _, secret = accounts.add_token("Ann", Role.VIEW)
        assert accounts.tokens()[0].used_at is None
        accounts.token_of(secret)
    with closing(Accounts.open(tmp_path)) as accounts:
        assert accounts.tokens()[0].used_at is not None


def test_the_file_of_a_newer_version_is_left_alone(tmp_path):
    Accounts.open(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as file:
        file.execute("PRAGMA user_version = 99")
    with pytest.raises(SensoriumError, match="newer Sensorium"):
        Accounts.open(tmp_path)


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file_is_refused_in_one_line(tmp_path, content):
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(SensoriumError) as refused:
        Accounts.open(tmp_path)
    assert "\n" not in str(refused.value)


HOSTS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z]{2,5}){0,3}", fullmatch=True)


@given(HOSTS, st.integers(0, 65535))
def test_a_host_is_read_back(host, port):
    assert addresses.host_of_header(host) == host
    assert addresses.host_of_header(f"{host.upper()}:{port}") == host
    assert addresses.host_of_header(f"{host}.") == host


@given(st.ip_addresses())
def test_an_address_is_read_back(address):
    written = f"[{address}]" if address.version == 6 else str(address)
    read = addresses.host_of_header(written)
    assert addresses.parsed_address(read) == addresses.parsed_address(str(address))


@settings(suppress_health_check=[HealthCheck.filter_too_much])
@given(st.text(max_size=40))
def test_no_host_header_is_too_odd(value):
    host = addresses.host_of_header(value)
    assert host is None or host == host.lower()
    assert addresses.group_of(value)


@given(HOSTS, HOSTS)
def test_a_name_fits_itself_and_a_star_one_label(host, label):
    if "." in label:
        return
    assert addresses.names_fit(host, frozenset({host}))
    assert addresses.names_fit(f"{label}.{host}", frozenset({f"*.{host}"}))
    assert not addresses.names_fit(host, frozenset({f"*.{host}"}))
    assert not addresses.names_fit(f"{label}.a.{host}", frozenset({f"*.{host}"}))


@pytest.mark.parametrize("name", ["a b", "x/y", "", "a:1", "é" * 300, "-" * 300, "user@host"])
def test_what_is_no_host_name_is_refused(name):
    with pytest.raises(SensoriumError, match="no host name"):
        addresses.host_name(name)


def test_host_names_are_written_as_browsers_write_them():
    assert addresses.host_name("Fotos.Müller.example.") == "fotos.xn--mller-kva.example"
    assert addresses.host_name("192.168.1.5") == "192.168.1.5"


PARTS = st.lists(st.text(string.ascii_letters + " ()照片.", min_size=1, max_size=8), min_size=2, max_size=4)


@given(PARTS, st.sampled_from(["cannot read ", "no picture '", "at (", ""]))
def test_no_folder_of_a_path_is_told(parts, before):
    folders, name = parts[:-1], parts[-1]
    told = without_folders(f"{before}/{'/'.join(parts)}")
    assert told == before + name
    assert "/" not in told
    assert folders


@pytest.mark.parametrize("line", ["give photos and/or words", "1/2 of the photos", "no date", "see a/b.jpg"])
def test_a_line_without_a_path_stays_as_it_is(line):
    assert without_folders(line) == line
