"""One at a time: the lock of whoever adds to a library or replaces its file. Readers need none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sensorium.errors import LibraryError
from sensorium.photos.files.names import printable

FILE_NAME = "index.lock"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the library's lock, which the system lets go when the process ends in any way.

    Raises:
        LibraryError: Another process holds it, or the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / FILE_NAME)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LibraryError(
            f"another `sensorium index` is at work on {printable(folder)}: wait until it is done; "
            "searching is possible meanwhile"
        ) from None
    except OSError as error:
        raise LibraryError(
            f"cannot write to the library folder {printable(folder)}: {error.strerror}"
        ) from error
    try:
        yield
    finally:
        lock.release()
