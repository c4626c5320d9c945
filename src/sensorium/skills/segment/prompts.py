"""What a person points at, in pixels of the upright original, and as the network takes it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sensorium.errors import SensoriumError

# As the network was trained; models/sam/prompt_encoder.py says the same to torch.
PADDING, BACKGROUND, FOREGROUND, TOP_LEFT, BOTTOM_RIGHT = -1, 0, 1, 2, 3
MOST_POINTS = 500  # of one prompt: each is compared with every place of the picture
SURE = 8.0  # the logit of a pixel that a person's own mask holds; minus this outside

Point = tuple[float, float, int]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Prompt:
    """What is meant; at least one of the three.

    Attributes:
        points: x, y and 1 for a point on the thing, 0 for one that is not.
        box: Left, top, right, bottom of a rectangle around the thing.
        mask: Which pixels are meant, roughly: bool [height, width] of the original.
        memory: The ``Cut.memory`` of the answer that this prompt refines.
    """

    points: tuple[Point, ...] = ()
    box: Box | None = None
    mask: NDArray[np.bool_] | None = None
    memory: NDArray[np.float32] | None = None

    def and_point(
        self, x: float, y: float, *, on: bool = True, memory: NDArray[np.float32] | None = None
    ) -> Prompt:
        """The same with one more click; ``memory`` of the answer so far makes it a refinement."""
        return replace(self, points=(*self.points, (x, y, int(on))), memory=memory, mask=None)

    @property
    def is_ambiguous(self) -> bool:
        """One click may mean a part, the thing or the whole; more than that says which."""
        return len(self.points) == 1 and self.box is None and self.mask is None and self.memory is None


def check(prompt: Prompt, width: int, height: int) -> Prompt:
    """The prompt within a picture; a box is cut at its edges. Raises SensoriumError, naming what is wrong."""
    if not prompt.points and prompt.box is None and prompt.mask is None:
        raise SensoriumError("nothing is pointed at: give a point, a box, a mask or words")
    if len(prompt.points) > MOST_POINTS:
        raise SensoriumError(f"a prompt has at most {MOST_POINTS} points, not {len(prompt.points)}")
    for x, y, kind in prompt.points:
        if not (math.isfinite(x) and math.isfinite(y)) or not (0 <= x < width and 0 <= y < height):
            raise SensoriumError(
                f"the point {x:g},{y:g} lies outside the picture, which is {width} x {height} pixels"
            )
        if kind not in (BACKGROUND, FOREGROUND):
            raise SensoriumError(f"a point is on the thing (1) or not (0), not {kind}")
    if prompt.mask is not None:
        _check_mask(prompt.mask, width, height)
    if prompt.memory is not None and not np.isfinite(prompt.memory).all():
        raise SensoriumError("the memory holds values that are no numbers: begin again without it")
    if prompt.box is None:
        return prompt
    if not all(map(math.isfinite, prompt.box)):
        raise SensoriumError("the box has a side that is no number")
    left, top, right, bottom = prompt.box
    box = (max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height)))
    if box[0] >= box[2] or box[1] >= box[3]:
        raise SensoriumError(
            f"the box {left:g},{top:g},{right:g},{bottom:g} holds nothing of the picture, "
            f"which is {width} x {height} pixels; write left,top,right,bottom"
        )
    return replace(prompt, box=box)


def _check_mask(mask: NDArray[np.bool_], width: int, height: int) -> None:
    if mask.dtype != np.bool_:
        raise SensoriumError(f"the mask holds {mask.dtype}, not true and false: compare first (mask > 127)")
    if mask.shape != (height, width):
        size = " x ".join(map(str, mask.shape[::-1] if mask.ndim == 2 else mask.shape))
        raise SensoriumError(f"the mask has {size} pixels, the picture {width} x {height}")
    if not mask.any():
        raise SensoriumError("the mask is empty: it marks no pixel")


def tokens(prompt: Prompt, scale: tuple[float, float]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Points float32 [1, n, 2] in the network's square and labels int64 [1, n].

    A prompt without a box ends with a point that says so, as the published networks were trained.
    """
    points = [(x, y) for x, y, _ in prompt.points]
    labels = [kind for _, _, kind in prompt.points]
    if prompt.box is None:
        points.append((0.0, 0.0))
        labels.append(PADDING)
    else:
        points += [prompt.box[:2], prompt.box[2:]]
        labels += [TOP_LEFT, BOTTOM_RIGHT]
    placed = np.array(points, np.float32) * np.array(scale, np.float32)
    return placed[None], np.array(labels, np.int64)[None]
