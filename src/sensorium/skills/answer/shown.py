"""What is looked at: pictures, of which only the header is read at first, and films as sampled frames."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import ExifTags, Image

from sensorium.errors import BadImageError, SensoriumError
from sensorium.media.formats import DECODER_FAILURES, open_file, reason
from sensorium.media.image import open_image, read_image, to_rgb
from sensorium.media.video import is_video, sample

FRAMES = 24
"""Frames of a film that are kept, one of each of as many equal stretches."""
_FRAME_SIDE = 768  # pixels on a frame's shortest side: no network here is shown more of a frame


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture, upright; its pixels are decoded when somebody looks at it."""

    name: str
    width: int
    height: int
    key: str
    """Identity of the content: equal for equal files."""
    source: Path | bytes | Image.Image

    @classmethod
    def open(cls, source: Path | bytes, name: str | None = None) -> Picture:
        """A file, or its content under a name.

        Raises:
            BadImageError: No readable header of a picture; the line begins with the name.
        """
        shown = name or (source.name if isinstance(source, Path) else "the picture")
        try:
            content = source if isinstance(source, bytes) else _content(source)
            with open_image(content) as opened:
                width, height = opened.size
                if opened.format not in ("RAW", "JXL", "HEIF") and _is_on_its_side(opened):
                    width, height = height, width
        except BadImageError as error:
            raise BadImageError(f"{shown}: {error}") from error
        return cls(shown, width, height, hashlib.sha256(content).hexdigest(), source)

    @classmethod
    def of(cls, image: Image.Image, name: str = "the picture") -> Picture:
        """A picture that is in memory already, upright."""
        rgb = to_rgb(image)
        digest = hashlib.sha256(f"{rgb.width} {rgb.height} ".encode() + rgb.tobytes()).hexdigest()
        return cls(name, rgb.width, rgb.height, digest, rgb)

    def load(self) -> Image.Image:
        """All pixels, RGB.

        Raises:
            BadImageError: They cannot be decoded; the line begins with the name.
        """
        if isinstance(self.source, Image.Image):
            return self.source
        try:
            return read_image(self.source)
        except BadImageError as error:
            raise BadImageError(f"{self.name}: {error}") from error


@dataclass(frozen=True, eq=False)
class Film:
    """A film by evenly spaced frames."""

    name: str
    width: int
    height: int
    key: str
    duration: float
    """Seconds."""
    frames: tuple[Picture, ...]
    times: tuple[float, ...]
    """When each frame is shown, seconds from the start."""

    @classmethod
    def open(cls, source: Path | bytes, name: str | None = None) -> Film:
        """A film of any length by at most `FRAMES` frames.

        Raises:
            BadImageError: It cannot be read, or none of its pictures can; the line begins with the name.
        """
        shown = name or (source.name if isinstance(source, Path) else "the film")
        try:
            found = sample(source, FRAMES, side=_FRAME_SIDE)
        except BadImageError as error:
            raise BadImageError(f"{shown}: {error}") from error
        except OSError as error:
            raise BadImageError(f"{shown}: {reason(error)}") from error
        frames = tuple(Picture.of(frame.image, f"{shown} at {_clock(frame.at)}") for frame in found.frames)
        digest = hashlib.sha256("".join(frame.key for frame in frames).encode()).hexdigest()
        times = tuple(frame.at for frame in found.frames)
        return cls(shown, found.width, found.height, digest, found.duration, frames, times)

    def thinned(self, count: int) -> Film:
        """The same film by ``count`` of its frames, evenly spaced; all of them where there are fewer."""
        total = len(self.frames)
        if count >= total:
            return self
        kept = [int((number + 0.5) * total / count) for number in range(count)]
        frames, times = tuple(self.frames[i] for i in kept), tuple(self.times[i] for i in kept)
        return Film(self.name, self.width, self.height, self.key, self.duration, frames, times)

    def describe(self) -> str:
        """One line for people: which frames stand for the film."""
        if len(self.frames) == 1:
            return f"{self.name}: one frame, at {_clock(self.times[0])} of {_clock(self.duration)}"
        every = self.duration / len(self.frames)
        return (
            f"{self.name}: {len(self.frames)} frames of {_clock(self.duration)}, "
            f"one every {every:.1f} seconds"
        )


Part = str | Picture | Film


@dataclass(frozen=True, eq=False)
class Turn:
    """What one side says: words, pictures and films in order."""

    role: Literal["system", "user", "assistant"]
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """Its words."""
        return "".join(part for part in self.parts if isinstance(part, str))


def open_shown(source: Path | bytes, name: str | None = None) -> Picture | Film:
    """A picture or a film, by its first bytes.

    Raises:
        BadImageError: It is neither, or cannot be read; the line begins with the name.
    """
    shown = name or (source.name if isinstance(source, Path) else "the picture")
    try:
        if isinstance(source, bytes):
            moving = is_video(io.BytesIO(source))
        else:
            with open_file(source) as file:
                moving = is_video(file)
    except (OSError, ValueError) as error:
        raise BadImageError(f"{shown}: {reason(error)}") from error
    return Film.open(source, name) if moving else Picture.open(source, name)


def _content(path: Path) -> bytes:
    try:
        with open_file(path) as file:
            return file.read()
    except (OSError, ValueError) as error:
        raise BadImageError(reason(error)) from error


def _is_on_its_side(opened: Image.Image) -> bool:
    try:
        orientation = opened.getexif().get(ExifTags.Base.Orientation, 1)
    except DECODER_FAILURES:  # told, if it matters, when the pixels are decoded
        return False
    return orientation in (5, 6, 7, 8)


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds as people write them."""
    whole = int(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def shown_of(turns: tuple[Turn, ...]) -> list[Picture | Film]:
    """Everything that is shown in a conversation, in order.

    Raises:
        SensoriumError: An answer shows something: only a question may.
    """
    found: list[Picture | Film] = []
    for turn in turns:
        things = [part for part in turn.parts if not isinstance(part, str)]
        if things and turn.role != "user":
            raise SensoriumError(f"{things[0].name} is shown by the {turn.role}: show it with a question")
        found += things
    return found
