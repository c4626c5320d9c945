"""Files that are no photos of their own but belong to one, told by their names alone.

Within one folder, letter case aside:
  sidecar  ``IMG_1.jpg.xmp`` and ``IMG_1.xmp``; Apple's ``IMG_1.aae``; Google Takeout's ``IMG_1.jpg.json``
           with its ``.supplemental-metadata`` (cut short at 51 letters) and its ``IMG_1.jpg(2).json`` for
           ``IMG_1(2).jpg``
  live     the film half of a live photo: a small ``IMG_1.mov`` or ``.mp4`` beside a JPEG or HEIC; alone, or
           as large as a few seconds never are, a film is a photo itself, as all that a scan finds
  raw      ``IMG_1.cr2`` beside ``IMG_1.jpg``, as cameras write pairs; alone, a raw file is a photo itself
A file that fits no photo belongs to none. A companion belongs to one photo.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from sensorium.media.image import RAW_EXTENSIONS
from sensorium.photos.files.stamps import Stamp

SIDECAR_EXTENSIONS = (".xmp", ".aae", ".json")
FILM_EXTENSIONS = (".mov", ".mp4")

_LARGEST_LIVE = 40_000_000  # bytes; three seconds of a phone's film have 2 to 10 million

_DEVELOPED = (".jpg", ".jpeg", ".heic", ".heif", ".jpe")  # what cameras write beside a raw file or a film
_SUPPLEMENT = "supplemental-metadata"
_TAKEOUT_LONGEST = 46  # letters of a Takeout name before ".json"
_NUMBERED = re.compile(r"(.+?)(\.[^.()]+)((?:\.[a-z-]*)?)\((\d+)\)")


class Companion(NamedTuple):
    """A file that belongs to a photo: its path below the root, its stamp, and what it is to the photo."""

    path: str
    stamp: Stamp
    kind: str


def sidecars(companions: Sequence[Companion]) -> tuple[Companion, ...]:
    """Those that say something about the photo."""
    return tuple(companion for companion in companions if companion.kind == "sidecar")


def attribute(photos: Mapping[str, Stamp], others: Mapping[str, Stamp]) -> dict[str, tuple[Companion, ...]]:
    """Companions by the path of their photo, each list in the order of its paths.

    Args:
        photos: Picture files, raw ones and films included, by path below the root.
        others: Files with one of ``SIDECAR_EXTENSIONS``.
    """
    halves = {path: kind for path in photos if (kind := _half(path, photos[path])) is not None}
    if not others and not halves:
        return {}
    folders = _Folders(photos)
    found: dict[str, list[Companion]] = {}
    for path in sorted(halves):
        owner = folders.developed(path)
        if owner is not None:
            found.setdefault(owner, []).append(Companion(path, photos[path], halves[path]))
    pairs = {companion.path: owner for owner, companions in found.items() for companion in companions}
    for path in sorted(others):
        owner = folders.described(path)
        if owner is not None:
            owner = pairs.get(owner, owner)  # what is said of one half is said of the pair
            found.setdefault(owner, []).append(Companion(path, others[path], "sidecar"))
    return {owner: tuple(sorted(companions)) for owner, companions in found.items()}


def _half(path: str, stamp: Stamp) -> str | None:
    """What a file would be to a JPEG or HEIC of its name."""
    extension = _split(path)[2]
    if extension in RAW_EXTENSIONS:
        return "raw"
    return "live" if extension in FILM_EXTENSIONS and stamp.size <= _LARGEST_LIVE else None


class _Folders:
    """Photos by folder and name, and by folder and stem."""

    def __init__(self, photos: Mapping[str, Stamp]) -> None:
        self.names: dict[tuple[str, str], str] = {}
        self.ordered: dict[str, list[str]] = {}
        self.stems: dict[tuple[str, str], list[str]] = {}
        for path in sorted(photos):
            folder, stem, extension = _split(path)
            self.names.setdefault((folder, stem + extension), path)
            self.stems.setdefault((folder, stem), []).append(path)
            self.ordered.setdefault(folder, []).append(stem + extension)
        for names in self.ordered.values():
            names.sort()

    def developed(self, path: str) -> str | None:
        """The JPEG or HEIC with the stem of a raw file or film."""
        folder, stem, _ = _split(path)
        fitting = [other for other in self.stems.get((folder, stem), ()) if _split(other)[2] in _DEVELOPED]
        return min(fitting, key=lambda other: _DEVELOPED.index(_split(other)[2])) if fitting else None

    def described(self, path: str) -> str | None:
        """The photo that a sidecar is about."""
        folder, stem, extension = _split(path)
        exact = self.names.get((folder, stem))
        if exact is not None:
            return exact
        if extension == ".json":
            return next((self.names[folder, name] for name in self._takeout(folder, stem)), None)
        same = self.stems.get((folder, stem), ())
        return self.developed(path) or (same[0] if same else None)

    def _takeout(self, folder: str, stem: str) -> Iterator[str]:
        """Names of photos that a Takeout file called ``stem`` + ".json" can be about, likeliest first."""
        numbered = _NUMBERED.fullmatch(stem)
        if numbered is not None:
            name, extension, supplement, number = numbered.groups()
            if _SUPPLEMENT.startswith(supplement[1:]):
                stem = f"{name}({number}){extension}"
        head, dot, tail = stem.rpartition(".")
        wanted = [stem]
        if dot and _SUPPLEMENT.startswith(tail):
            wanted.append(head)
        yield from (name for name in wanted if (folder, name) in self.names)
        if len(stem) == _TAKEOUT_LONGEST:  # so long a name was cut, extension and all
            names = self.ordered.get(folder, [])
            start = bisect_left(names, stem)
            yield from (name for name in names[start : start + 1] if name.startswith(stem))


def _split(path: str) -> tuple[str, str, str]:
    """Folder as it is; stem and extension (with its dot) in lower case."""
    folder, _, name = path.rpartition("/")
    stem, dot, extension = name.lower().rpartition(".")
    return (folder, stem, dot + extension) if stem else (folder, extension, "")
