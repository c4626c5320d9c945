"""Photos out of a library, as one ZIP archive that is written while it is read.

With everything: the originals, byte for byte. Without location: the copies of ``copies``. What could not be
exported is listed in the archive's last file with the reason.
"""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime
from typing import cast

from sensorium.errors import BadImageError
from sensorium.photos.collections.browse import Browse, Card
from sensorium.photos.collections.copies import SUFFIXES, copy_without_location
from sensorium.photos.database.store import Store
from sensorium.photos.files.originals import OriginalError, open_original, original_of

MISSING = "not exported.txt"
"""The file of an archive that lists what is not in it."""

_CHUNK = 1 << 18
_SIGNS = str.maketrans(dict.fromkeys(["/", *'\\:*?"<>|', *map(chr, range(32))], "_"))
_LONGEST_NAME = 150


def export(store: Store, ids: Sequence[int], *, without_location: bool = False) -> Iterator[bytes]:
    """A ZIP archive of photos, in pieces of some hundred kB as they are made.

    Args:
        store: The library.
        ids: Photos, in the order that the archive has; those that are none are left out.
        without_location: Make copies that tell no place, as above.

    Raises:
        LibraryError: The library cannot be read.
    """
    sink = _Sink()
    names = _Names()
    missing: list[str] = []
    with zipfile.ZipFile(cast("io.BytesIO", sink), "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for card in Browse(store).photos(ids):
            original = original_of(store, card.id)
            if original is None:
                continue
            try:
                with ExitStack() as stack:
                    file = stack.enter_context(open_original(original))
                    name = card.name
                    if without_location:
                        kept = stack.enter_context(tempfile.TemporaryFile())
                        name = _renamed(name, copy_without_location(file, original.kind, kept, card.taken_at))
                        file = kept
                        file.seek(0)
                    entry = zipfile.ZipInfo(names.free(name), _moment(card))
                    entry.external_attr = 0o644 << 16
                    with archive.open(entry, "w", force_zip64=True) as place:
                        while chunk := file.read(_CHUNK):
                            place.write(chunk)
                            yield from sink.taken()
            except (OriginalError, BadImageError) as error:
                missing.append(f"{names.plain(card.name)}: {error}")
            except OSError as error:
                missing.append(f"{names.plain(card.name)}: {(error.strerror or str(error)).lower()}")
            yield from sink.taken()
        if missing:
            archive.writestr(names.free(MISSING), "\n".join(missing) + "\n")
    yield from sink.taken()


class _Sink:
    """A file that is only written to, and whose content is taken away as it grows."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, content: bytes) -> int:
        """Keep some more."""
        self._parts.append(bytes(content))
        return len(content)

    def flush(self) -> None:
        """Nothing waits anywhere."""

    def taken(self) -> Iterator[bytes]:
        """What was written since the last time."""
        parts, self._parts = self._parts, []
        joined = b"".join(parts)
        if joined:
            yield joined


class _Names:
    """Names in one archive: safe on every system, and each once, letter case aside."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    @staticmethod
    def plain(name: str) -> str:
        """A name as text, without signs that some system forbids."""
        text = os.fsencode(name).decode("utf-8", errors="replace").translate(_SIGNS)
        stem, suffix = os.path.splitext(text)  # noqa: PTH122
        return stem.strip(" .")[:_LONGEST_NAME] + suffix[:20].rstrip(" .") or "photo"

    def free(self, name: str) -> str:
        """The name, numbered where another file has it."""
        wanted = self.plain(name)
        stem, suffix = os.path.splitext(wanted)  # noqa: PTH122
        number = 1
        while wanted.casefold() in self._used:
            number += 1
            wanted = f"{stem} ({number}){suffix}"
        self._used.add(wanted.casefold())
        return wanted


def _renamed(name: str, media_type: str) -> str:
    """A name with the suffix of a media type, unless it has one of those already."""
    suffixes = SUFFIXES[media_type]
    stem, suffix = os.path.splitext(name)  # noqa: PTH122
    return name if suffix.lower() in suffixes else stem + suffixes[0]


def _moment(card: Card) -> tuple[int, int, int, int, int, int]:
    """When a photo was taken as archives keep it: from 1980 on, without a zone."""
    taken = card.taken_at or datetime(1980, 1, 1)
    year = min(max(taken.year, 1980), 2107)
    return year, taken.month, taken.day, taken.hour, taken.minute, taken.second
