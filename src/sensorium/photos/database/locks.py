"""One at a time: the locks of whoever adds to a library or replaces its file. Readers need none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sensorium.errors import LibraryBusyError, LibraryError
from sensorium.photos.files.names import printable

FILE_NAME = "index.lock"
DESCRIBING = "describe.lock"
SERVING = "server.lock"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the lock of indexing, which the system lets go when the process ends in any way.

    Raises:
        LibraryBusyError: Another process holds it.
        LibraryError: The folder cannot be written.
    """
    with _held(folder, FILE_NAME, "index"):
        yield


@contextmanager
def describing(folder: Path) -> Iterator[None]:
    """Hold the lock of describing, which may go on beside an indexer. Raises LibraryError as ``alone``."""
    with _held(folder, DESCRIBING, "describe"):
        yield


@contextmanager
def serving(folder: Path) -> Iterator[None]:
    """Hold the lock of the one server of a library. Raises LibraryError as ``alone``."""
    with _held(folder, SERVING, "serve", "open its page in a browser, or end it first"):
        yield


@contextmanager
def closed(folder: Path) -> Iterator[None]:
    """Hold both, to replace the library's file. Raises LibraryError as ``alone``."""
    with alone(folder), describing(folder):
        yield


@contextmanager
def _held(
    folder: Path,
    name: str,
    command: str,
    advice: str = "wait until it is done; searching is possible meanwhile",
) -> Iterator[None]:
    from filelock import FileLock, Timeout

    lock = FileLock(folder / name)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LibraryBusyError(
            f"another `sensorium {command}` is at work on {printable(folder)}: {advice}"
        ) from None
    except OSError as error:
        raise LibraryError(
            f"cannot write to the library folder {printable(folder)}: {error.strerror}"
        ) from error
    try:
        yield
    finally:
        lock.release()
