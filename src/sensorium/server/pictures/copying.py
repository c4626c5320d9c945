"""What the decoding processes do for share links: a copy of an original without anything but the picture.

Like ``decoding``, this imports nothing but decoders.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from sensorium.photos.collections.copies import copy_without_location
from sensorium.photos.files.originals import Original, open_original


def make(original: Original, place: Path) -> None:
    """Write the copy of an original to its place, as a whole or not at all.

    Raises OriginalError, BadImageError; OSError when it cannot be written.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    descriptor, beside = tempfile.mkstemp(prefix=".", dir=place.parent)
    try:
        with os.fdopen(descriptor, "w+b") as target, open_original(original) as file:
            copy_without_location(file, original.kind, target)
        Path(beside).replace(place)
    finally:
        Path(beside).unlink(missing_ok=True)
