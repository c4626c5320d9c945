"""Cut a thing out of a film or a burst: pictures in, cut-outs with alpha and their masks out."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sensorium.errors import BadImageError, SensoriumError
from sensorium.skills.segment.video import Cutter, Settings, Tracked, propagate

if TYPE_CHECKING:
    from PIL import Image

    from sensorium.skills.segment.masks import Mask
    from sensorium.skills.segment.prompts import Prompt

FILMS = {".mkv": ("matroska", "ffv1", "bgra"), ".webm": ("webm", "libvpx-vp9", "yuva420p")}
"""Suffix of a film with transparency: its container, codec and pixels. The first loses nothing."""

BURST = 0.2  # seconds from picture to picture, in a film made of a burst
MASKS = "masks.json"
_TICKS = 1000  # a second


class Shown(NamedTuple):
    """A picture of a film or burst: when it is shown, in seconds; its file's name, if it has its own."""

    at: float
    name: str | None
    image: Image.Image | None  # upright; None where it could not be read


def is_moving(sources: Sequence[Path]) -> bool:
    """Whether these are several pictures, or one film. Raises BadImageError when the one cannot be read."""
    from sensorium.media.formats import open_file, reason
    from sensorium.media.video import is_video

    if len(sources) != 1:
        return len(sources) > 1
    try:
        with open_file(sources[0]) as file:
            return is_video(file)
    except OSError as error:
        raise BadImageError(f"{sources[0]}: {reason(error)}") from error


def pictures(sources: Sequence[Path], at: float = 0.0) -> Iterator[Shown]:
    """The pictures of one film from ``at`` seconds on, or of several files, a burst, in their order.

    Raises BadImageError for a film that cannot be read; SensoriumError for one that is over by ``at``.
    """
    from sensorium.media.image import read_image
    from sensorium.media.video import frames

    if not sources:
        raise SensoriumError("there is no picture to begin with: name a film or several pictures")
    if len(sources) > 1:
        for number, path in enumerate(sources):
            image = None
            with suppress(BadImageError, OSError):  # told as a missed picture, with its number
                image = read_image(path)
            yield Shown(number * BURST, path.name, image)
        return
    none = True
    try:
        for frame in frames(sources[0], start=at):
            none = False
            yield Shown(frame.at, None, frame.image)
    except BadImageError as error:
        raise BadImageError(f"{sources[0]}: {error}") from error
    if none:
        raise SensoriumError(f"{sources[0].name} shows nothing from {at:g} seconds on: it is shorter")


def first_picture(sources: Sequence[Path], at: float = 0.0) -> Image.Image:
    """The upright picture in which the thing is pointed at. Errors as ``pictures``."""
    image = next(pictures(sources, at)).image
    if image is None:
        raise BadImageError(f"{sources[0]}: the first picture cannot be read: begin with another")
    return image


def save_cut_outs(
    segmenter: Cutter,
    sources: Sequence[Path],
    first: Prompt | Mask,
    output: Path,
    *,
    at: float = 0.0,
    settings: Settings | None = None,
) -> Iterator[Tracked]:
    """Follow a thing through a film or burst and write it alone, the rest transparent, in full size.

    ``output`` is a new or empty folder, which gets ``0001.png`` and so on with ``masks.json``, or a file
    ending in .mkv (nothing lost) or .webm with alpha, which gets a ``.json`` of its name beside it: COCO's
    format, masks as run lengths. Pictures without the thing are written wholly transparent as long as it
    comes back. Yields what became of each picture; what has been yielded is written at the latest when the
    last one has been taken, and a film or list is whole or absent.

    Raises SensoriumError for an output that cannot be, or as ``pictures`` and ``propagate`` do.
    """
    is_film = _check_output(output, sources)
    document: dict[str, Any] = {
        "info": {"description": "cut out by sensorium", "source": [path.name for path in sources]},
        "images": [],
        "annotations": [],
        "categories": [{"id": 1, "name": "thing"}],
    }
    shown: list[Shown] = []  # the one that is being looked at

    def images() -> Iterator[Image.Image | None]:
        for one in pictures(sources, at):
            shown[:] = [one]
            yield one.image

    with _film(output) if is_film else _folder(output) as target:
        blank: list[Shown] = []
        for tracked in propagate(segmenter, images(), first, settings):
            [one] = shown
            if tracked.mask is None or one.image is None:
                blank.append(one._replace(image=None))
            else:
                for missed in blank:
                    target.add(missed.at, None)
                blank.clear()
                target.add(one.at, tracked.mask.cut_out(one.image, cropped=False))
            _describe(document, tracked, one, target.name(tracked.frame))
            yield tracked
    _write(output.with_suffix(".json") if is_film else output / MASKS, json.dumps(document))


def _describe(document: dict[str, Any], tracked: Tracked, one: Shown, written: str | None) -> None:
    number = tracked.frame + 1
    image: dict[str, Any] = {"id": number, "file_name": one.name or f"frame {number}", "seconds": one.at}
    if one.image is not None:
        image |= {"width": one.image.width, "height": one.image.height}
    if tracked.missed:
        image["missed"] = tracked.missed
    elif written:
        image["cut_out"] = written
    document["images"].append(image)
    if tracked.stopped:
        document["info"]["stopped"] = tracked.stopped
    if tracked.mask is None:
        return
    annotation = tracked.mask.annotation(len(document["annotations"]) + 1, number)
    document["annotations"].append(annotation | {"score": round(tracked.confidence, 4)})


def _check_output(output: Path, sources: Sequence[Path]) -> bool:
    """Whether a film is to be written. Raises SensoriumError for what cannot be."""
    suffix = output.suffix.lower()
    if suffix in FILMS:
        if output.exists() and any(path.exists() and output.samefile(path) for path in sources):
            raise SensoriumError(f"{output} is the original: choose another name")
        for written in (output, output.with_suffix(".json")):
            if written.exists():
                raise SensoriumError(f"{written} is there already: remove it or choose another name")
        if not output.parent.is_dir():
            raise SensoriumError(f"{output.parent} is no folder: make it first")
        return True
    if suffix:
        raise SensoriumError(
            f"{output.name}: of a film, name a new folder (pictures) or a file ending in {' or '.join(FILMS)}"
        )
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise SensoriumError(f"{output} is not an empty folder: choose a new one")
    return False


class _Pictures:
    """A folder of PNGs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0
        self.size = (1, 1)

    def name(self, frame: int) -> str | None:
        return f"{frame + 1:04d}.png"

    def add(self, at: float, image: Image.Image | None) -> None:
        from PIL import Image

        self.size = self.size if image is None else image.size
        with _replaced(self.folder / f"{self.count + 1:04d}.png") as part:
            (image or Image.new("RGBA", self.size)).save(part, "PNG")
        self.count += 1


class _Film:
    """A film with transparency that is being written."""

    def __init__(self, path: Path, kind: tuple[str, str, str]) -> None:
        import av

        container, self.codec, self.pixels = kind
        self.container = av.open(str(path), "w", format=container)
        self.stream: Any = None
        self.size, self.began = (1, 1), 0.0

    def name(self, frame: int) -> str | None:
        return None

    def add(self, at: float, image: Image.Image | None) -> None:
        """The next frame, ``at`` seconds: RGBA of the first frame's size, or None for an empty one."""
        from av.video.frame import VideoFrame
        from PIL import Image

        if self.stream is None:
            assert image is not None  # the first picture always shows the thing
            self._begin(image.size)
            self.began = at
        drawn = image or Image.new("RGBA", self.size)
        drawn = drawn if drawn.size == self.size else drawn.resize(self.size)
        frame = VideoFrame.from_ndarray(np.asarray(drawn), format="rgba").reformat(format=self.pixels)
        frame.pts, frame.time_base = round((at - self.began) * _TICKS), Fraction(1, _TICKS)
        self.container.mux(self.stream.encode(frame))

    def _begin(self, size: tuple[int, int]) -> None:
        options = {"crf": "20", "b": "0", "row-mt": "1", "cpu-used": "4"} if "vpx" in self.codec else {}
        self.stream = self.container.add_stream(self.codec, rate=30, options=options)
        self.stream.width, self.stream.height = self.size = size
        self.stream.pix_fmt = self.pixels
        self.stream.codec_context.time_base = Fraction(1, _TICKS)

    def close(self) -> None:
        if self.stream is not None:
            self.container.mux(self.stream.encode(None))
        self.container.close()


@contextmanager
def _folder(folder: Path) -> Iterator[_Pictures]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SensoriumError(f"{folder} cannot be made: {error.strerror}") from error
    yield _Pictures(folder)


@contextmanager
def _film(path: Path) -> Iterator[_Film]:
    with _replaced(path) as part:
        film = _Film(part, FILMS[path.suffix.lower()])
        try:
            yield film
        finally:
            film.close()


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """A file to write, which takes the place of another when it is whole and goes away when it is not."""
    part = path.with_name(f".{path.stem}-{secrets.token_hex(4)}{path.suffix}")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        raise SensoriumError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    with _replaced(path) as part:
        part.write_text(text, "utf-8")
