"""A library full of rows that no picture stands behind, made in a moment: for tests of its file."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from sensorium.errors import LibraryError
from sensorium.photos.database import schema
from sensorium.photos.database.store import Store
from sensorium.photos.health import checks
from sensorium.photos.health.checks import Finding
from sensorium.photos.library import Library

DIM = 64
MODEL = "test/rows"

COUNT = 1500
"""Photos of the library that most tests share."""


def fill(folder: Path, count: int, *, root: Path | None = None, dim: int = DIM) -> Path:
    """Photos 1..count with vectors, words, a companion and a person each tenth; the library's folder."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(count, dim))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype("<f2")
    store = Store(folder, create=True)
    root_id = store.add_root(str(root or folder.parent / "pictures")).id
    pipeline = store.add_pipeline(MODEL, "rows-1", dim)
    numbers = range(1, count + 1)
    with store.writing(advance=True) as connection:
        connection.execute(sa.insert(schema.photos), [_photo(number, root_id) for number in numbers])
        vectors = [
            {
                "photo_id": number,
                "pipeline_id": pipeline.id,
                "vector": rows[number - 1].tobytes(),
                "written": 1,
            }
            for number in numbers
        ]
        connection.execute(sa.insert(schema.vectors), vectors)
        nothing = dict.fromkeys(("words", "places", "people", "text"), "")
        words = [
            {"rowid": number, "name": f"img {number}", "folders": "trip"} | nothing for number in numbers
        ]
        connection.execute(sa.insert(schema.photo_words), words)
        connection.execute(sa.insert(schema.people), [{"id": 1, "name": "Ada"}])
        tenth = [number for number in numbers if number % 10 == 0]
        connection.execute(
            sa.insert(schema.photo_people), [{"photo_id": number, "person_id": 1} for number in tenth]
        )
        companion = {"root_id": root_id, "size": 1, "mtime_ns": 1, "kind": "sidecar"}
        connection.execute(
            sa.insert(schema.companions),
            [companion | {"photo_id": number, "path": path_of(number) + ".xmp"} for number in tenth],
        )
    store.close()
    return folder


def path_of(number: int) -> str:
    return f"trip/img_{number:06}.jpg"


def content_of(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def _photo(number: int, root_id: int) -> dict[str, object]:
    return {
        "root_id": root_id,
        "path": path_of(number),
        "size": 1000 + number,
        "mtime_ns": 10**18 + number,
        "sha256": content_of(number),
        "kind": "photo",
        "format": "JPEG",
        "width": 4000,
        "height": 3000,
        "orientation": 1,
        "camera_make": "Canon",
        "caption": "a day out with everybody " * 3,
        "facts_version": 2,
        "first_seen": number,
        "last_seen": number,
        "places_version": 99,
    }


def file_of(folder: Path) -> Path:
    return folder / schema.FILE_NAME


def all_rows(folder: Path, table: str, order: str = "rowid") -> list[tuple]:
    """Every row of a table, by SQLite alone."""
    with closing(sqlite3.connect(file_of(folder))) as connection:
        return connection.execute(f"SELECT * FROM {table} ORDER BY {order}").fetchall()


def pages_of(folder: Path, name: str, kind: str = "leaf") -> list[int]:
    """Numbers of the pages of a table or index, first 1, those of its leaves or of its inner nodes."""
    with closing(sqlite3.connect(file_of(folder))) as connection:
        statement = "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = ? ORDER BY path"
        return [row[0] for row in connection.execute(statement, (name, kind))]


def spoil(folder: Path, pages: list[int], byte: int = 0xA5) -> None:
    """Overwrite whole pages of the file, as a dying disk does."""
    with file_of(folder).open("r+b") as file:
        for page in pages:
            file.seek((page - 1) * 4096)
            file.write(bytes([byte]) * 4096)


def bytes_below(folder: Path) -> dict[str, bytes]:
    """The content of every file of a folder, by its name, but for locks."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


def copy_of(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def sql(file: Path, *statements: str) -> list[tuple]:
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        return [row for statement in statements for row in connection.execute(statement)]


def refused(call, *arguments, words: str, **options) -> None:
    """The call is refused with one line."""
    with pytest.raises(LibraryError, match=words) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)


def wrong(folder: Path) -> list[Finding]:
    return [found for found in checks.check(folder) if isinstance(found, Finding) and found.wrong]


def answers(library: Library) -> list[str]:
    hits = [hit for word in ("red", "green", "blue") for hit in library.search(word, 60, everything=True)]
    return [f"{hit.path} {hit.score!r} {hit.taken_at}" for hit in hits]
