"""What the file system tells about a file without reading it."""

from __future__ import annotations

import os
from typing import NamedTuple

_SIGNED = (1 << 63) - 1  # SQLite's integers are signed


class Stamp(NamedTuple):
    """What tells, without reading it, that a file is the same as before."""

    size: int
    mtime_ns: int


def inode_of(status: os.stat_result) -> int | None:
    """The file's number on its disk, or None where there are none. Evidence of a rename, never proof."""
    return (status.st_ino & _SIGNED) or None


def device_of(status: os.stat_result) -> int:
    """The number of the disk, as long as it stays mounted."""
    return status.st_dev & _SIGNED


def renamed_or_deleted(folder: str, device: int | None) -> bool:
    """Whether a folder left for good, rather than with its disk.

    It did when nothing stands at its path and what is left of the path lies on the same disk as the
    folder did. Where ``device`` was never noted, being away is enough.
    """
    path = folder
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError:
        return False
    else:
        return False
    while True:
        path = os.path.dirname(path)  # noqa: PTH120
        try:
            return device is None or device_of(os.stat(path)) == device  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            if path == os.path.dirname(path):  # noqa: PTH120
                return False
        except OSError:
            return False
