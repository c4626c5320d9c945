"""Keeping a library safe: backups, restoring them, repairing it, and the models that it holds vectors of.

A new file is written beside, verified, made safe on the disk, and only then renamed to its place. What is
replaced is kept until the new file stands there. Originals are never opened here.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from sensorium import settings
from sensorium.errors import LibraryError
from sensorium.photos.database import schema
from sensorium.photos.database.locks import alone, closed
from sensorium.photos.database.schema import FILE_NAME, failures, pipelines, vectors
from sensorium.photos.database.store import Pipeline, Store
from sensorium.photos.files.names import printable
from sensorium.photos.health import checks, mend
from sensorium.photos.health.checks import Finding
from sensorium.photos.health.salvage import Salvaged, open_to_read, salvage
from sensorium.photos.vectors import cabinet

_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_PARTS = ("-wal", "-shm", "")  # of an SQLite library, in the order in which they may go away


@dataclass(frozen=True, slots=True)
class Saved:
    """A file that was written: where, and how many photos, vectors and bytes it holds."""

    path: Path
    photos: int
    vectors: int
    bytes: int


@dataclass(slots=True)
class Repaired:
    """What ``repair`` did: one line for each thing mended, and what is left as it was.

    ``before`` is the library as it was: a folder with the very files when they were damaged, a backup when
    only rows were wrong, None when there was nothing to mend.
    """

    before: Path | None = None
    mended: list[str] = field(default_factory=list)
    left: list[Finding] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Model:
    """A model that a library holds vectors of. ``waiting`` counts photos that it has none for."""

    name: str
    pipeline: str
    dim: int
    vectors: int
    waiting: int
    complete: bool
    active: bool


def backup(folder: Path, target: Path, *, overwrite: bool = False) -> Saved:
    """Copy a library into one file, in the state of one moment, while others may search and index.

    Args:
        folder: The library; one of a newer Sensorium can be copied, too.
        target: The file to write, or a folder for a file named after the day.
        overwrite: Replace a file that is there.

    Raises:
        LibraryError: There is no library, it is damaged, or the file cannot be written. At ``target``
            stands then what stood there before, if anything.
    """
    source = folder / FILE_NAME
    if not source.is_file():
        raise LibraryError(f"no photo library in {printable(folder)}: name another with --library")
    if target.is_dir():
        target = target / f"sensorium-library-{settings.now():%Y-%m-%d}.sqlite3"
    target = Path(os.path.abspath(target))  # noqa: PTH100
    if target.exists() and target.samefile(source):
        raise LibraryError(f"{printable(target)} is the library itself: name another file for the backup")
    if target.exists() and not overwrite:
        raise LibraryError(f"{printable(target)} exists: name another file, or replace it with --overwrite")
    with _told_as(f"cannot write the backup {printable(target)}"):
        with tempfile.TemporaryDirectory(prefix=".sensorium-", dir=target.parent) as beside:
            written = Path(beside) / FILE_NAME
            _copy(source, written)
            photos, rows = _inspect(written, source, newer=True)
            _make_safe(written)
            written.replace(target)
        _make_safe(target.parent)
    return Saved(target, photos, rows, target.stat().st_size)


def restore(source: Path, folder: Path, *, force: bool = False) -> Saved:
    """Make a library from a backup. It answers exactly as the one that was backed up.

    Args:
        source: A file that ``backup`` wrote.
        folder: Where the library is to be.
        force: Replace a library that is there; it is kept aside until the new one stands in its place.

    Raises:
        LibraryError: The file is no library, is damaged, or of a newer Sensorium; a library is there
            already; an indexer is at work on it; or the folder cannot be written.
    """
    place = folder / FILE_NAME
    if not source.is_file():
        raise LibraryError(f"no such backup: {printable(source)}")
    if place.exists() and place.samefile(source):
        raise LibraryError(f"{printable(source)} is the library itself: name a backup of it")
    if place.exists() and not force:
        raise LibraryError(
            f"there is a photo library in {printable(folder)}: restore into another folder with --library, "
            "or replace it with --force"
        )
    _inspect(source, source)
    with _told_as(f"cannot restore into {printable(folder)}"):
        folder.mkdir(parents=True, exist_ok=True)
        aside = _free_name(folder, "replaced")
        with closed(folder), tempfile.TemporaryDirectory(prefix=".restore-", dir=folder) as beside:
            fresh = Path(beside)
            _copy(source, fresh / FILE_NAME)
            photos, rows = _finish(fresh, source)
            _swap(fresh, folder, aside)
        shutil.rmtree(aside, ignore_errors=True)
    return Saved(place, photos, rows, place.stat().st_size)


def repair(folder: Path) -> Repaired:
    """Mend what ``checks.check`` finds, after keeping the library as it was beside it.

    A damaged file is read as far as it can be. Vectors that cannot be right are dropped, so that the next
    indexing encodes those photos again; rows that belong to nothing are deleted; the index of words and
    the disposable copies are made anew.

    Raises:
        LibraryError: There is no library, a newer Sensorium wrote it, nothing of it can be read, an indexer
            is at work, or there is no room for the copy.
    """
    done = Repaired()
    with _told_as(f"cannot repair {printable(folder)}"), _alone_in(folder):
        if checks.check_file(folder):
            _write_anew(folder, done)
        with closing(Store(folder, create=False)) as store:
            if done.before is None and mend.is_wrong(store):
                done.before = _free_name(folder, "before-repair").with_suffix(".sqlite3")
                backup(folder, done.before)
            if done.before is not None:
                done.mended += mend.mend(store)
        cabinet.discard(folder)
    done.left = [found for found in checks.check(folder) if isinstance(found, Finding)]
    return done


def models(store: Store) -> list[Model]:
    """All models that a library holds vectors of, oldest first."""
    counted = sa.select(vectors.c.pipeline_id, sa.func.count()).group_by(vectors.c.pipeline_id)
    with store.reading() as connection:
        counts = {row[0]: row[1] for row in connection.execute(counted)}
    return [
        Model(
            name=row.model,
            pipeline=row.pipeline,
            dim=row.dim,
            vectors=counts.get(row.id, 0),
            waiting=store.without_vector(row.id),
            complete=row.complete,
            active=row.active,
        )
        for row in store.pipelines()
    ]


def drop(store: Store, name: str) -> Model:
    """Delete a model's vectors and all else that is known about it, except for the one that answers.

    Args:
        store: The library.
        name: The model's name, or the identity of its pipeline where several have one name.

    Raises:
        LibraryError: No such model, several, the one that answers, or an indexer is at work.
    """
    with alone(store.folder):
        pipeline = _named(store, name, but_active=True)
        (gone,) = (model for model in models(store) if model.pipeline == pipeline.pipeline)
        with store.writing(advance=True) as connection:
            connection.execute(sa.delete(pipelines).where(pipelines.c.id == pipeline.id))
        cabinet.discard(store.folder)
    return gone


def renew(store: Store, name: str) -> Model:
    """Have a model's photos encoded again by the next indexing; until then it finds nothing.

    Arguments and errors are those of ``drop``, which refuses the model that answers; this does not.
    """
    with alone(store.folder):
        pipeline = _named(store, name)
        (before,) = (model for model in models(store) if model.pipeline == pipeline.pipeline)
        with store.writing(advance=True) as connection:
            for table in (vectors, schema.frames, schema.regions, failures, schema.calibrations):
                connection.execute(sa.delete(table).where(table.c.pipeline_id == pipeline.id))
            this = sa.update(pipelines).where(pipelines.c.id == pipeline.id)
            connection.execute(this.values(golden=None, parts=None, complete=False))
        cabinet.discard(store.folder)
    return before


def _named(store: Store, name: str, *, but_active: bool = False) -> Pipeline:
    rows = store.pipelines()
    found = [row for row in rows if row.pipeline == name] or [row for row in rows if row.model == name]
    if not found:
        known = ", ".join(dict.fromkeys(printable(row.model) for row in rows)) or "none yet"
        raise LibraryError(f"the library holds no vectors of {printable(name)}; it has those of {known}")
    if but_active:
        found = [row for row in found if not row.active]
        if not found:
            raise LibraryError(f"{printable(name)} answers searches: switch to another model before")
    if len(found) > 1:
        identities = ", ".join(row.pipeline for row in found)
        raise LibraryError(f"several models are called {printable(name)}: name one of {identities}")
    return found[0]


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """The locks of a library that is there."""
    if not folder.is_dir():
        raise LibraryError(f"no photo library in {printable(folder)}: name another with --library")
    with closed(folder):
        yield


@contextmanager
def _told_as(what: str) -> Iterator[None]:
    """Faults of disk, rights and room as one line."""
    try:
        yield
    except OSError as error:
        raise LibraryError(f"{what}: {(error.strerror or str(error)).lower()}") from error
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT:
            raise KeyboardInterrupt from error
        raise LibraryError(f"{what}: {error}") from error


def _copy(source: Path, target: Path) -> None:
    """Write the state of one moment into a new file without a log of its own, checking room before.

    Raises:
        LibraryError: The source is damaged, or there is no room.
        sqlite3.Error, OSError: It cannot be written.
    """
    with closing(open_to_read(source)) as connection:
        # An interruption waits for no more than so many steps of the copy.
        connection.set_progress_handler(lambda: 0, 100_000)
        try:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            (size,) = connection.execute("PRAGMA page_size").fetchone()
            free = shutil.disk_usage(target.parent).free
            if pages * size > free:
                raise LibraryError(
                    f"there is no room in {printable(target.parent.parent)}: {pages * size / 1e6:.0f} MB "
                    f"are needed, {free / 1e6:.0f} MB are free"
                )
            # As bytes: the name of a folder need not be text.
            connection.execute("VACUUM INTO CAST(? AS TEXT)", (os.fsencode(target),))
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _DAMAGE:
                raise
            raise LibraryError(
                f"{printable(source)} is damaged ({error}): `sensorium library repair` saves what can be read"
            ) from error


def _inspect(file: Path, origin: Path, *, newer: bool = False) -> tuple[int, int]:
    """Number of photos and vectors in a file that must be a sound library.

    Raises:
        LibraryError: It is none; the line names ``origin``. A newer one is refused unless ``newer``.
    """
    try:
        with closing(open_to_read(file)) as connection:
            if not newer:
                checks.refuse_newer(connection, origin)
            wrong = checks.faults(connection)
            if not wrong:
                counts = "SELECT (SELECT count(*) FROM photos), (SELECT count(*) FROM vectors)"
                photos, rows = connection.execute(counts).fetchone()
                return int(photos), int(rows)
    except sqlite3.DatabaseError as error:
        wrong = [str(error)]
    raise LibraryError(f"{printable(origin)} is no sound photo library: {wrong[0]}")


def _finish(fresh: Path, origin: Path) -> tuple[int, int]:
    """Bring a new file up to date and make it safe; the number of its photos and vectors."""
    with closing(Store(fresh, create=False)) as store:
        mend.raise_generation(store)
    counts = _inspect(fresh / FILE_NAME, origin)
    _make_safe(fresh / FILE_NAME)
    return counts


def _write_anew(folder: Path, done: Repaired) -> None:
    """Put a new file with everything that can be read in the place of a damaged one."""
    damaged = folder / FILE_NAME
    done.before = _free_name(folder, "damaged")
    with tempfile.TemporaryDirectory(prefix=".repair-", dir=folder) as beside:
        fresh = Path(beside)
        saved = salvage(damaged, fresh)
        with closing(Store(fresh, create=False)) as store:
            done.mended += [_told(saved), *mend.delete_orphans(store)]
        _finish(fresh, damaged)
        _swap(fresh, folder, done.before)


def _told(saved: Salvaged) -> str:
    parts = [f"saved {saved.rows.get('photos', 0)} photos and {saved.rows.get('vectors', 0)} vectors"]
    parts += [f"{saved.gaps} stretches of the file could not be read"] if saved.gaps else []
    again = saved.from_indexes + saved.doubtful
    parts += [f"the next indexing reads {again} photos again"] if again else []
    return "wrote the file anew: " + ", ".join(parts)


def _swap(fresh: Path, folder: Path, aside: Path) -> None:
    """Put a new library file in its place and what stood there into ``aside``, or leave all as it was.

    The old log goes first: beside a new file SQLite would replay it into that one.
    """
    aside.mkdir()
    moved: list[tuple[Path, Path]] = []
    try:
        for part in _PARTS:
            old = folder / f"{FILE_NAME}{part}"
            if old.exists():
                old.replace(aside / old.name)
                moved.append((aside / old.name, old))
        (fresh / FILE_NAME).replace(folder / FILE_NAME)
    except OSError:
        for kept, old in reversed(moved):
            kept.replace(old)
        aside.rmdir()
        raise
    cabinet.discard(folder)
    _make_safe(folder)


def _free_name(folder: Path, word: str) -> Path:
    """A name in a folder that nothing has, with the moment in it."""
    return folder / f"{word}-{settings.now():%Y%m%dT%H%M%S%f}"


def _make_safe(path: Path) -> None:
    """Let a file, or the names in a folder, survive a power cut."""
    if path.is_dir() and os.name == "nt":
        return  # where a folder cannot be opened
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
