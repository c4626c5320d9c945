"""Whether anybody has written to a library file since the last look, without asking for what changed."""

from __future__ import annotations

import sqlite3
import threading
from typing import Any

from sqlalchemy.engine import Engine

from sensorium.errors import LibraryError
from sensorium.photos.files.names import printable


class Versions:
    """A connection of its own that never writes, so that SQLite tells it of every commit by anybody else.

    Safe to use from several threads.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._connection: Any = None

    def now(self) -> int:
        """A number that differs after every commit, by whichever process. Raises LibraryError."""
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._engine.raw_connection()
                    self._connection.detach()  # it never goes back to those that read and write
                return int(self._connection.cursor().execute("PRAGMA data_version").fetchone()[0])
            except sqlite3.DatabaseError as error:
                where = printable(self._engine.url.database or "")
                raise LibraryError(f"cannot read the photo library {where}: {error}") from error

    def close(self) -> None:
        """Let go of the file; the next look opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
