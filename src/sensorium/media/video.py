"""What a film shows and says: a poster, its duration, a few telling frames, its tags. By PyAV (FFmpeg).

Everything in a file may be false or hostile, so: the container is decided by the first bytes and no other
reader of FFmpeg gets to see the file (a play list could make it open other files); pictures of more than
`MOST_PIXELS` are refused before one is decoded; decoding ends after `SECONDS`, with what there is by then.

Frames. The film is cut into stretches of equal length, one frame of each is looked at (the key frame where
there is one, for it costs least), and of these the ones are kept that differ from one another: a film of one
scene gives one or two, one of many scenes up to `MOST_FRAMES`. The poster is the first of them that is not
plain, as openings and cross-fades are.
"""

from __future__ import annotations

import contextlib
import io
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sensorium.errors import BadImageError
from sensorium.media.formats import PREFIX, open_file, reason, sniff

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

MP4_EXTENSIONS = frozenset((".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2"))
"""Suffixes (lower case) of the family of MP4 and QuickTime."""

VIDEO_EXTENSIONS = MP4_EXTENSIONS | frozenset(
    (".webm", ".mkv", ".avi", ".mpg", ".mpeg", ".mts", ".m2ts", ".wmv", ".asf", ".flv", ".ogv")
)
"""Suffixes (lower case) of the films that a scan of a folder finds."""

MOST_FRAMES = 8
"""Frames of one film that are kept."""

MOST_PIXELS = 36_000_000
"""Pixels of one picture of a film: 8K passes. A decoder keeps up to 16 of them."""

MOST_LOOKS = 24
"""Frames of one film that are looked at to choose among."""

SECONDS = 20.0
"""How long a film may be decoded for."""

_LONGEST = 30 * 24 * 3600.0  # seconds; what says more is wrong
_STRETCH = 1.0  # seconds: a film is not cut into shorter ones
_SMALL = 16  # pixels a side of what frames are compared by
_PLAIN = 6.0  # standard deviation of a frame's brightness, 0 to 255, below which it shows nothing
_ALIKE = 12.0  # mean difference of two small frames below which they show the same
_LEAD = 0.5  # seconds; frames wait no longer for those that are shown before them
_FAILURES = 100  # damaged places in a row, after which the rest is given up
_GAP = 10.0  # seconds that are decoded rather than sought over, where nobody knows the key frames

# First bytes, where they stand, the only reader that the file is given to, and what people call it.
_CONTAINERS = (
    (4, b"ftypqt", "mov", "MOV"),
    (4, b"ftyp", "mov", "MP4"),
    (4, b"moov", "mov", "MOV"),
    (4, b"mdat", "mov", "MOV"),
    (4, b"wide", "mov", "MOV"),
    (4, b"free", "mov", "MOV"),
    (4, b"skip", "mov", "MOV"),
    (0, b"\x1aE\xdf\xa3", "matroska", "MKV"),
    (8, b"AVI ", "avi", "AVI"),
    (0, b"\0\0\x01\xba", "mpeg", "MPEG"),
    (0, b"0&\xb2u\x8ef\xcf\x11", "asf", "WMV"),
    (0, b"FLV\x01", "flv", "FLV"),
    (0, b"OggS", "ogg", "OGG"),
)
_PACKET, _SYNC = (188, 192), 0x47  # of MPEG transport streams


class Frame(NamedTuple):
    """A picture of a film, upright and in sRGB, and when it is shown: seconds from the start."""

    at: float
    image: Image.Image


@dataclass(frozen=True, slots=True)
class Film:
    """What is known of a film.

    Attributes:
        format: MP4, MOV, WEBM, MKV, AVI, MPEG, WMV, FLV or OGG.
        width, height: Upright, in square pixels.
        duration: Seconds.
        tags: What its container says about it, names in lower case.
        frames: Frames that show different things, in order; at least one.
        poster: Which of them stands for the film.
    """

    format: str
    width: int
    height: int
    duration: float
    tags: Mapping[str, str]
    frames: tuple[Frame, ...]
    poster: int


def container_of(prefix: bytes) -> tuple[str, str] | None:
    """FFmpeg's name and ours for the container that a file's first bytes announce; None: no film."""
    if sniff(prefix) is not None:
        return None
    for start, magic, reader, name in _CONTAINERS:
        if prefix[start:].startswith(magic):
            return reader, "WEBM" if name == "MKV" and b"webm" in prefix[:64] else name
    for size in _PACKET:
        start = size - _PACKET[0]  # AVCHD puts a time before each packet
        marks = prefix[start::size]
        if len(marks) > 2 and all(mark == _SYNC for mark in marks):
            return "mpegts", "MPEG"
    return None


def is_video(file: BinaryIO) -> bool:
    """Whether an open file is a film by its first bytes; leaves it at its start."""
    file.seek(0)
    prefix = file.read(PREFIX)
    file.seek(0)
    return container_of(prefix) is not None


def read_video(source: Path | bytes | BinaryIO, *, side: int | None = None, looks: int = MOST_LOOKS) -> Film:
    """Look at a film.

    Args:
        source: A file, its content, or an open binary file (read from its start, left open).
        side: Bring frames to this many pixels on their shortest side where they have more.
        looks: Frames to look at, at most; 1 where only facts are wanted.

    Raises:
        BadImageError: With the reason in one line: no film, damaged, cut off, without pictures, too large.
        OSError: The disk failed while it was read.
    """
    with _opened(source) as (container, stream, name, size):
        film = _Reader(container, stream, size)
        frames, poster = _telling(film.looks(looks, side))
        width, height = film.size
        tags = {key.lower(): str(value) for key, value in container.metadata.items()}
        return Film(name, width, height, film.duration, tags, tuple(frames), poster)


def sample(source: Path | bytes | BinaryIO, most: int, *, side: int | None = None) -> Film:
    """A film by at most ``most`` evenly spaced frames, alike or not, no two closer than a second.

    Fewer where time is up before the end is reached. Arguments and errors are those of `read_video`.
    """
    with _opened(source) as (container, stream, name, size):
        film = _Reader(container, stream, size)
        found = tuple(film.looks(most, side))
        return Film(name, *film.size, film.duration, {}, found, 0)


def read_poster(source: Path | bytes | BinaryIO) -> Image.Image:
    """The picture that stands for a film: upright, RGB, in full size. Errors are those of `read_video`."""
    film = read_video(source, side=4 * _SMALL)
    with _opened(source) as (container, stream, _, size):
        reader = _Reader(container, stream, size)
        at = film.frames[film.poster].at
        for frame in reader.around([at], _STRETCH / 1000, lead=_LEAD):
            return reader.picture(frame, None)
    raise BadImageError("none of its pictures can be decoded")


def frames(source: Path | bytes | BinaryIO, *, start: float = 0.0) -> Iterator[Frame]:
    """Every picture of a film from ``start`` seconds on, upright, in full size, in the order they are shown.

    Damaged pictures are left out, and decoding goes on behind them; nothing comes where the film is shorter.
    There is no limit of time. Errors are those of `read_video`.
    """
    with _opened(source) as (container, stream, _, size):
        reader = _Reader(container, stream, size, seconds=math.inf)
        for frame in reader.onwards(start):
            yield Frame(reader.time(frame), reader.picture(frame, None))


@contextmanager
def _opened(source: Path | bytes | BinaryIO) -> Iterator[tuple[InputContainer, VideoStream, str, int]]:
    """A film's container, the stream of its pictures, the name of its format, and its size in bytes."""
    own = not hasattr(source, "read")
    try:
        if isinstance(source, Path):
            file: BinaryIO = open_file(source)
        else:
            file = io.BytesIO(source) if isinstance(source, bytes) else source
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        found = container_of(file.read(PREFIX))
    except (OSError, ValueError) as error:
        raise BadImageError(reason(error)) from error
    try:
        if found is None:
            raise BadImageError("not a film that can be read")
        file.seek(0)
        with _told(), contextlib.closing(_container(file, found[0])) as container:
            yield container, _stream(container), found[1], size
    finally:
        if own:
            file.close()


def _container(file: BinaryIO, reader: str) -> InputContainer:
    try:
        import av
    except ImportError as error:
        raise BadImageError("reading films needs an extra: pip install 'sensorium[photos]'") from error
    # Nothing in the file may make FFmpeg open anything else.
    return av.open(
        file, "r", format=reader, options={"protocol_whitelist": "none"}, metadata_errors="replace"
    )


def _stream(container: InputContainer) -> VideoStream:
    from av.stream import Disposition

    pictures = [one for one in container.streams.video if not one.disposition & Disposition.attached_pic]
    if not pictures:
        raise BadImageError(
            "it holds sound and no pictures" if container.streams.audio else "it holds no pictures"
        )
    readable = [one for one in pictures if one.codec_context is not None]
    if not readable:
        raise BadImageError("its pictures are coded in a way that is not known here")
    stream = max(readable, key=lambda one: (one.width or 0) * (one.height or 0))
    pixels = (stream.width or 0) * (stream.height or 0)
    if pixels > MOST_PIXELS:
        raise BadImageError(
            f"its pictures have {pixels / 1e6:.0f} megapixels; the limit is {MOST_PIXELS / 1e6:.0f}"
        )
    stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}  # also where the header says less
    stream.codec_context.thread_count = 1  # reading processes are as many as processors
    return stream


@contextmanager
def _told() -> Iterator[None]:
    """FFmpeg's complaints as one line."""
    from sensorium.media.formats import DECODER_FAILURES

    try:
        yield
    except BadImageError:
        raise
    except Exception as error:  # what FFmpeg raises shares no narrower base with the rest
        from av.error import FFmpegError

        if not isinstance(error, (FFmpegError, *DECODER_FAILURES)):
            raise
        if isinstance(error, OSError) and not isinstance(error, FFmpegError):
            raise  # of the disk, not of the film
        words = str(getattr(error, "strerror", None) or error)
        if "Invalid data" in words or isinstance(error, EOFError):
            raise BadImageError("the film is damaged or cut off: it cannot be opened") from error
        raise BadImageError(f"the film is damaged: {' '.join(words.split())[:120].lower()}") from error


class _Reader:
    """Decodes frames of one film, as few as it can, until its time is up."""

    def __init__(
        self, container: InputContainer, stream: VideoStream, size: int, seconds: float | None = None
    ) -> None:
        self._container, self._stream = container, stream
        self._ends = time.monotonic() + (SECONDS if seconds is None else seconds)
        self._base = float(stream.time_base or 1 / 1000)
        self._start = (stream.start_time or 0) * self._base
        self._decoding: Iterator[VideoFrame] | None = None
        self._at = -math.inf  # of the last frame
        self._refuse_cut_off(size)
        self.duration = self._duration()
        self.size = (0, 0)

    @property
    def late(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() > self._ends

    def _refuse_cut_off(self, size: int) -> None:
        """An index that tells of pictures behind the end of the file."""
        entries = self._stream.index_entries
        if len(entries) and self._container.format.name.startswith("mov"):
            last = entries[len(entries) - 1]
            if last.pos + last.size > size:
                raise BadImageError("the film is cut off: the file ends before its last pictures")

    def _duration(self) -> float:
        """Seconds; of a film that does not tell, up to its last packet."""
        told = (self._container.duration or 0) / 1e6
        if self._stream.duration:
            told = self._stream.duration * self._base
        if not 0 < told <= _LONGEST:
            told = 0.0
            for packet in self._container.demux(self._stream):
                if packet.pts is not None:
                    told = max(told, (packet.pts + (packet.duration or 0)) * self._base - self._start)
                if self.late:
                    break
            self._seek(0.0)
        return min(told, _LONGEST)

    def looks(self, most: int, side: int | None) -> list[Frame]:
        """One frame of each stretch of the film, in order."""
        count = max(1, min(most, int(self.duration / _STRETCH)))
        stretch = self.duration / count
        middles = [(number + 0.5) * stretch for number in range(count)]
        found = [
            Frame(self.time(frame), self.picture(frame, side)) for frame in self.around(middles, stretch / 2)
        ]
        if not found:  # a film of a few pictures may end before the middle of what it says
            self._seek(0.0)
            found = [
                Frame(self.time(frame), self.picture(frame, side)) for frame in self.around([0.0], math.inf)
            ]
        if not found:
            raise BadImageError("none of its pictures can be decoded")
        return found

    def around(self, moments: Sequence[float], slack: float, *, lead: float = 0.0) -> Iterator[VideoFrame]:
        """The first frame from ``slack`` seconds before each of some rising moments on, where there is one.

        Decoding begins at the last key frame ``lead`` seconds before the moment: FFmpeg may take one for it
        that is decoded then and shown a little later.
        """
        for moment in moments:
            if self.late:
                return
            if self._worth_seeking(moment - lead):
                self._seek(moment - lead)
            frame = self._next(moment - slack)
            if frame is not None:
                yield frame

    def onwards(self, moment: float) -> Iterator[VideoFrame]:
        """All whole frames from a moment on."""
        self._seek(moment - _LEAD)
        failures = 0
        while failures < _FAILURES:
            frame = self._next(moment)
            if frame is not None:
                failures = 0
                yield frame
            elif self._decoding is None:  # a damaged place
                failures += 1
                self._decoding = self._container.decode(self._stream)
            else:
                return

    def _worth_seeking(self, moment: float) -> bool:
        """Whether a key frame lies between here and a moment."""
        if self._decoding is None:
            return True
        entries = self._stream.index_entries
        if len(entries) > 1:
            place = entries.search_timestamp(round((moment + self._start) / self._base), backward=True)
            return place >= 0 and entries[place].timestamp * self._base - self._start > self._at
        return moment - self._at > _GAP

    def _seek(self, moment: float) -> None:
        moment = max(0.0, moment)
        # A place behind the end, or a file without an index: then what follows is decoded as it comes.
        with contextlib.suppress(OSError, ValueError):
            self._container.seek(
                round((moment + self._start) / self._base), stream=self._stream, backward=True
            )
        self._decoding = self._container.decode(self._stream)
        self._at = -math.inf

    def _next(self, least: float) -> VideoFrame | None:
        """The first whole frame from a moment on; None at the end of the film, or of what can be decoded."""
        from av.error import FFmpegError

        try:
            for frame in self._decoding or ():
                self._at = self.time(frame)
                if self._at >= least and not frame.is_corrupt:
                    return frame
                if self.late:
                    return None
        except FFmpegError:  # a damaged place; there may be whole pictures behind it
            self._decoding = None
        return None

    def time(self, frame: VideoFrame) -> float:
        """When a frame is shown: seconds from the start."""
        at = frame.pts if frame.pts is not None else frame.dts
        return max(0.0, (at or 0) * float(frame.time_base or self._base) - self._start)

    def picture(self, frame: VideoFrame, side: int | None) -> Image.Image:
        """A frame upright, in square pixels, no larger than is wanted."""
        if frame.width * frame.height > MOST_PIXELS:
            raise BadImageError("its pictures change to a size beyond the limit")
        ratio = self._stream.codec_context.sample_aspect_ratio
        stretch = float(ratio) if ratio and 0.1 < ratio < 10 else 1.0
        width, height = max(1, round(frame.width * stretch)), frame.height
        quarter = round(frame.rotation / 90) % 4
        self.size = (height, width) if quarter % 2 else (width, height)
        if side is not None and min(width, height) > side:
            scale = side / min(width, height)
            width, height = max(1, round(width * scale)), max(1, round(height * scale))
        shown = frame.reformat(width=width, height=height, format="rgb24", interpolation="AREA")
        image = Image.fromarray(shown.to_ndarray())
        turn = _TURNS[quarter]
        return image if turn is None else image.transpose(turn)


_TURNS = (None, Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)


def _telling(looks: Sequence[Frame]) -> tuple[list[Frame], int]:
    """The frames that show different things, in order, and which of them stands for all."""
    small = np.stack([_small(frame.image) for frame in looks])
    detail = small.mean(axis=3).std(axis=(1, 2))
    candidates = np.flatnonzero(detail >= _PLAIN)
    if not len(candidates):
        candidates = np.arange(len(looks))
    poster = int(candidates[np.argmax(detail[candidates] >= 0.7 * detail[candidates].max())])
    chosen = [poster]
    nearest = _differences(small, poster)
    while len(chosen) < MOST_FRAMES:
        following = int(candidates[np.argmax(nearest[candidates])])
        if nearest[following] < _ALIKE:
            break
        chosen.append(following)
        nearest = np.minimum(nearest, _differences(small, following))
    chosen.sort()
    return [looks[place] for place in chosen], chosen.index(poster)


def _small(image: Image.Image) -> NDArray[np.float32]:
    return np.asarray(image.resize((_SMALL, _SMALL), Image.Resampling.BOX), np.float32)


def _differences(small: NDArray[np.float32], place: int) -> NDArray[np.float32]:
    """How far each small frame [n, h, w, 3] is from one of them [n]."""
    differences: NDArray[np.float32] = np.abs(small - small[place]).mean(axis=(1, 2, 3))
    return differences


def copy_without_metadata(source: BinaryIO, target: BinaryIO) -> str:
    """Copy a film's pictures and sound, not encoded again, and nothing else that its file says.

    Tags, chapters, subtitles (some cameras write positions there), tracks of sensors and the free messages
    within the pictures' data stay behind; that it is to be shown turned is kept.

    Args:
        source: An open film, read from its start.
        target: An empty file, open to be written and read.

    Returns:
        The media type of what was written.

    Raises:
        BadImageError: It is no film, or cannot be copied.
        OSError: It cannot be read, or not written.
    """
    import av
    from av.bitstream import BitStreamFilterContext

    with _opened(source) as (container, pictures, name, _):
        kind, media_type = _COPIES.get(name, ("matroska", "video/x-matroska"))
        taken = [pictures, *container.streams.audio[:1]]
        with av.open(target, "w", format=kind, options={"fflags": "+bitexact"}) as copied:
            made: dict[int, Any] = {}
            filters: dict[int, Any] = {}
            for stream in taken:
                made[stream.index] = copied.add_stream_from_template(stream, opaque=True)
                made[stream.index].metadata.clear()
                messages = _MESSAGES.get(stream.codec_context.name)
                if messages is not None:
                    wanted = f"filter_units=remove_types={messages}"
                    filters[stream.index] = BitStreamFilterContext(wanted, stream, made[stream.index])
            for packet in container.demux(taken):
                if not packet.size:  # what ends a stream
                    continue
                sieve = filters.get(packet.stream.index)
                for whole in sieve.filter(packet) if sieve is not None else (packet,):
                    whole.stream = made[packet.stream.index]
                    copied.mux(whole)
    return media_type


_COPIES = {
    "MP4": ("mp4", "video/mp4"),
    "MOV": ("mov", "video/quicktime"),
    "WEBM": ("webm", "video/webm"),
}
_MESSAGES = {"h264": "6", "hevc": "39-40"}  # types of the units that may hold anything: SEI
