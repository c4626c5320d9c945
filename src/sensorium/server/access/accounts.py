"""Who may come in: tokens, sessions and shares, kept in a small file of the server's own.

``server.sqlite3`` lies in the library's folder, readable by its owner alone, apart from ``library.sqlite3``:
backups of the library hold no credentials. One server owns the file (``app`` holds a lock), so everything is
also held in memory: asking who someone is costs no query, and what is written is written through.
"""

from __future__ import annotations

import hmac
import os
import secrets as random_bytes
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from sensorium.errors import SensoriumError
from sensorium.photos.database import schema
from sensorium.photos.files.names import printable
from sensorium.server.access import tokens as secret
from sensorium.server.access.tokens import Role

FILE_NAME = "server.sqlite3"
VERSION = 1  # PRAGMA user_version of the file

SESSION_DAYS = 30
SHARES_REMEMBERED_DAYS = 30  # for so long after its end a share is told apart from one that never was
_DAY = 86_400

_metadata = sa.MetaData()

_keys = sa.Table(
    "keys", _metadata, sa.Column("name", sa.Text, primary_key=True), sa.Column("value", sa.LargeBinary)
)
_tokens = sa.Table(
    "tokens",
    _metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("digest", sa.LargeBinary(32), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("created_at", sa.Integer, nullable=False),  # seconds since 1970, as all times here
    sa.Column("used_at", sa.Integer),
)
_sessions = sa.Table(
    "sessions",
    _metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("digest", sa.LargeBinary(32), nullable=False),
    sa.Column("token_id", sa.ForeignKey("tokens.id", ondelete="CASCADE"), nullable=False),
    sa.Column("expires_at", sa.Integer, nullable=False),
)
_shares = sa.Table(
    "shares",
    _metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("digest", sa.LargeBinary(32), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("album_id", sa.Integer),  # NULL: the photos of share_photos
    sa.Column("album_created_at", sa.Integer),  # an album's id means another album in another library
    sa.Column("created_at", sa.Integer, nullable=False),
    sa.Column("expires_at", sa.Integer, nullable=False),
    sa.Column("revoked_at", sa.Integer),
)
_share_photos = sa.Table(
    "share_photos",
    _metadata,
    sa.Column("share_id", sa.ForeignKey("shares.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("photo_id", sa.Integer, primary_key=True),
    sa.Column("first_seen", sa.Integer, nullable=False),  # as with albums: the photo that was meant, or none
)


@dataclass(frozen=True, slots=True)
class Token:
    """A credential of a person or a program."""

    id: str
    digest: bytes
    name: str
    role: Role
    created_at: int
    used_at: int | None


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that signed in with a token and may do what that token may."""

    id: str
    digest: bytes
    token_id: str
    expires_at: int


@dataclass(frozen=True, slots=True)
class Share:
    """Photos that whoever has the link may see until it ends.

    Either an album, whatever it holds when it is looked at, or ``photos``: ids with the moment at which the
    library first saw each (microseconds since 1970), so that another library's ids mean nothing.
    """

    id: str
    digest: bytes
    name: str
    album_id: int | None
    album_created_at: int | None
    created_at: int
    expires_at: int
    revoked_at: int | None
    photos: dict[int, int]

    def expired(self) -> bool:
        """Whether its time is over."""
        return _now() >= self.expires_at


class Accounts:
    """The credentials of one library. Safe to use from several threads; methods that write block."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writing = threading.Lock()
        with schema.reading(engine) as connection:
            key = sa.select(_keys.c.value).where(_keys.c.name == "csrf")
            self._key: bytes = connection.execute(key).scalar_one()
            self._tokens = {row.id: _token(row) for row in connection.execute(sa.select(_tokens))}
            self._sessions = {row.id: Session(*row) for row in connection.execute(sa.select(_sessions))}
            self._shares = {share.id: share for share in _read_shares(connection)}

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open, or make, the file in a library's folder, and forget what ended long ago.

        Raises:
            SensoriumError: It cannot be read or written, or a newer Sensorium wrote it.
        """
        file = folder / FILE_NAME
        try:
            # Before anything is in it: with these rights from its first moment on, and its WAL inherits them.
            os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
            file.chmod(0o600)
        except OSError as error:
            raise SensoriumError(f"cannot write {printable(file)}: {error.strerror}") from error
        engine = schema.connect(file)
        try:
            with schema.writing(engine) as connection:
                _prepare(connection, file)
            return cls(engine)
        except SensoriumError:
            engine.dispose()
            raise

    def close(self) -> None:
        """Write when tokens were last used, and let go of the file."""
        with self._writes() as connection:
            for token in self._tokens.values():
                this = sa.update(_tokens).where(_tokens.c.id == token.id)
                connection.execute(this.values(used_at=token.used_at))
        self._engine.dispose()

    @contextmanager
    def _writes(self) -> Iterator[Connection]:
        with self._writing, schema.writing(self._engine) as connection:
            yield connection

    # Tokens

    def tokens(self) -> list[Token]:
        """All tokens, oldest first."""
        return sorted(self._tokens.values(), key=lambda token: (token.created_at, token.id))

    def add_token(self, name: str, role: Role) -> tuple[Token, str]:
        """Make a token; the second is its secret, which nobody can be told again."""
        made = secret.fresh()
        token = Token(made.id, made.digest, name, role, _now(), None)
        with self._writes() as connection:
            connection.execute(sa.insert(_tokens).values(_row(token)))
        self._tokens[token.id] = token  # once it is safe on the disk; so everywhere below
        return token, made.secret

    def remove_token(self, identifier: str) -> bool:
        """Forget a token and end its sessions; whether there was one."""
        with self._writes() as connection:
            connection.execute(sa.delete(_tokens).where(_tokens.c.id == identifier))
        for session in [*self._sessions.values()]:
            if session.token_id == identifier:
                self._sessions.pop(session.id, None)
        return self._tokens.pop(identifier, None) is not None

    def token_of(self, given: str) -> Token | None:
        """The token whose secret this is."""
        token = self._tokens.get(secret.identifier(given) or "")
        if token is None or not secret.matches(given, token.digest):
            return None
        used = replace(token, used_at=_now())
        if token.id in self._tokens:  # not while it is being removed
            self._tokens[token.id] = used
        return used

    # Sessions

    def begin_session(self, token: Token) -> tuple[Session, str]:
        """Sign a browser in; the second is what its cookie holds."""
        made = secret.fresh()
        session = Session(made.id, made.digest, token.id, _now() + SESSION_DAYS * _DAY)
        with self._writes() as connection:
            connection.execute(sa.insert(_sessions).values(_row(session)))
            this = sa.update(_tokens).where(_tokens.c.id == token.id)
            connection.execute(this.values(used_at=token.used_at))
        self._sessions[session.id] = session
        return session, made.secret

    def end_session(self, identifier: str) -> None:
        """Sign a browser out."""
        with self._writes() as connection:
            connection.execute(sa.delete(_sessions).where(_sessions.c.id == identifier))
        self._sessions.pop(identifier, None)

    def session_of(self, cookie: str) -> tuple[Session, Token] | None:
        """The session that a cookie belongs to, with its token, while both are good."""
        session = self._sessions.get(secret.identifier(cookie) or "")
        if session is None or not secret.matches(cookie, session.digest) or _now() >= session.expires_at:
            return None
        token = self._tokens.get(session.token_id)
        return None if token is None else (session, token)

    def token_id_of_session(self, identifier: str | None) -> str | None:
        """The token with which a session was begun."""
        session = self._sessions.get(identifier or "")
        return None if session is None else session.token_id

    def csrf(self, session_id: str) -> str:
        """What pages of a session send along with whatever changes something; the same until it ends."""
        return hmac.new(self._key, session_id.encode(), "sha256").hexdigest()

    # Shares

    def shares(self) -> list[Share]:
        """All shares that were not revoked, newest first."""
        standing = [share for share in self._shares.values() if share.revoked_at is None]
        return sorted(standing, key=lambda share: (-share.created_at, share.id))

    def add_share(
        self,
        name: str,
        seconds: int,
        *,
        album: tuple[int, int] | None = None,
        photos: dict[int, int] | None = None,
    ) -> tuple[Share, str]:
        """Share an album (id, moment it was made) or photos; the second is the key of the link."""
        made = secret.fresh()
        album_id, album_created_at = album or (None, None)
        now = _now()
        ends = now + seconds
        share = Share(
            made.id, made.digest, name, album_id, album_created_at, now, ends, None, dict(photos or {})
        )
        with self._writes() as connection:
            row = _row(share)
            listed = [
                {"share_id": share.id, "photo_id": photo, "first_seen": seen}
                for photo, seen in row.pop("photos").items()
            ]
            connection.execute(sa.insert(_shares).values(row))
            if listed:
                connection.execute(sa.insert(_share_photos), listed)
        self._shares[share.id] = share
        return share, made.secret

    def revoke_share(self, identifier: str) -> bool:
        """End a share now; whether there was one."""
        share = self._shares.get(identifier)
        if share is None or share.revoked_at is not None:
            return False
        revoked = replace(share, revoked_at=_now())
        with self._writes() as connection:
            this = sa.update(_shares).where(_shares.c.id == identifier)
            connection.execute(this.values(revoked_at=revoked.revoked_at))
        self._shares[identifier] = revoked
        return True

    def share_of(self, key: str) -> Share | None:
        """The share whose link holds a key, over or not."""
        share = self._shares.get(secret.identifier(key) or "")
        return share if share is not None and secret.matches(key, share.digest) else None


def _prepare(connection: Connection, file: Path) -> None:
    """Make the tables, or check that they are ours; forget what ended."""
    version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    if version > VERSION:
        raise SensoriumError(
            f"{printable(file)} was written by a newer Sensorium: update Sensorium, or delete the file to "
            "begin with new tokens"
        )
    if version == 0:
        _metadata.create_all(connection)
        connection.execute(sa.insert(_keys).values(name="csrf", value=random_bytes.token_bytes(32)))
        connection.exec_driver_sql(f"PRAGMA user_version = {VERSION}")
    now = _now()
    over = now - SHARES_REMEMBERED_DAYS * _DAY
    connection.execute(sa.delete(_sessions).where(_sessions.c.expires_at <= now))
    connection.execute(
        sa.delete(_shares).where((_shares.c.expires_at <= over) | (_shares.c.revoked_at <= over))
    )


def _read_shares(connection: Connection) -> Iterable[Share]:
    photos: dict[str, dict[int, int]] = {}
    for row in connection.execute(sa.select(_share_photos)):
        photos.setdefault(row.share_id, {})[row.photo_id] = row.first_seen
    for row in connection.execute(sa.select(_shares)):
        yield Share(**row._mapping, photos=photos.get(row.id, {}))


def _token(row: Any) -> Token:
    values = dict(row._mapping)
    return Token(**values | {"role": Role(values["role"])})


def _row(entry: Token | Session | Share) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in entry.__slots__}


def _now() -> int:
    return int(time.time())
