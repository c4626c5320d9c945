"""JPEG XL, by libjxl: the size from the header alone, the pixels upright, the metadata beside the pixels."""

from __future__ import annotations

from PIL import ExifTags, Image
from pylibjxl.pillow_plugin import JxlImageFile


class JxlFile(JxlImageFile):
    """A JPEG XL file. Its decoder turns the picture, so that EXIF's orientation is history here.

    Of an animation the decoder hands out the last frame only.
    """

    def getexif(self) -> Image.Exif:
        """EXIF without the orientation. Decodes the picture, because the metadata comes with it."""
        self.load()  # type: ignore[no-untyped-call]
        exif = super().getexif()
        exif.pop(ExifTags.Base.Orientation, None)
        return exif
