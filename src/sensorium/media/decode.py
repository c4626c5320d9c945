"""Picture files to upright RGB pixels, and every reason why one cannot be.

The decoders are Pillow's, with libheif, libjxl and LibRaw beside them, called one by one rather than through
``Image.open``: the content decides which one (never the name), only the formats of photographs are tried, and
the limit on pixels is ours instead of a process-wide setting. A picture is whole or refused; none is filled
up with grey. Files are opened for reading only, and never changed.
"""

from __future__ import annotations

import io
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageChops,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from sensorium.errors import BadImageError
from sensorium.media.formats import DECODER_FAILURES, PREFIX, is_raw, open_file, reason, sniff, what_instead

if TYPE_CHECKING:
    from PIL import ImageCms

    from sensorium.media.raw import RawFile

MOST_PIXELS = 250_000_000
"""The pixel limit of a machine with memory to spare: room for the 200-megapixel phones of today."""

_MOST_STORED = 2 * MOST_PIXELS
# Of a JPEG that is read at 1/8: reading it takes seconds, and no camera makes such.

_BYTES_PER_PIXEL = 64
# Pillow keeps 4 bytes a pixel and needs a second copy to turn or convert; eight workers may do so at once.

_PLUGINS = {
    "JPEG": JpegImagePlugin.jpeg_factory,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "JPEG2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
}
_ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")
_EMPTY_FRAMES = 24
# So many frames of one colour may stand before the first that shows something: a second of fading in.

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPPING = (_TURNS[5], _TURNS[6], _TURNS[7], _TURNS[8])
_MIRRORING_X = (_TURNS[2], _TURNS[3], _TURNS[6], _TURNS[7])
_MIRRORING_Y = (_TURNS[3], _TURNS[4], _TURNS[7], _TURNS[8])

_PREVIEW_SIDE = 1024
# Shortest side of a preview that may stand for a raw file when nobody says how much is needed.

_EXTENT = "extent"


def read_image(
    source: Path | bytes | BinaryIO, *, smallest: int | None = None, pixel_limit: int | None = None
) -> Image.Image:
    """Read a picture: its first frame that shows anything, upright, in RGB (sRGB, transparency over white).

    Args:
        source: A path, the content itself, or an open binary file (read from its start, left open).
        smallest: When given, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as its shortest
            side keeps at least this many pixels. `ImageSpec.decode_side` is the value for a network. A raw
            file gives its embedded preview or is developed at half its size, with it or without.
        pixel_limit: The most pixels to decode; `default_pixel_limit` when absent. Checked on the header.

    Raises:
        BadImageError: With the reason in one line, for anything that is not a whole, decodable picture.
    """
    with open_image(source) as image:
        return decode(image, smallest=smallest, pixel_limit=pixel_limit)


@contextmanager
def open_image(source: Path | bytes | BinaryIO) -> Iterator[ImageFile.ImageFile]:
    """Open a picture without decoding it: its format, size and ``getexif()`` can be read, then `decode`.

    ``size`` is the size as stored, before the orientation is applied; raw files, JPEG XL and HEIC give it
    upright and no orientation. ``source`` is as for `read_image`.

    Raises:
        BadImageError: When there is no readable header of a known format.
    """
    own = not hasattr(source, "read")
    try:
        if isinstance(source, Path):
            file = open_file(source)
        else:
            file = io.BytesIO(source) if isinstance(source, bytes) else source
            file.seek(0)
    except (OSError, ValueError) as error:
        raise BadImageError(reason(error)) from error
    try:
        with warnings.catch_warnings():
            # Pillow warns of what it then survives or refuses: for people that would be one line too many.
            warnings.filterwarnings("ignore", module=r"PIL\.|pillow_heif|pylibjxl")
            try:
                image = _recognised(file)
            except DECODER_FAILURES as error:
                raise BadImageError(reason(error)) from error
            yield image
    finally:
        if own:
            file.close()


def decode(
    image: ImageFile.ImageFile, *, smallest: int | None = None, pixel_limit: int | None = None
) -> Image.Image:
    """Decode what `open_image` opened. Arguments, result and errors are those of `read_image`."""
    limit = default_pixel_limit() if pixel_limit is None else pixel_limit
    if image.format == "RAW":
        return _decode_raw(cast("RawFile", image), smallest, limit)
    return _decode(image, smallest, limit)


def _decode(
    image: Image.Image, smallest: int | None, limit: int, orientation: int | None = None
) -> Image.Image:
    """As `decode`; ``orientation`` is known better than the file says."""
    stored = image.width * image.height
    reduced = None
    if smallest is not None and isinstance(image, JpegImagePlugin.JpegImageFile):
        reduced = image.draft(None, (smallest, smallest))
    # A baseline JPEG is read line by line; a progressive one keeps the coefficients of every pixel.
    cost = image.width * image.height
    if cost < stored:
        cost = max(cost, stored if _is_progressive(image) else stored // 8)
    if cost > limit or stored > max(limit, _MOST_STORED):
        raise _too_large(stored, limit)
    try:
        image.load()
        _seek_first_real_frame(image)
    except DECODER_FAILURES as error:
        raise BadImageError(reason(error)) from error
    if orientation is None:
        # Only now: PNG keeps its EXIF behind the pixels, and TIFF turns itself and forgets its orientation.
        orientation = _orientation(image)
    turn = _TURNS.get(orientation)
    try:
        rgb = to_rgb(ImageChops.invert(image) if _is_plain_cmyk(image) else image)
        upright = rgb if turn is None else rgb.transpose(turn)
        if upright is image:
            # The open picture keeps its metadata, the result has none; to copy the pixels would cost a third.
            upright = image._new(image.im)
    except (OSError, ValueError, MemoryError) as error:
        raise BadImageError(reason(error)) from error
    # The source's metadata (thumbnails, profiles) would travel along with every copy: only this stays.
    upright.info = {}
    if reduced is not None:
        box = reduced[1]
        upright.info[_EXTENT] = box if turn is None else _turned(box, turn, upright.size)
    return upright


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation; that of the pixels where EXIF is missing, broken or absurd."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation)
    except DECODER_FAILURES:
        return 1
    return value if isinstance(value, int) else 1


def _decode_raw(image: RawFile, smallest: int | None, limit: int) -> Image.Image:
    """A raw file by its preview when that is large enough for the purpose, else by developing it."""
    wanted = smallest or _PREVIEW_SIDE
    shortest = min(image.size)
    found = image.preview()
    if found is not None and min(found[0].size) >= min(wanted, shortest):
        picture, orientation = found
        with suppress(BadImageError):  # a damaged preview: the sensor's data may be whole
            return _decode(picture, smallest, limit, orientation)
    if image.cost > limit:
        raise _too_large(image.cost, limit)
    try:
        return Image.fromarray(image.develop(half=shortest // 2 >= wanted))
    except DECODER_FAILURES as error:
        raise BadImageError(reason(error)) from error


def extent(image: Image.Image) -> tuple[float, float, float, float]:
    """The part (left, top, right, bottom) of a picture that the file's pixels cover; nearly always all.

    A JPEG of 1001 columns read at 1/8 has 126, of which the last stands for one column instead of eight.
    To resize 126 columns as if they were 1008 shifts everything by up to a pixel of the result, which costs
    more of the embedding than the reduction itself; so `fit_image` resizes this part.
    """
    known = image.info.get(_EXTENT)
    width, height = image.size
    if known is not None:
        left, top, right, bottom = known
        if (math.ceil(right - left), math.ceil(bottom - top)) == (width, height):
            return left, top, right, bottom
    return 0.0, 0.0, float(width), float(height)  # of another origin, or resized since


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any Pillow image to 8-bit RGB in sRGB, transparency composed over white.

    16-bit values are scaled, not clipped; an embedded ICC profile is honoured and a broken one ignored.
    """
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I") or image.mode == "F":
        return _from_high_depth(image)
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode == "P" or image.has_transparency_data:
        # The palette and the colour key become plain channels before anything else is done to them.
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if image.mode == "RGBA" and image.getchannel("A").getextrema() != (255, 255):
        colours = _to_srgb(image.convert("RGB"), profile)
        flat = Image.new("RGB", image.size, (255, 255, 255))
        flat.paste(colours, mask=image.getchannel("A"))
        return flat
    return _to_srgb(image, profile)


def default_pixel_limit() -> int:
    """The most pixels that one picture may have: `MOST_PIXELS`, less on a machine with little memory."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not every system tells
        return MOST_PIXELS
    return min(MOST_PIXELS, memory // _BYTES_PER_PIXEL)


def _turned(
    box: tuple[float, float, float, float], turn: Image.Transpose, size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Where a box of the stored picture lies in the turned one, which has ``size``."""
    left, top, right, bottom = box
    if turn in _SWAPPING:
        left, top, right, bottom = top, left, bottom, right
    if turn in _MIRRORING_X:
        left, right = size[0] - right, size[0] - left
    if turn in _MIRRORING_Y:
        top, bottom = size[1] - bottom, size[1] - top
    return left, top, right, bottom


def _recognised(file: BinaryIO) -> ImageFile.ImageFile:
    prefix = file.read(PREFIX)
    if not prefix:
        raise BadImageError("the file is empty")
    kind = sniff(prefix)
    if kind is None:
        raise BadImageError(f"not a picture that can be read: {what_instead(prefix)}")
    if kind == "WEBP" and file.seek(0, io.SEEK_END) < 8 + int.from_bytes(prefix[4:8], "little"):
        raise BadImageError(reason(EOFError("truncated")))  # its decoder would only say that it failed
    if kind == "TIFF" and is_raw(file):
        kind = "RAW"
    file.seek(0)
    return _PLUGINS[kind](file, "") if kind in _PLUGINS else _by_extra(kind, file)


def _by_extra(kind: str, file: BinaryIO) -> ImageFile.ImageFile:
    """Open with a decoder that comes with an extra."""
    image: ImageFile.ImageFile
    try:
        if kind == "HEIF":
            from pillow_heif import HeifImageFile

            image = HeifImageFile(file)
        elif kind == "JXL":
            from sensorium.media.jxl import JxlFile

            image = JxlFile(file)
        else:
            from sensorium.media.raw import RawFile

            image = RawFile(file)
    except ImportError as error:
        name = {"HEIF": "HEIC", "JXL": "JPEG XL"}.get(kind, "raw files")
        raise BadImageError(f"reading {name} needs an extra: pip install 'sensorium[photos]'") from error
    return image


def _too_large(pixels: int, limit: int) -> BadImageError:
    return BadImageError(f"the picture has {pixels / 1e6:.0f} megapixels; the limit is {limit / 1e6:.0f}")


def _seek_first_real_frame(image: Image.Image) -> None:
    """Leave an animation at the first of its frames that shows anything; at its first when none does."""
    if image.format not in _ANIMATED or not getattr(image, "is_animated", False):
        return
    # An animated PNG may hold a picture for programs that know no animation, outside of it.
    first = 1 if image.info.get("default_image") else 0
    for frame in range(first, first + _EMPTY_FRAMES):
        try:
            image.seek(frame)
        except EOFError:
            break
        image.load()
        if not _is_empty(image):
            return
    image.seek(first)
    image.load()


def _is_empty(image: Image.Image) -> bool:
    """Whether a frame is all of one colour or wholly transparent."""
    if image.mode == "P" or image.has_transparency_data:
        image = image.convert("RGBA")
    bands = image.getextrema()
    ranges = [bands] if isinstance(bands[0], int | float) else list(bands)
    if image.mode in ("RGBA", "LA") and ranges[-1] == (0, 0):
        return True
    return all(low == high for low, high in ranges)


def _is_plain_cmyk(image: Image.Image) -> bool:
    """Whether a CMYK JPEG was written without Adobe's mark; Pillow takes all of them for Adobe's inverted."""
    return image.format == "JPEG" and image.mode == "CMYK" and "adobe" not in image.info


def _is_progressive(image: Image.Image) -> bool:
    return bool(image.info.get("progressive") or image.info.get("progression"))


def _from_high_depth(image: Image.Image) -> Image.Image:
    """Grey pictures of 16 or 32 bits or of floats, scaled to 8 bits by the range of their type."""
    values = np.asarray(image)
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        table = np.rint(np.arange(65536) * (255 / 65535)).astype(np.uint8)
        return Image.fromarray(table[values]).convert("RGB")
    brightest = float(values[np.isfinite(values)].max(initial=0))
    if image.mode == "F":
        # Floats hold [0,1] by custom; files that hold byte or 16-bit values in floats exist too.
        full = 1.0 if brightest <= 1.0 else 255.0 if brightest <= 255.0 else max(brightest, 65535.0)
    else:
        full = 65535.0 if brightest <= 65535.0 else float(2**31 - 1)
    scaled = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=full, neginf=0.0) * (255.0 / full)
    return Image.fromarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8)).convert("RGB")


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """To RGB, by the profile where it fits the mode."""
    if profile and image.mode in ("RGB", "L", "CMYK"):
        from PIL import ImageCms

        transform = _transform(profile, image.mode)
        converted = None if transform is None else ImageCms.applyTransform(image, transform)
        if converted is not None:
            return converted
    return image if image.mode == "RGB" else image.convert("RGB")


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The colour transform to sRGB, or None where none is needed or the profile is unusable."""
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(source.profile.xcolor_space)
        if space != mode or "srgb" in (source.profile.profile_description or "").lower():
            return None
        target = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        return ImageCms.buildTransform(source, target, mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
