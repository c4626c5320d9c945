"""``sensorium cut``: what is pointed at, boxed or named, with a transparent ground. Originals are only read.

``--json`` prints exactly one JSON document on standard output. Exit codes: 0 done; 1 nothing was found, or
some pictures of a burst could not be read; 2 a bad request.
"""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sensorium.cli import cut_files
from sensorium.cli.options import JsonOption
from sensorium.errors import BadImageError, SensoriumError
from sensorium.weights import CUT_MODEL

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from sensorium.skills.segment import Mask, Prompt, Segmenter
    from sensorium.skills.segment.pictures import Picture

_SHOWN = 20  # masks listed for people; --json lists all

Images = Annotated[
    list[Path], typer.Argument(metavar="IMAGE...", help="A picture, a film, or the pictures of a burst.")
]
Points = Annotated[
    list[str] | None,
    typer.Option("--point", metavar="X,Y[,0|1]", help="A pixel of the thing, or with ,0 one that is not."),
]
Boxes = Annotated[
    list[str] | None,
    typer.Option("--box", metavar="X0,Y0,X1,Y1", help="A box around a thing; several are several things."),
]
MaskFile = Annotated[
    Path | None,
    typer.Option(
        "--mask",
        metavar="FILE",
        help="Roughly the thing: what is white, or opaque, in a picture of the same size.",
        show_default=False,
    ),
]
Words = Annotated[
    str | None,
    typer.Option("--text", metavar="WORDS", help="What it is, in English or Chinese.", show_default=False),
]
All = Annotated[
    bool,
    typer.Option("--all", help="Everything that is called so; for one point its part, object and whole."),
]
Everything = Annotated[bool, typer.Option("--everything", help="All things that can be found.")]
Crop = Annotated[bool, typer.Option("--crop", help="Leave off the empty ground around the thing.")]
At = Annotated[float, typer.Option("--at", metavar="SECONDS", help="Where in a film it is pointed at.")]
ModelName = Annotated[str, typer.Option("--model", metavar="NAME", help="The model that cuts.")]
Reader = Annotated[str, typer.Option("--reader", metavar="NAME", help="The model that understands --text.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="OUT.png",
        help="Several things become OUT-1.png, OUT-2.png, ...; OUT.json takes their masks as COCO does; "
        "of a film a folder, .mkv or .webm.",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command to the application's top level."""
    app.command("cut")(cut)


def cut(
    images: Images,
    point: Points = None,
    box: Boxes = None,
    mask: MaskFile = None,
    text: Words = None,
    every: All = False,
    everything: Everything = False,
    crop: Crop = False,
    at: At = 0.0,
    model: ModelName = CUT_MODEL,
    reader: Reader = "sensorium/mini-clip",
    output: Output = None,
    as_json: JsonOption = False,
) -> None:
    """Cut a thing out of a picture: what you point at, box or name, with a transparent ground."""
    from sensorium.cli import cut_video

    asked = _asked(point or [], box or [], mask, text, everything=everything, every=every)
    tools = _Tools(model, reader)
    if _in_words(images[0], cut_video.is_moving, images):
        _cut_moving(images, at, asked, tools, output, as_json=as_json)
        return
    if output is None and not as_json:
        raise SensoriumError("nothing would come of it: say where to write with -o OUT.png, or use --json")
    originals = [*images, *([mask] if mask else [])]
    if output is not None:
        cut_files.check(output, originals)
    picture = _read(images[0])
    prompts = _prompts(asked, picture.rgb)
    start = time.perf_counter()
    segmenter = tools.segmenter()
    masks = _masks(segmenter, tools, asked, prompts, picture.rgb)
    seconds = time.perf_counter() - start
    saved = _save(masks, picture, originals, output, crop=crop)
    if as_json:
        told = {"model": segmenter.name, "engine": segmenter.engines(), "seconds": round(seconds, 3)}
        size = {"width": picture.rgb.width, "height": picture.rgb.height}
        _print_json({"image": str(images[0].absolute()), **size, **told, "masks": saved})
    else:
        _print(asked, saved, output)
    if not masks:
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Tools:
    """The models that are asked for, opened when they are used."""

    model: str
    reader: str

    def segmenter(self) -> Segmenter:
        from sensorium.skills import segment

        return segment.load(self.model)

    def find(self, segmenter: Segmenter, image: Image.Image, words: str, *, every: bool) -> list[Mask]:
        from sensorium.skills import embed
        from sensorium.skills.segment.words import find

        return find(segmenter, embed.load(self.reader), image, words, all=every)


@dataclass(frozen=True)
class _Asked:
    """The question: words, everything, or what was pointed at."""

    points: tuple[tuple[float, float, int], ...]
    boxes: tuple[tuple[float, float, float, float], ...]
    mask: Path | None
    words: str | None
    everything: bool
    every: bool


def _asked(
    points: list[str],
    boxes: list[str],
    mask: Path | None,
    words: str | None,
    *,
    everything: bool,
    every: bool,
) -> _Asked:
    """The options as a question that makes sense by itself. Raises SensoriumError."""
    placed, framed = tuple(map(_point, points)), tuple(map(_box, boxes))
    ways = [bool(points or boxes or mask), words is not None, everything]
    if not any(ways):
        raise SensoriumError("say what to cut: with --point, --box, --mask, --text or --everything")
    if sum(ways) > 1:
        raise SensoriumError("pointing, --text and --everything are three questions: ask one of them")
    if words is not None and not words.strip():
        raise SensoriumError("--text is empty: say what to cut")
    if len(boxes) > 1 and (points or mask):
        raise SensoriumError("several boxes are several things: points and a mask go with one box")
    if placed and not boxes and not mask and not any(kind for _, _, kind in placed):
        raise SensoriumError("every point says what is not meant: give one that is on the thing")
    shown = None if words is None else " ".join(words.split())
    return _Asked(placed, framed, mask, shown, everything, every)


def _point(written: str) -> tuple[float, float, int]:
    numbers = _numbers(written)
    if len(numbers) not in (2, 3) or numbers[2:] not in ([], [0.0], [1.0]):
        raise SensoriumError(
            f"--point {written}: write X,Y for a pixel of the thing, X,Y,0 for one that is not"
        )
    return numbers[0], numbers[1], int(numbers[2]) if numbers[2:] else 1


def _box(written: str) -> tuple[float, float, float, float]:
    numbers = _numbers(written)
    if len(numbers) != 4:
        raise SensoriumError(f"--box {written}: write left,top,right,bottom in pixels")
    return numbers[0], numbers[1], numbers[2], numbers[3]


def _numbers(written: str) -> list[float]:
    """Numbers between commas; none when one of them is no finite number."""
    try:
        numbers = [float(part) for part in written.split(",")]
    except ValueError:
        return []
    return numbers if all(map(math.isfinite, numbers)) else []


def _in_words(source: Path, read: Any, *arguments: Any) -> Any:
    """What reading gives; that a picture cannot be read is told with its name."""
    from sensorium.photos.files.names import printable

    try:
        return read(*arguments)
    except BadImageError as error:
        shown, told = printable(source), str(error)
        raise SensoriumError(told if told.startswith(shown) else f"{shown}: {told}") from error


def _read(source: Path) -> Picture:
    from sensorium.skills.segment.pictures import read

    picture: Picture = _in_words(source, read, source)
    return picture


def _prompts(asked: _Asked, image: Image.Image) -> list[Prompt]:
    """What was pointed at, checked against the picture before any model is opened."""
    from sensorium.skills.segment.prompts import Prompt, check

    if asked.words is not None or asked.everything:
        return []
    bitmap = None if asked.mask is None else _bitmap(asked.mask)
    if len(asked.boxes) > 1:
        made = [Prompt(box=box) for box in asked.boxes]
    else:
        made = [Prompt(points=asked.points, box=asked.boxes[0] if asked.boxes else None, mask=bitmap)]
    return [check(prompt, *image.size) for prompt in made]


def _bitmap(source: Path) -> NDArray[np.bool_]:
    """The pixels that a picture marks: opaque ones where it has transparency, else light ones."""
    import numpy as np

    picture = _read(source)
    alpha = np.asarray(picture.rgba.getchannel("A"))
    chosen = alpha if alpha.min() < 255 else np.asarray(picture.rgb.convert("L"))
    return np.asarray(chosen > 127, np.bool_)


def _masks(
    segmenter: Segmenter, tools: _Tools, asked: _Asked, prompts: list[Prompt], image: Image.Image
) -> list[Mask]:
    """The answers, best first, none without a pixel; with --everything of the reduced picture."""
    if asked.words is not None:
        return tools.find(segmenter, image, asked.words, every=asked.every)
    if asked.everything:
        from sensorium.skills.segment import words
        from sensorium.skills.segment.everything import everything, usual

        return everything(segmenter, words.reduced(image), replace(usual(segmenter), side=16))
    embedding = segmenter.embed(image)
    found: list[Mask] = []
    for prompt in prompts:
        answer = segmenter.cut(embedding, prompt)
        found += answer.masks if asked.every else (answer.best,)
    return [one for one in found if one.area]


def _cut_moving(
    images: list[Path], at: float, asked: _Asked, tools: _Tools, output: Path | None, *, as_json: bool
) -> None:
    """A film or a burst: what is meant on its first picture is followed through the others."""
    from sensorium.cli import cut_video

    if asked.every or asked.everything or len(asked.boxes) > 1:
        raise SensoriumError(
            "through a film or a burst one thing is followed: leave out --all, --everything "
            "and more than one --box"
        )
    if output is None:
        raise SensoriumError("say where to write with -o: a folder, or a .mkv or .webm file")
    image = cut_video.first_frame(images, at)
    if asked.words is None:
        [first] = _prompts(asked, image)
        cut_video.cut_video(images, first, output, model=tools.model, at=at, as_json=as_json)
        return
    found = tools.find(tools.segmenter(), image, asked.words, every=False)
    if not found:
        _print(asked, [], output)
        raise typer.Exit(1)
    cut_video.cut_video(images, found[0], output, model=tools.model, at=at, as_json=as_json)


def _save(
    masks: list[Mask], picture: Picture, originals: list[Path], output: Path | None, *, crop: bool
) -> list[dict[str, Any]]:
    """Write what was found, every name checked before the first file is made; what can be told of each mask.

    Masks are drawn at full size one by one: dozens of a large photo would fill the memory.
    """
    from sensorium.skills.segment.words import enlarged

    documents: list[dict[str, Any]] = []
    drawn = output is not None and output.suffix.lower() == ".png"
    targets: list[Path] = []
    if output is not None and drawn:
        targets = cut_files.numbered(output, len(masks))
        for target in targets:
            cut_files.check(target, originals)
    for i, mask in enumerate(masks):
        whole = enlarged(mask, picture.rgb.size)
        if targets:
            cut_files.write_png(whole.cut_out(picture.rgba, cropped=crop), targets[i])
        documents.append(whole.document() | {"file": str(targets[i].absolute()) if targets else None})
    if output is not None and not drawn and documents:
        cut_files.write_json(cut_files.coco(originals[0], picture.rgb.size, documents), output)
        documents = [document | {"file": str(output.absolute())} for document in documents]
    return documents


def _print(asked: _Asked, masks: list[dict[str, Any]], output: Path | None) -> None:
    from sensorium.photos.files.names import printable

    if not masks:
        sought = f"looks like “{asked.words}”" if asked.words is not None else "there can be cut out"
        typer.echo(printable(f"nothing found: nothing in the picture {sought}; no file was written"))
        return
    for mask in masks[:_SHOWN]:
        left, top, right, bottom = mask["box"]
        parts = [
            mask["level"] or mask["label"] or "thing",
            f"{right - left} x {bottom - top} pixels at {left},{top}",
            f"quality {mask['quality']:.2f}",
        ]
        parts += [f"likelihood {mask['score']:.2f}"] if mask["score"] is not None else []
        typer.echo(printable(f"{', '.join(parts)}: wrote {mask['file']}"))
    if len(masks) > _SHOWN:
        typer.echo(printable(f"and {len(masks) - _SHOWN} more: {len(masks)} in all, written as {output}"))


def _print_json(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document, ensure_ascii=True, indent=2) + "\n")
