"""An original by its photo's id: found, checked to lie inside a folder of the library, opened to be read.

A name on disk may lead elsewhere by the time it is opened. So links are resolved first, the result must lie
inside one of the library's folders, and then it is opened step by step from that folder down without
following any link: whatever was exchanged meanwhile, no other file is read.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import BinaryIO, Literal

import sqlalchemy as sa

from sensorium.errors import SensoriumError
from sensorium.photos.database.schema import photos
from sensorium.photos.database.schema import roots as root_table
from sensorium.photos.database.store import Store
from sensorium.photos.files.names import join, printable, relative_to
from sensorium.photos.files.scan import reason_offline
from sensorium.photos.files.stamps import Stamp

Fault = Literal["gone", "offline", "outside", "unreadable"]


class OriginalError(SensoriumError):
    """An original that cannot be opened; ``fault`` says in a word why.

    The line names the file, but none of the folders of this machine: whoever is shown photos may read it.
    """

    def __init__(self, fault: Fault, text: str) -> None:
        super().__init__(fault, text)
        self.fault = fault
        self.text = text

    def __str__(self) -> str:
        """The line for people."""
        return self.text


@dataclass(frozen=True, slots=True)
class Original:
    """Where the file of a photo is, and what it was when it was indexed.

    ``path`` is below ``root``; ``roots`` are all folders of the library; ``gone`` says that a scan missed it.
    """

    photo_id: int
    root: str
    path: str
    sha256: bytes
    stamp: Stamp
    kind: str
    format: str
    width: int
    height: int
    gone: bool
    roots: tuple[str, ...]

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.path.rpartition("/")[2]


def original_of(store: Store, photo_id: int) -> Original | None:
    """The original of a photo, or None when there is no such photo. Raises LibraryError."""
    columns = (
        root_table.c.path.label("root"),
        photos.c.path,
        photos.c.sha256,
        photos.c.size,
        photos.c.mtime_ns,
        photos.c.kind,
        photos.c.format,
        photos.c.width,
        photos.c.height,
        photos.c.missing_since,
    )
    statement = sa.select(*columns).join_from(photos, root_table).where(photos.c.id == photo_id)
    with store.reading() as connection:
        row = connection.execute(statement).one_or_none()
        everywhere = tuple(connection.scalars(sa.select(root_table.c.path).order_by(root_table.c.id)))
    if row is None:
        return None
    return Original(
        photo_id,
        row.root,
        row.path,
        row.sha256,
        Stamp(row.size, row.mtime_ns),
        row.kind,
        row.format,
        row.width,
        row.height,
        row.missing_since is not None,
        everywhere,
    )


def open_original(original: Original) -> BinaryIO:
    """The original's bytes, to be read and nothing else.

    Raises:
        OriginalError: ``gone``: there is no such file any more. ``offline``: its folder cannot be seen now.
            ``outside``: links lead out of the library's folders. ``unreadable``: it may not be read, or is
            no regular file.
    """
    try:
        real = os.path.realpath(join(original.root, original.path), strict=True)
        inside = _inside(real, original)
        if inside is None:
            raise OriginalError(
                "outside", f"{printable(original.name)} leads out of the library's folders: it is not shown"
            )
        descriptor = _open_below(*inside)
    except OSError as error:
        raise _told(original, error) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OriginalError("unreadable", f"{printable(original.name)} is no file any more")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _inside(real: str, original: Original) -> tuple[str, str] | None:
    """The folder of the library that a resolved path lies in, resolved, and the path below it."""
    for root in (original.root, *original.roots):
        resolved = os.path.realpath(root)
        below = relative_to(real, resolved)
        if below:
            return resolved, below
    return None


def _open_below(root: str, below: str) -> int:
    """Open a file below a folder without following a link anywhere on the way."""
    flags = os.O_RDONLY
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    if os.open not in os.supports_dir_fd:  # not every system can: then links were resolved a moment ago
        return os.open(join(root, below), flags)
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        *folders, name = below.split("/")
        for step in folders:
            deeper = os.open(step, flags | os.O_DIRECTORY, dir_fd=folder)
            os.close(folder)
            folder = deeper
        return os.open(name, flags, dir_fd=folder)
    finally:
        os.close(folder)


def _told(original: Original, error: OSError) -> OriginalError:
    reason = reason_offline(original.root)
    if reason is not None:
        return OriginalError("offline", f"its folder is offline ({reason}): connect its disk and try again")
    name = printable(original.name)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return OriginalError("gone", f"{name} is no longer there: index its folder again")
    return OriginalError("unreadable", f"{name} cannot be read: {(error.strerror or str(error)).lower()}")
