"""Picture files to upright RGB pixels, and every reason why one cannot be.

The decoders are Pillow's, called one by one rather than through ``Image.open``: the content decides
which one (never the name), only the formats of photographs are tried, and the limit on pixels is ours
instead of a process-wide setting. Files are opened for reading only, and never changed.
"""

from __future__ import annotations

import io
import math
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from sensorium.errors import BadImageError

if TYPE_CHECKING:
    from PIL import ImageCms

PHOTO_EXTENSIONS = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp"),
        *(".heic", ".heif", ".hif", ".avif", ".gif", ".tif", ".tiff", ".bmp"),
    )
)
"""Suffixes (lower case) of the files that a scan of a folder offers to `read_image`."""

MOST_PIXELS = 250_000_000
"""The pixel limit of a machine with memory to spare: room for the 200-megapixel phones of today."""

_BYTES_PER_PIXEL = 64
# Pillow keeps 4 bytes a pixel and needs a second copy to turn or convert; eight workers may do so at once.

_PREFIX = 512

_PLUGINS = {
    "JPEG": JpegImagePlugin.jpeg_factory,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
}

_HEIF_BRANDS = frozenset(b"heic heix heim heis hevc hevx hevm hevs mif1 msf1".split())
_AVIF_BRANDS = frozenset(b"avif avis".split())

_OTHER_CONTENT = (
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive or an office document"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (b"<svg", "an SVG drawing"),
    (b"\x89HDF", "an HDF5 file"),
    (b"8BPS", "a Photoshop document"),
    (b"ID3", "an MP3 recording"),
)

DECODER_FAILURES = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow's decoders raise on broken content: they parse trustingly, so nearly anything."""

_SIGNS_OF_A_CUT = (
    "truncated",
    "not enough",
    "end of file",
    "requires a buffer",
    "no more images",
    "chunk b''",
)

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

_EXTENT = "extent"


def read_image(
    source: Path | bytes | BinaryIO, *, smallest: int | None = None, pixel_limit: int | None = None
) -> Image.Image:
    """Read a picture: its first frame, upright, in RGB (sRGB, transparency over white).

    Args:
        source: A path, the content itself, or an open binary file (read from its start, left open).
        smallest: When given, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as its shortest
            side keeps at least this many pixels. `ImageSpec.decode_side` is the value for a network.
        pixel_limit: The most pixels to decode; `default_pixel_limit` when absent. Checked on the header.

    Raises:
        BadImageError: With the reason in one line, for anything that is not a whole, decodable picture.
    """
    with open_image(source) as image:
        return decode(image, smallest=smallest, pixel_limit=pixel_limit)


@contextmanager
def open_image(source: Path | bytes | BinaryIO) -> Iterator[ImageFile.ImageFile]:
    """Open a picture without decoding it: its format, size and ``getexif()`` can be read, then `decode`.

    ``size`` is the size as stored, before the orientation is applied. ``source`` is as for `read_image`.

    Raises:
        BadImageError: When there is no readable header of a known format.
    """
    own = not hasattr(source, "read")
    try:
        if isinstance(source, Path):
            file: BinaryIO = source.open("rb")
        else:
            file = io.BytesIO(source) if isinstance(source, bytes) else source
            file.seek(0)
    except (OSError, ValueError) as error:
        raise BadImageError(_reason(error)) from error
    try:
        try:
            image = _recognised(file)
        except DECODER_FAILURES as error:
            raise BadImageError(_reason(error)) from error
        yield image
    finally:
        if own:
            file.close()


def decode(
    image: ImageFile.ImageFile, *, smallest: int | None = None, pixel_limit: int | None = None
) -> Image.Image:
    """Decode what `open_image` opened. Arguments, result and errors are those of `read_image`."""
    limit = default_pixel_limit() if pixel_limit is None else pixel_limit
    stored = image.width * image.height
    reduced = None
    if smallest is not None and isinstance(image, JpegImagePlugin.JpegImageFile):
        reduced = image.draft(None, (smallest, smallest))
    # A baseline JPEG is read line by line; a progressive one keeps the coefficients of every pixel.
    cost = image.width * image.height
    if cost < stored:
        cost = max(cost, stored if _is_progressive(image) else stored // 8)
    if cost > limit:
        raise BadImageError(f"the picture has {stored / 1e6:.0f} megapixels; the limit is {limit / 1e6:.0f}")
    try:
        image.load()
        # Only now: PNG keeps its EXIF behind the pixels, and TIFF turns itself and forgets its orientation.
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except DECODER_FAILURES as error:
        raise BadImageError(_reason(error)) from error
    try:
        rgb = to_rgb(image)
    except (OSError, ValueError, MemoryError) as error:
        raise BadImageError(_reason(error)) from error
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    upright = rgb if turn is None else rgb.transpose(turn)
    # The source's metadata (thumbnails, profiles) would travel along with every copy: only this stays.
    upright.info = {}
    if reduced is not None:
        box = reduced[1]
        upright.info[_EXTENT] = box if turn is None else _turned(box, turn, upright.size)
    return upright


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


def sniff(prefix: bytes) -> str | None:
    """The picture format that the first bytes (512 are plenty) announce, as Pillow calls it, or None."""
    if prefix.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if prefix.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if prefix.startswith(b"RIFF") and prefix[8:12] == b"WEBP":
        return "WEBP"
    if prefix.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if prefix.startswith((b"II\x2a\0", b"MM\0\x2a", b"II\x2b\0", b"MM\0\x2b")):
        return "TIFF"
    if prefix.startswith(b"BM"):
        return "BMP"
    brands = _brands(prefix)
    if brands and brands[0] in _HEIF_BRANDS | _AVIF_BRANDS:
        # The major brand may be the neutral "mif1"; the codec is then among the compatible ones.
        return "AVIF" if _AVIF_BRANDS.intersection(brands) else "HEIF"
    return None


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


def _brands(prefix: bytes) -> list[bytes]:
    """Major and compatible brands of an ISO media file, or nothing."""
    if prefix[4:8] != b"ftyp":
        return []
    end = min(int.from_bytes(prefix[:4], "big"), len(prefix))
    return [prefix[8:12], *(prefix[i : i + 4] for i in range(16, end, 4))]


def _recognised(file: BinaryIO) -> ImageFile.ImageFile:
    prefix = file.read(_PREFIX)
    if not prefix:
        raise BadImageError("the file is empty")
    kind = sniff(prefix)
    if kind is None:
        raise BadImageError(f"not a picture that can be read: {_what_instead(prefix)}")
    if kind == "WEBP" and file.seek(0, io.SEEK_END) < 8 + int.from_bytes(prefix[4:8], "little"):
        raise BadImageError(_reason(EOFError("truncated")))  # its decoder would only say that it failed
    file.seek(0)
    if kind == "HEIF":
        try:
            from pillow_heif import HeifImageFile
        except ImportError as error:
            raise BadImageError("reading HEIC needs an extra: pip install 'sensorium[photos]'") from error
        heif: ImageFile.ImageFile = HeifImageFile(file)
        return heif
    return _PLUGINS[kind](file, "")


def _what_instead(prefix: bytes) -> str:
    for magic, name in _OTHER_CONTENT:
        if prefix.lstrip().startswith(magic):
            return f"the content is {name}"
    if _brands(prefix):
        return "the content is a video (MP4 or QuickTime)"
    if not prefix.strip(b"\0"):
        return "the content begins with zeros, as after an interrupted copy"
    try:
        prefix[: _PREFIX - 4].decode("utf-8")
    except UnicodeDecodeError:
        return "the content is of no known picture format"
    return "the content is text"


def _reason(error: BaseException) -> str:
    """One line for the user from what a decoder raised."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, IsADirectoryError):
        return "it is a folder, not a file"
    if isinstance(error, PermissionError):
        return "permission to read it is denied"
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    if isinstance(error, Image.DecompressionBombError):
        return "the picture is too large to decode safely"
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        return f"cannot be read: {error.strerror.lower()}"
    text = " ".join(str(error).split())[:120] or type(error).__name__
    if any(sign in text.lower() for sign in _SIGNS_OF_A_CUT):
        return "the picture is cut off: the file ends before its last pixels"
    return f"the picture is damaged: {text}"


def _is_progressive(image: ImageFile.ImageFile) -> bool:
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
