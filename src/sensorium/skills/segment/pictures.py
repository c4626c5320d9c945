"""The picture that is cut: as the network sees it, and with the transparency that its file has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from PIL import ExifTags, Image, ImageOps

from sensorium.media.formats import DECODER_FAILURES
from sensorium.media.image import decode, open_image, to_rgb


@dataclass(frozen=True, eq=False)
class Picture:
    """One upright picture at full size, twice.

    Attributes:
        rgb: What prompts are about: sRGB, transparency over white.
        rgba: What is cut out: the same colours under the file's own transparency, none of white mixed in.
    """

    rgb: Image.Image
    rgba: Image.Image


def upright(image: Image.Image) -> Image.Image:
    """A picture as its EXIF says it is held, where whoever opened it has not turned it yet; else itself."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        turned: Image.Image = ImageOps.exif_transpose(image) if orientation in range(2, 9) else image
    except DECODER_FAILURES:  # EXIF that is broken: `decode` leaves the picture as it lies, too
        return image
    return turned


def read(source: Path | bytes | BinaryIO) -> Picture:
    """A picture of any format and depth, upright, in 8 bits.

    Raises BadImageError with the reason in one line.
    """
    with open_image(source) as opened:
        rgb = decode(opened)
        if not opened.has_transparency_data or opened.mode[0] in "IF":  # greys of 16 bits have no real alpha
            return Picture(rgb, rgb.convert("RGBA"))
        whole = upright(opened).convert("RGBA")
    colours = to_rgb(whole.convert("RGB"))
    colours.putalpha(whole.getchannel("A"))
    colours.info = {}
    return Picture(rgb, colours)
