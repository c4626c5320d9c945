"""Files of a camera's sensor: the preview that the camera developed, or a quick development of our own.

LibRaw reads them all. The preview comes first because it is how the photographer saw the picture, and because
it costs a hundredth. Which way is up is known from the file as a whole: previews lie as the sensor did, stand
upright already, or carry an orientation of their own, and only their shape tells which.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import rawpy
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, JpegImagePlugin, TiffImagePlugin

from sensorium.errors import BadImageError
from sensorium.media.formats import DECODER_FAILURES, TIFF_HEADS, tiff_exif

MOST_BYTES = 1 << 30
"""A larger file is refused: LibRaw needs it whole in memory. Sixteen shots of 61 megapixels take half."""

_COUSINS = {b"IIRO": b"II\x2a\0", b"IIRS": b"II\x2a\0", b"MMOR": b"MM\0\x2a", b"IIU\0": b"II\x2a\0"}
_DATA = ((273, 279), (324, 325), (513, 514))  # where in a TIFF strips, tiles and JPEGs lie, and how long
_SUB_DIRECTORIES = 330
_MOST_DIRECTORIES = 64
_CANON_BOXES = (b"CMT1", b"CMT2", b"CMT4")
_ORIENTATIONS = (1, 2, 4, 3, 5, 8, 6, 7)  # EXIF's for LibRaw's bits: 1 mirror, 2 upside down, 4 transpose


class RawFile(ImageFile.ImageFile):
    """An open file of a sensor's data. ``size`` is upright; ``preview`` and ``develop`` give the pixels."""

    format = "RAW"
    format_description = "data of a camera's sensor"

    def _open(self) -> None:
        file = self.fp
        assert file is not None
        if file.seek(0, io.SEEK_END) > MOST_BYTES:
            raise BadImageError(f"the file is larger than {MOST_BYTES >> 30} GiB")
        file.seek(0)
        self._content = file.read(MOST_BYTES)
        if self._content[:4] in TIFF_HEADS and _ends_early(io.BytesIO(self._content), len(self._content)):
            raise EOFError("truncated")
        try:
            self._raw = rawpy.imread(io.BytesIO(self._content))
            sizes = self._raw.sizes
        except rawpy.LibRawError as error:
            raise _bad(error) from error
        self.flip = sizes.flip if 0 <= sizes.flip < 8 else 0
        self.sensor = (sizes.width, sizes.height)
        self.cost = sizes.raw_width * sizes.raw_height
        self._size = self.sensor[::-1] if self.flip & 4 else self.sensor
        self._mode = "RGB"

    def preview(self) -> tuple[Image.Image, int] | None:
        """The largest embedded preview, still to be decoded when it is a JPEG, and its EXIF orientation."""
        try:
            found = self._raw.extract_thumb()
        except rawpy.LibRawError:
            return None  # none, or one of a kind that LibRaw does not know
        try:
            if found.format == rawpy.ThumbFormat.JPEG:
                file = io.BytesIO(bytes(found.data))
                image: Image.Image = JpegImagePlugin.jpeg_factory(file, "")
                own = image.getexif().get(ExifTags.Base.Orientation)
            else:
                image, own = Image.fromarray(np.asarray(found.data, np.uint8)), None
        except DECODER_FAILURES:
            return None
        return image, self._upright(image.size, own)

    def develop(self, *, half: bool) -> NDArray[np.uint8]:
        """Develop the sensor's data: uint8 [height, width, 3], upright, sRGB, as bright as a camera would.

        Args:
            half: One pixel out of four of the sensor instead of interpolating each.

        Raises:
            BadImageError: The data are damaged or of a kind that LibRaw does not know.
        """
        try:
            return self._raw.postprocess(half_size=half, use_camera_wb=True, output_bps=8)
        except rawpy.LibRawError as error:
            raise _bad(error) from error

    def getexif(self) -> Image.Exif:
        """EXIF of the whole file, without the orientation, which ``size`` and the pixels respect already."""
        if self._exif is None:
            self._exif = self._read_exif()
            self._exif.pop(ExifTags.Base.Orientation, None)
        return self._exif

    def _read_exif(self) -> Image.Exif:
        head = self._content[:4]
        if head in TIFF_HEADS:
            return tiff_exif(io.BytesIO(self._content))
        if head in _COUSINS:
            return tiff_exif(io.BytesIO(_COUSINS[head] + self._content[4:]))
        if self._content[4:12] == b"ftypcrx ":
            return _canon_exif(self._content)
        found = self.preview()  # Fujifilm and others keep it there
        return found[0].getexif() if found else Image.Exif()

    def _upright(self, size: tuple[int, int], own: object) -> int:
        """The EXIF orientation by which to turn a preview so that it stands as the picture does."""
        ours = _ORIENTATIONS[self.flip]
        square = self.size[0] == self.size[1] or size[0] == size[1]
        for orientation in (own if isinstance(own, int) else ours, ours, 1):
            turned = size[::-1] if 5 <= orientation <= 8 else size
            if square or (turned[0] > turned[1]) == (self.size[0] > self.size[1]):
                return orientation
        return 1


def _bad(error: rawpy.LibRawError) -> BadImageError:
    """LibRaw's failure in one line."""
    words = error.args[0] if error.args else ""
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else str(words)
    if isinstance(error, rawpy.LibRawIOError):
        return BadImageError("the picture is cut off: the file ends before its last pixels")
    if isinstance(error, rawpy.LibRawFileUnsupportedError):
        return BadImageError("a raw file of a camera that LibRaw does not know")
    if isinstance(error, rawpy.LibRawUnsufficientMemoryError | rawpy.LibRawTooBigError):
        return BadImageError("not enough memory to decode it")
    return BadImageError(f"the raw file is damaged: {text.lower() or type(error).__name__}")


def _ends_early(file: BinaryIO, size: int) -> bool:
    """Whether a directory of the TIFF file points to data beyond its end.

    By less than a hundredth does not count: some cameras declare whole blocks and write what they need.
    """
    head = file.read(8)
    pending = [TiffImagePlugin.ImageFileDirectory_v2(head).next]
    seen: set[int] = set()
    while pending and len(seen) < _MOST_DIRECTORIES:
        offset = pending.pop()
        if not 0 < offset < size or offset in seen:
            continue
        seen.add(offset)
        directory = TiffImagePlugin.ImageFileDirectory_v2(head)
        try:
            file.seek(offset)
            directory.load(file)
            for start, length in _data(directory):
                if start + length - length // 100 > size:
                    return True
            pending += [directory.next, *_numbers(directory, _SUB_DIRECTORIES)]
        except DECODER_FAILURES:
            continue  # LibRaw will say what is wrong with it
    return False


def _data(directory: TiffImagePlugin.ImageFileDirectory_v2) -> Iterator[tuple[int, int]]:
    """Start and length of all that a directory points to."""
    for starts, lengths in _DATA:
        yield from zip(_numbers(directory, starts), _numbers(directory, lengths), strict=False)


def _numbers(directory: TiffImagePlugin.ImageFileDirectory_v2, tag: int) -> tuple[int, ...]:
    values = directory.get(tag, ())
    values = values if isinstance(values, tuple) else (values,)
    return tuple(value for value in values if isinstance(value, int))


def _canon_exif(content: bytes) -> Image.Exif:
    """EXIF of a CR3, which has three TIFF blocks in boxes: of the picture, of the exposure, of the place."""
    found: list[Image.Exif] = []
    for name in _CANON_BOXES:
        exif = Image.Exif()
        at = content.find(name, 0, 1 << 16)
        if at >= 4:
            (length,) = struct.unpack_from(">I", content, at - 4)
            try:
                exif.load(content[at + 4 : at - 4 + length])
                len(dict(exif))  # parses every field now
            except DECODER_FAILURES:
                exif = Image.Exif()
        found.append(exif)
    main, details, place = found
    whole = Image.Exif()
    for tag, part in ((ExifTags.IFD.Exif, details), (ExifTags.IFD.GPSInfo, place)):
        if part:
            main[tag] = dict(part)
    try:
        whole.load(main.tobytes())  # so that its directories can be asked for as in any other file
    except DECODER_FAILURES:
        return Image.Exif()
    return whole
