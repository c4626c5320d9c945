r"""File names as they are: any bytes, in the database, on a terminal, in JSON and in a link.

A name on disk is bytes. In Python it is a string in which each byte that is not UTF-8 stands as a lone
surrogate (``os.fsdecode``). The database keeps the bytes; JSON keeps the surrogate as an escape
(``"\udcff"``), which ``os.fsencode`` turns back into the byte.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote_from_bytes


def join(root: str, relative: str) -> str:
    """Full path of a file from its root and its path below it, which uses ``/`` on every system."""
    return os.path.join(root, *relative.split("/"))  # noqa: PTH118 - a Path would cost 10 times as much


def parent(relative: str) -> str:
    """Folder of a relative path; the empty string is the root itself."""
    return relative.rpartition("/")[0]


def inside(relative: str, folder: str) -> bool:
    """Whether a relative path lies in a relative folder; everything lies in the empty one."""
    return not folder or relative == folder or relative.startswith(folder + "/")


def relative_to(path: str, root: str) -> str | None:
    """The path below ``root`` with ``/`` between folders, "" for the root itself, None when outside."""
    if path == root:
        return ""
    prefix = root if root.endswith(os.sep) else root + os.sep
    if not path.startswith(prefix):
        return None
    below = path[len(prefix) :]
    return below if os.sep == "/" else below.replace(os.sep, "/")


def printable(path: str | Path) -> str:
    """The path on one line that any terminal can show: odd bytes and control characters escaped."""
    text = str(path)
    if text.isprintable():
        return text
    shown = []
    for character in text:
        code = ord(character)
        if 0xDC80 <= code <= 0xDCFF:
            shown.append(f"\\x{code - 0xDC00:02x}")
        elif character.isprintable():
            shown.append(character)
        else:
            shown.append(character.encode("unicode_escape").decode("ascii"))
    return "".join(shown)


def link(path: str | Path) -> str:
    """``file://`` address of a path, percent-encoded from its bytes."""
    raw = os.fsencode(path)
    return "file://" + quote_from_bytes(raw if os.sep == "/" else b"/" + raw.replace(b"\\", b"/"))
