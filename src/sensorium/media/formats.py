"""Which format a file has, told by its content; in words, what it is instead or what is wrong with it."""

from __future__ import annotations

import os
import stat
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

from PIL import ExifTags, Image

from sensorium.errors import BadImageError

RAW_EXTENSIONS = frozenset(
    (
        *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq", ".kdc"),
        *(".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2"),
        *(".srf", ".srw", ".x3f"),
    )
)
"""Suffixes (lower case) of files that hold a sensor's data."""

PHOTO_EXTENSIONS = RAW_EXTENSIONS | frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".jxl", ".jp2", ".j2k", ".jpx"),
        *(".heic", ".heif", ".hif", ".avif", ".gif", ".tif", ".tiff", ".bmp"),
    )
)
"""Suffixes (lower case) of the files that a scan of a folder offers to ``read_image``."""

TIFF_HEADS = (b"II\x2a\0", b"MM\0\x2a", b"II\x2b\0", b"MM\0\x2b")
"""The first bytes of TIFF files: little or big endian, the second pair for more than 4 GiB."""

PREFIX = 512
"""How many of a file's first bytes `sniff` wants."""

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

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"\xff\x0a", "JXL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JXL"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"IIRO", "RAW"),  # Olympus, three kinds
    (b"IIRS", "RAW"),
    (b"MMOR", "RAW"),
    (b"IIU\0", "RAW"),  # Panasonic, Leica
    (b"FUJIFILMCCD-RAW", "RAW"),
    (b"FOVb", "RAW"),  # Sigma
    (b"\0MRM", "RAW"),  # Minolta
    (b"II\x1a\0\0\0HEAPCCDR", "RAW"),  # the first digital Canons
    *((head, "TIFF") for head in TIFF_HEADS),
    (b"BM", "BMP"),
)
_HEIF_BRANDS = frozenset(b"heic heix heim heis hevc hevx hevm hevs mif1 msf1".split())
_AVIF_BRANDS = frozenset(b"avif avis".split())
_CANON_BRAND = b"crx "

_NEW_SUBFILE, _PHOTOMETRIC, _SUB_DIRECTORIES, _DNG_VERSION = 254, 262, 330, 50706
_SENSOR_PHOTOMETRICS = (32803, 34892)  # colour filter array, linear raw

_OTHER_CONTENT = (
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive or an office document"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (b"<svg", "an SVG drawing"),
    (b"\x89HDF", "an HDF5 file"),
    (b"8BPS", "a Photoshop document"),
    (b"RIFF", "a sound or film in a RIFF file"),
    (b"ID3", "an MP3 recording"),
)

_SIGNS_OF_A_CUT = (
    "truncated",
    "not enough",
    "end of file",
    "requires a buffer",
    "no more images",
    "chunk b''",
)
_SIGN_OF_A_BOMB = "decompressed data too large"

_IN_WORDS = {
    "not identified by this driver": "its header cannot be read",
    "unknown pixel mode": "its pixels are of an unknown kind",
    "unknown data organization": "its pixels are in an unknown order",
    "Missing dimensions": "the part that tells its size is missing",
}

_NO_FILES = (
    (stat.S_ISDIR, "it is a folder, not a file"),
    (stat.S_ISFIFO, "it is a pipe, not a file"),
    (stat.S_ISSOCK, "it is a socket, not a file"),
    (stat.S_ISCHR, "it is a device, not a file"),
    (stat.S_ISBLK, "it is a device, not a file"),
)


def open_file(path: str | Path) -> BinaryIO:
    """Open a regular file for reading and nothing else: a pipe would keep its reader waiting for ever.

    Raises:
        BadImageError: It is no regular file.
        OSError: It cannot be opened.
    """
    # First so that no device is touched; then again at what was opened, should it be another by now.
    _refuse_unless_file(os.stat(path).st_mode)  # noqa: PTH116 - the name may be any bytes
    flags = os.O_RDONLY
    for flag in ("O_NONBLOCK", "O_NOCTTY", "O_BINARY"):
        flags |= getattr(os, flag, 0)
    descriptor = os.open(path, flags)
    try:
        _refuse_unless_file(os.fstat(descriptor).st_mode)
    except BadImageError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def sniff(prefix: bytes) -> str | None:
    """The picture format that the first bytes (`PREFIX` are plenty) announce, as Pillow calls it, or None.

    "RAW" is any container of a sensor's data of its own; those that are TIFF files by their first bytes are
    "TIFF" here, and told apart by their content.
    """
    if prefix.startswith(b"RIFF"):
        return "WEBP" if prefix[8:12] == b"WEBP" else None
    for magic, kind in _MAGIC:
        if prefix.startswith(magic):
            return kind
    brands = _brands(prefix)
    if brands and brands[0] == _CANON_BRAND:
        return "RAW"
    if brands and brands[0] in _HEIF_BRANDS | _AVIF_BRANDS:
        # The major brand may be the neutral "mif1"; the codec is then among the compatible ones.
        return "AVIF" if _AVIF_BRANDS.intersection(brands) else "HEIF"
    return None


def is_raw(file: BinaryIO) -> bool:
    """Whether a TIFF file holds a sensor's data, of which its first picture is but a preview.

    DNG says so. Others begin with a reduced picture by a camera, with more in directories below it.
    """
    exif = tiff_exif(file)
    kind = exif.get(_NEW_SUBFILE)
    return (
        _DNG_VERSION in exif
        or exif.get(_PHOTOMETRIC) in _SENSOR_PHOTOMETRICS
        or (
            ExifTags.Base.Make in exif
            and _SUB_DIRECTORIES in exif
            and isinstance(kind, int)
            and bool(kind & 1)
        )
    )


def tiff_exif(file: BinaryIO) -> Image.Exif:
    """The fields of a TIFF file, read where they are asked for; nothing of a broken one."""
    exif = Image.Exif()
    try:
        file.seek(0)
        exif.load_from_fp(file)
    except DECODER_FAILURES:
        return Image.Exif()
    return exif


def what_instead(prefix: bytes) -> str:
    """What a file that is no picture seems to be."""
    for magic, name in _OTHER_CONTENT:
        if prefix.lstrip().startswith(magic):
            return f"the content is {name}"
    if _brands(prefix):
        return "the content is a video (MP4 or QuickTime)"
    if not prefix.strip(b"\0"):
        return "the content begins with zeros, as after an interrupted copy"
    try:
        prefix[: PREFIX - 4].decode("utf-8")
    except UnicodeDecodeError:
        return "the content is of no known picture format"
    return "the content is text"


def reason(error: BaseException) -> str:
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
    if _SIGN_OF_A_BOMB in text.lower():
        return "a text or a colour profile packed into it is too large to unpack safely"
    return f"the picture is damaged: {_IN_WORDS.get(text, text)}"


def _refuse_unless_file(mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    raise BadImageError(next((words for is_it, words in _NO_FILES if is_it(mode)), "it is not a file"))


def _brands(prefix: bytes) -> list[bytes]:
    """Major and compatible brands of an ISO media file, or nothing."""
    if prefix[4:8] != b"ftyp":
        return []
    end = min(int.from_bytes(prefix[:4], "big"), len(prefix))
    return [prefix[8:12], *(prefix[i : i + 4] for i in range(16, end, 4))]
