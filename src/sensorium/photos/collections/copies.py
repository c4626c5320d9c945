"""Copies that tell no place: what is given away may be looked at, and says nothing else.

A picture is made anew from its pixels, so that nothing which a file holds beside them can come along: no
EXIF, XMP, IPTC, maker's notes, comments, previews, nor the film behind a motion photo. Of the facts only day
and time stay. A film is not encoded again: its pictures and its sound are copied, and nothing else
(`media.video.copy_without_metadata`). What is written on a picture, or said in a film, stays.
"""

from __future__ import annotations

import io
from datetime import datetime
from typing import BinaryIO

from PIL import ExifTags, Image

from sensorium.media.image import open_image, read_image
from sensorium.media.video import copy_without_metadata

SUFFIXES = {
    "image/jpeg": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "image/png": (".png",),
    "video/mp4": (".mp4", ".m4v"),
    "video/quicktime": (".mov", ".qt"),
    "video/webm": (".webm",),
    "video/x-matroska": (".mkv",),
}
"""The suffixes of each media type that a copy can have, the usual one first."""

_QUALITY = 95


def copy_without_location(
    file: BinaryIO, kind: str, target: BinaryIO, taken_at: datetime | None = None
) -> str:
    """Copy an original; of an animation its first picture.

    Args:
        file: The original, read from its start.
        kind: The photo's: "video", or any other.
        target: An empty file, open to be written and read.
        taken_at: The clock on the spot, which stays; its zone does not, for it would tell a place roughly.

    Returns:
        The media type of what was written: JPEG for pictures, PNG for those that are PNG files.

    Raises:
        BadImageError: It cannot be decoded; OSError: it cannot be read or written.
    """
    if kind == "video":
        return copy_without_metadata(file, target)
    with open_image(file) as opened:
        exact = opened.format == "PNG"
    picture = read_image(file)
    exif = _day_and_time(taken_at)
    written = io.BytesIO()
    if exact:
        picture.save(written, "PNG", exif=exif if taken_at else b"")
    else:
        picture.save(written, "JPEG", quality=_QUALITY, subsampling="4:4:4", exif=exif if taken_at else b"")
    target.write(written.getbuffer())
    return "image/png" if exact else "image/jpeg"


def _day_and_time(taken_at: datetime | None) -> bytes:
    """EXIF with one moment in it, or nothing."""
    if taken_at is None:
        return b""
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = f"{taken_at:%Y:%m:%d %H:%M:%S}"
    return exif.tobytes()  # Pillow would take an Exif whose only field lies below the top for an empty one
