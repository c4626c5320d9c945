"""Raw files for tests: DNGs made of any picture, as a camera would have seen it. None is of a real camera.

A picture becomes what an ideal sensor records: linear light, one colour a pixel in the order RGGB, 14 bits.
"""

from __future__ import annotations

import io

import numpy as np
import tifffile
from PIL import Image

# XYZ (D65) to linear sRGB: the camera that these files come from has the filters of sRGB.
_TO_CAMERA = ((3.2406, -1.5372, -0.4986), (-0.9689, 1.8758, 0.0415), (0.0557, -0.2040, 1.0570))
_WHITE = 16383


def dng(
    picture: Image.Image,
    *,
    orientation: int = 1,
    preview: Image.Image | None = None,
    preview_orientation: int | None = None,
    make: str = "Acme",
    xmp: bytes | None = None,
) -> bytes:
    """A DNG of ``picture`` (RGB) as the sensor lay; with a JPEG preview in its first directory, if given."""
    extra = [
        (274, "H", 1, orientation, True),
        (271, "s", 0, make, True),
        (272, "s", 0, "Raw 1", True),
        (50706, "B", 4, (1, 4, 0, 0), True),
        (50708, "s", 0, "Acme Raw 1", True),
        (
            50721,
            "2i",
            9,
            _rationals(_TO_CAMERA),
            True,
        ),
        (50728, "2I", 3, (1, 1, 1, 1, 1, 1), True),
        (50778, "H", 1, 21, True),
    ]
    if xmp is not None:
        extra.append((700, "B", len(xmp), xmp, True))
    sensor = [
        (33421, "H", 2, (2, 2), True),
        (33422, "B", 4, (0, 1, 1, 2), True),
        (50714, "H", 1, 0, True),
        (50717, "H", 1, _WHITE, True),
    ]
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, byteorder="<") as writer:
        plain = {"metadata": None, "software": False, "datetime": False}
        options = {"photometric": "cfa", **plain}
        if preview is None:
            writer.write(mosaic(picture), extratags=extra + sensor, subfiletype=0, **options)
        else:
            coded = np.frombuffer(_jpeg(preview, preview_orientation), np.uint8)[None]
            writer.write(coded, subifds=1, subfiletype=1, extratags=extra, photometric="minisblack", **plain)
            writer.write(mosaic(picture), extratags=sensor, subfiletype=0, **options)
    if preview is not None:
        buffer.seek(0)
        with tifffile.TiffFile(buffer, mode="r+b") as file:
            # It was written as one row of grey bytes, for want of a writer that takes JPEGs as they are.
            for tag, value in ((256, preview.width), (257, preview.height), (259, 7), (262, 6), (277, 3)):
                file.pages[0].tags[tag].overwrite(value)
            file.pages[0].tags[278].overwrite(preview.height)
    return buffer.getvalue()


def mosaic(picture: Image.Image) -> np.ndarray:
    """uint16 [height, width]: what each pixel of the sensor counted."""
    values = np.asarray(picture.convert("RGB"), np.float64) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    counts = np.rint(linear * _WHITE).astype(np.uint16)
    raw = counts[..., 1].copy()
    raw[0::2, 0::2] = counts[0::2, 0::2, 0]
    raw[1::2, 1::2] = counts[1::2, 1::2, 2]
    return raw


def _rationals(matrix: tuple[tuple[float, ...], ...]) -> list[int]:
    return [part for row in matrix for value in row for part in (round(value * 10000), 10000)]


def _jpeg(picture: Image.Image, orientation: int | None) -> bytes:
    buffer = io.BytesIO()
    exif = Image.Exif()
    if orientation is not None:
        exif[274] = orientation
    picture.save(buffer, "JPEG", quality=92, subsampling=0, **({"exif": exif} if orientation else {}))
    content = buffer.getvalue()
    # Cameras write EXIF where Pillow puts the JFIF header first.
    length = int.from_bytes(content[4:6], "big")
    return content[:2] + content[4 + length :] if orientation else content
