"""``sensorium cut`` on a film or a burst: `cut` calls this when it is given one."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sensorium.weights import CUT_MODEL

if TYPE_CHECKING:
    from PIL import Image

    from sensorium.skills.segment.masks import Mask
    from sensorium.skills.segment.prompts import Prompt
    from sensorium.skills.segment.video import Tracked


def is_moving(sources: Sequence[Path]) -> bool:
    """Whether the inputs are several pictures, or one film. Raises BadImageError."""
    from sensorium.skills.segment import film

    return film.is_moving(sources)


def first_frame(sources: Sequence[Path], at: float = 0.0) -> Image.Image:
    """The upright picture in which something is pointed at. Raises SensoriumError."""
    from sensorium.skills.segment import film

    return film.first_picture(sources, at)


def cut_video(
    sources: Sequence[Path],
    first: Prompt | Mask,
    output: Path,
    *,
    model: str = CUT_MODEL,
    at: float = 0.0,
    as_json: bool = False,
) -> None:
    """Cut a thing out of one film, or of several pictures in order, and say what became of it.

    ``first`` is meant in the first picture, in its upright pixels; ``output`` and the errors are those of
    `sensorium.skills.segment.film.save_cut_outs`. Exits with 1 when some pictures could not be read.
    """
    from sensorium.skills.segment.film import save_cut_outs
    from sensorium.skills.segment.segmenter import load
    from sensorium.skills.segment.video import UNREADABLE

    found: list[Tracked] = []
    with _counter(quiet=as_json) as count:
        for tracked in save_cut_outs(load(model), sources, first, output, at=at):
            found.append(_light(tracked))
            count()
    unreadable = [one.frame for one in found if one.missed == UNREADABLE]
    if as_json:
        typer.echo(json.dumps(_document(found, output)))
    else:
        for line in _lines(found, output):
            typer.echo(line)
        for number in unreadable:
            typer.echo(f"{sources[number]}: cannot be read", err=True)
    if unreadable:
        raise typer.Exit(1)


def _light(tracked: Tracked) -> Tracked:
    """Without the mask's pixels, of which a long film would fill the memory."""
    from dataclasses import replace

    import numpy as np

    if tracked.mask is None:
        return tracked
    empty = np.zeros((0, 0), bool)
    return replace(tracked, mask=replace(tracked.mask, bitmap=empty, softness=None))


def _document(found: Sequence[Tracked], output: Path) -> dict[str, Any]:
    return {
        "output": str(output),
        "frames": len(found),
        "found": sum(one.mask is not None for one in found),
        "stopped": found[-1].stopped,
        "tracked": [
            {
                "frame": one.frame,
                "box": list(one.mask.box) if one.mask else None,
                "area": one.mask.area if one.mask else 0,
                "confidence": round(one.confidence, 4),
                "missed": one.missed,
            }
            for one in found
        ],
    }


def _lines(found: Sequence[Tracked], output: Path) -> Iterator[str]:
    kept = sum(one.mask is not None for one in found)
    yield f"{output}: cut out of {kept} of {len(found)} pictures"
    for why in sorted({one.missed for one in found if one.missed}):
        frames = [str(one.frame + 1) for one in found if one.missed == why]
        shown = ", ".join(frames[:10]) + (", ..." if len(frames) > 10 else "")
        yield f"missed in picture {shown}: {why}"
    if found[-1].stopped:
        yield f"stopped: {found[-1].stopped}"


@contextmanager
def _counter(*, quiet: bool) -> Iterator[Any]:
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("picture {task.completed}"), TimeElapsedColumn())
    hidden = quiet or not sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), disable=hidden) as bar:
        task = bar.add_task("cutting", total=None)
        yield lambda: bar.advance(task)
