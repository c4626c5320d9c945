"""A thing through a film or a burst: each picture is asked anew, with the mask of the one before.

Segment Anything knows single pictures. So a thing is followed by prompts: where the last mask must lie now
is worked out from the motion between the two pictures (dense flow; where that misleads, the place that looks
most like the thing), and the network is asked for what is there. Its answer counts as far as it is good by
its own account, lies where it was expected and looks like the thing; a picture without such an answer is told
as missed, and the search goes on from the last good mask until patience ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from sensorium.errors import SensoriumError
from sensorium.media.image import to_rgb
from sensorium.skills.segment.masks import Bits, Mask, overlap
from sensorium.skills.segment.prompts import FOREGROUND, Prompt

if TYPE_CHECKING:
    from PIL import Image

    from sensorium.skills.segment.segmenter import Cut, Embedding

LONGEST = 512  # pixels of the small copy on which motion and colours are compared
CUT, LEFT, LOST, UNREADABLE, OTHER_SHAPE = (
    "the scene changes",
    "it has left the picture",
    "it is not found",
    "the picture cannot be read",
    "the picture has another shape",
)
"""Why a picture has no mask."""

_COARSE = 64  # pixels a side, about, on which scenes are compared
_SAME_SCENE = 0.5  # correlation with the last picture, shifted, below which it may be another scene
_DARKER = 12.0  # ... if its brightness also differs by this much on average, 0 to 255
_SHARED = 0.3  # of two pictures, for one to be the other shifted
_SHAPE = 0.03  # relative difference of proportions up to which pictures are of one shape
_SLIVER = 0.1  # share of the thing's largest area below which, at the edge, it has left
_UNLIKE = 10.0  # colours, 0 to 255, above which a thing is looked for elsewhere too
_SAMPLES, _FEW = 2000, 10  # pixels of a thing whose motion is asked, and how many say more than a shift
_BINS = 8  # of each colour channel
_GROUND = 1e-6

Motion = NDArray[np.float64]  # [2, 3]: from small pixels (x, y, 1) to where they are now


class Cutter(Protocol):
    """What is asked of a `Segmenter` here."""

    def embed(self, image: Image.Image, *, keep: bool = True) -> Embedding:
        """Look at a picture."""

    def cut(self, embedding: Embedding, prompt: Prompt) -> Cut:
        """Answer a prompt on it."""


@dataclass(frozen=True)
class Settings:
    """How stubbornly a thing is followed.

    Attributes:
        sure: Confidence that an answer needs.
        patience: Pictures in a row without the thing, after which it is given up.
        grown: Share of its sides by which the box that is asked about exceeds the expected one.
    """

    sure: float = 0.6
    patience: int = 5
    grown: float = 0.05

    def __post_init__(self) -> None:
        """Refuse what cannot be carried out. Raises SensoriumError."""
        if not 0 <= self.sure <= 1:
            raise SensoriumError(f"a confidence lies between 0 and 1, and {self.sure} does not")
        if self.patience < 1:
            raise SensoriumError(f"patience is a number of pictures, at least 1, not {self.patience}")


@dataclass(frozen=True, eq=False)
class Tracked:
    """What became of the thing in one picture.

    Attributes:
        frame: Number of the picture, from 0.
        mask: Where it is; None where it was missed.
        confidence: 0 to 1: the geometric mean of predicted quality, overlap with where it was expected, and
            likeness of colours; of a missed picture that of the best answer, which was not good enough.
        stopped: Of the last one, if it was given up: why, in words.
        missed: Why this picture has no mask, one of ``CUT``, ``LEFT``, ``LOST``, ``UNREADABLE`` and
            ``OTHER_SHAPE``.
    """

    frame: int
    mask: Mask | None
    confidence: float
    stopped: str | None = None
    missed: str | None = None


def propagate(
    segmenter: Cutter,
    frames: Iterable[Image.Image | None],
    first: Prompt | Mask,
    settings: Settings | None = None,
) -> Iterator[Tracked]:
    """Follow what is meant in the first of some upright pictures through the others.

    Pictures come in order and are taken one at a time; None stands for one that could not be read. One of
    another size is taken where its proportions are the same. Each picture gives one ``Tracked``; the last has
    ``stopped`` where the thing was given up before the pictures ended.

    Raises SensoriumError where the first picture is missing, or nothing in it is meant.
    """
    chosen = settings or Settings()
    follower: _Follower | None = None
    for number, image in enumerate(frames):
        if follower is None:
            mask = _begun(segmenter, image, first)
            assert image is not None
            follower = _Follower(segmenter, chosen, _View(image), mask)
            yield Tracked(number, mask, _share(mask.quality))
            continue
        tracked = follower.next(number, image)
        yield tracked
        if tracked.stopped:
            return
    if follower is None:
        raise SensoriumError("there is no picture to begin with")


def _begun(segmenter: Cutter, image: Image.Image | None, first: Prompt | Mask) -> Mask:
    if image is None:
        raise SensoriumError("the first picture cannot be read: begin with another")
    mask = first
    if isinstance(mask, Prompt):
        mask = segmenter.cut(segmenter.embed(image, keep=False), mask).best
    if mask.bitmap.shape != (image.height, image.width):
        rows, columns = mask.bitmap.shape
        raise SensoriumError(
            f"the mask has {columns} x {rows} pixels, the first picture {image.width} x {image.height}"
        )
    if not mask.area:
        raise SensoriumError("there is nothing to follow: the first mask is empty; point somewhere else")
    return mask


class _View:
    """A picture, small: what motion and colours are compared on."""

    def __init__(self, image: Image.Image, size: tuple[int, int] | None = None) -> None:
        import cv2

        self.original = image.size
        scale = min(1.0, LONGEST / max(image.size))
        self.size = size or (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        rgb = np.asarray(to_rgb(image).resize(self.size, reducing_gap=2.0))
        self.colours: NDArray[np.uint8] = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB), np.uint8)
        self.grey: NDArray[np.uint8] = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)

    def narrowed(self, bitmap: Bits) -> Bits:
        """A mask of the original's pixels in small ones; one that is not empty stays so."""
        import cv2

        if self.size == self.original:
            return bitmap
        share = cv2.resize(bitmap.astype(np.float32), self.size, interpolation=cv2.INTER_AREA)
        return np.asarray(share >= min(0.5, max(float(share.max()), _GROUND)), bool)

    def widened(self, bitmap: Bits) -> Bits:
        """The inverse, as far as there is one."""
        import cv2

        if self.size == self.original:
            return bitmap
        wide = cv2.resize(bitmap.astype(np.float32), self.original, interpolation=cv2.INTER_LINEAR)
        return np.asarray(wide >= 0.5, bool)

    def histogram(self, bitmap: Bits) -> NDArray[np.float32]:
        """How often each colour occurs within a small mask, sum 1; brightness counts less than hue."""
        import cv2

        mask = bitmap.astype(np.uint8)
        bins = [_BINS // 2, 2 * _BINS, 2 * _BINS]
        counts = cv2.calcHist([self.colours], [0, 1, 2], mask, bins, [0, 256, 0, 256, 0, 256])
        smooth = np.asarray(counts, np.float32)
        for axis in range(3):  # light moves colours a little from picture to picture
            smooth = 0.5 * smooth + 0.25 * (np.roll(smooth, 1, axis) + np.roll(smooth, -1, axis))
        return np.asarray(smooth / max(float(smooth.sum()), _GROUND), np.float32)


@dataclass(frozen=True, eq=False)
class _Answer:
    mask: Mask | None
    confidence: float


_NOTHING = _Answer(None, 0.0)


class _Follower:
    """What is known of the thing so far."""

    def __init__(self, segmenter: Cutter, settings: Settings, view: _View, mask: Mask) -> None:
        self.segmenter, self.settings = segmenter, settings
        self.view, self.mask = view, mask  # of the last picture that it was found in
        self.small = view.narrowed(mask.bitmap)
        self.first = self.colours = view.histogram(self.small)
        self.largest = int(np.count_nonzero(self.small))
        self.step = (0.0, 0.0)  # small pixels across and down that it last moved from picture to picture
        self.missed: list[str] = []

    def next(self, number: int, image: Image.Image | None) -> Tracked:
        """What became of it in the next picture."""
        if image is None:
            return self._miss(number, UNREADABLE, 0.0)
        width, height = self.view.size
        if abs(image.width * height - image.height * width) > _SHAPE * image.width * height:
            return self._miss(number, OTHER_SHAPE, 0.0)
        view = _View(image, self.view.size)
        if _is_another_scene(view, self.view):
            return self._miss(number, CUT, 0.0)
        answer = self._search(image, view)
        if answer.mask is None or answer.confidence < self.settings.sure:
            return self._miss(number, LEFT if self._has_left() else LOST, answer.confidence)
        self._take(view, answer.mask)
        return Tracked(number, answer.mask, answer.confidence)

    def _search(self, image: Image.Image, view: _View) -> _Answer:
        """The first answer that is good enough, or the best one."""
        best = _NOTHING
        embedding: Embedding | None = None
        for expected in self._places(view):
            if not expected.any():
                continue
            embedding = embedding or self.segmenter.embed(image, keep=False)
            answer = self._ask(embedding, view, expected)
            if answer.confidence > best.confidence:
                best = answer
            if best.confidence >= self.settings.sure:
                break
        return best

    def _places(self, view: _View) -> Iterator[Bits]:
        """Where it may be, likeliest first: moved as pixels moved, where something is like it, not moved."""
        motions = [_motion(self.small, self.view, view)]
        if _unlikeness(self.small, self.view, view, motions[0]) > _UNLIKE:
            motions += _motions_by_looks(self.small, self.view, view)
            motions.sort(key=lambda motion: _unlikeness(self.small, self.view, view, motion))
            yield from (_moved(self.small, motion) for motion in motions)
        else:
            yield _moved(self.small, motions[0])
            yield from (_moved(self.small, one) for one in _motions_by_looks(self.small, self.view, view))
        yield self.small

    def _ask(self, embedding: Embedding, view: _View, expected: Bits) -> _Answer:
        """What the network finds at a place: by box, point and expected mask, or by less than that.

        A mask helps where it is right and misleads where it is not, and an answer costs little beside the
        embedding; so all are asked for, and the likeliest is taken.
        """
        box = _prompt(view, expected, self.settings.grown)
        mask = view.widened(expected)
        best = _NOTHING
        for asked in (replace(box, mask=mask), box, replace(box, points=())):
            if asked.mask is not None and not mask.any():
                continue
            found = self.segmenter.cut(embedding, asked).best
            confidence = self._confidence(view, expected, found)
            if confidence > best.confidence:
                best = _Answer(found, confidence)
        return best

    def _confidence(self, view: _View, expected: Bits, mask: Mask) -> float:
        if not mask.area:
            return 0.0
        small = view.narrowed(mask.bitmap)
        if _at_edge(small) and np.count_nonzero(small) < _SLIVER * self.largest:
            return 0.0
        histogram = view.histogram(small)
        alike = (_likeness(histogram, self.first) + _likeness(histogram, self.colours)) / 2
        return float((_share(mask.quality) * overlap(expected, small) * alike) ** (1 / 3))

    def _has_left(self) -> bool:
        """Whether it was on its way out: mostly beyond an edge already, or moving there."""
        seen = np.count_nonzero(self.small)
        if _at_edge(self.small) and seen < 0.5 * self.largest:
            return True
        rows, columns = np.nonzero(self.small)
        across, down = (step * (len(self.missed) + 1) for step in self.step)
        height, width = self.small.shape
        inside = (
            (columns + across >= 0) & (columns + across < width) & (rows + down >= 0) & (rows + down < height)
        )
        return bool(np.count_nonzero(inside) < 0.5 * seen)

    def _take(self, view: _View, mask: Mask) -> None:
        before = _centre(self.small)
        self.view, self.mask = view, mask
        self.small = view.narrowed(mask.bitmap)
        now, pictures = _centre(self.small), len(self.missed) + 1
        self.step = ((now[0] - before[0]) / pictures, (now[1] - before[1]) / pictures)
        self.colours = view.histogram(self.small)
        self.largest = max(self.largest, int(np.count_nonzero(self.small)))
        self.missed.clear()

    def _miss(self, number: int, why: str, confidence: float) -> Tracked:
        self.missed.append(why)
        stopped = None
        if len(self.missed) >= self.settings.patience:
            [(common, _)] = Counter(self.missed).most_common(1)
            stopped = f"{common}: nothing of it in {len(self.missed)} pictures"
        return Tracked(number, None, confidence, stopped, why)


def _at_edge(bitmap: Bits) -> bool:
    return bool(bitmap[0].any() or bitmap[-1].any() or bitmap[:, 0].any() or bitmap[:, -1].any())


def _centre(bitmap: Bits) -> tuple[float, float]:
    """Mean column and row of what is set."""
    rows, columns = np.nonzero(bitmap)
    return float(columns.mean()), float(rows.mean())


def _share(quality: float) -> float:
    return min(1.0, max(0.0, quality))


def _likeness(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Bhattacharyya's coefficient of two histograms, 0 to 1."""
    return float(np.sqrt(one * other).sum())


def _motion(bitmap: Bits, last: _View, view: _View) -> Motion:
    """How the pixels of a small mask of the last picture moved: shifted, turned and scaled as a whole.

    Dense inverse search (Kroeger et al. 2016, arXiv 1603.03590) says where each pixel went; the one motion
    that most of them agree with is less disturbed by what the thing uncovers than they are one by one.
    """
    import cv2

    if min(view.size) < 16:  # less than a patch
        return _shift(0, 0)
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = search.calc(last.grey, view.grey, np.zeros((*view.grey.shape, 2), np.float32))
    rows, columns = np.nonzero(bitmap)
    sparse = slice(None, None, max(1, len(rows) // _SAMPLES))
    rows, columns = rows[sparse], columns[sparse]
    began = np.stack((columns, rows), axis=1).astype(np.float32)
    went = began + flow[rows, columns]
    if len(rows) >= _FEW:
        found, agreed = cv2.estimateAffinePartial2D(began, went, method=cv2.RANSAC, ransacReprojThreshold=2.0)
        if found is not None and np.isfinite(found).all() and np.mean(agreed) > 0.5:
            return np.asarray(found, np.float64)
    return _shift(*np.median(went - began, axis=0).tolist())


def _shift(across: float, down: float) -> Motion:
    return np.array([[1, 0, across], [0, 1, down]], np.float64)


def _moved(bitmap: Bits, motion: Motion) -> Bits:
    import cv2

    size = bitmap.shape[1], bitmap.shape[0]
    return np.asarray(cv2.warpAffine(bitmap.astype(np.float32), motion, size) >= 0.5, bool)


def _unlikeness(bitmap: Bits, last: _View, view: _View, motion: Motion) -> float:
    """Mean difference in colour between a thing, moved, and what is there now; 0 to 255."""
    import cv2

    where = _moved(bitmap, motion)
    if not where.any():
        return 255.0
    brought = cv2.warpAffine(last.colours, motion, view.size)
    return float(np.abs(brought[where].astype(np.float32) - view.colours[where]).mean())


def _is_another_scene(view: _View, last: _View) -> bool:
    """Whether a picture shows nothing of the last one, not even all of it shifted.

    Dense flow is no help here: it bends any soft picture into any other.
    """
    import cv2

    if min(view.size) < 2:
        return False
    across, down = (-(-length // _COARSE) for length in view.size)
    coarse = (max(2, view.size[0] // across), max(2, view.size[1] // down))
    before, now = (
        cv2.resize(one.grey, coarse, interpolation=cv2.INTER_AREA).astype(np.float32) for one in (last, view)
    )
    # copies, for OpenCV 5 fades the edges of what it is given
    (x, y), _ = cv2.phaseCorrelate(before.copy(), now.copy(), cv2.createHanningWindow(coarse, cv2.CV_32F))
    shifts = [(0, 0), (round(x), round(y))]
    return all(_differ(before, now, *shift) for shift in shifts)


def _differ(before: NDArray[np.float32], now: NDArray[np.float32], x: int, y: int) -> bool:
    """Whether the second picture is something else than the first one, shifted by x and y."""
    height, width = now.shape
    if (width - abs(x)) * (height - abs(y)) < _SHARED * now.size or abs(x) >= width or abs(y) >= height:
        return True
    before = before[max(0, -y) : height - max(0, y), max(0, -x) : width - max(0, x)]
    now = now[max(0, y) : height - max(0, -y), max(0, x) : width - max(0, -x)]
    if float(np.abs(before - now).mean()) < _DARKER:
        return False
    before, now = before - before.mean(), now - now.mean()
    scale = float(np.sqrt((before**2).sum() * (now**2).sum()))
    return float((before * now).sum()) < _SAME_SCENE * max(scale, _GROUND)


def _motions_by_looks(bitmap: Bits, last: _View, view: _View) -> list[Motion]:
    """The shift to where the picture looks most like the thing, anywhere; none for what nearly fills it."""
    import cv2

    rows, columns = np.flatnonzero(bitmap.any(1)), np.flatnonzero(bitmap.any(0))
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    if (bottom - top) * (right - left) > 0.5 * bitmap.size:
        return []
    part = np.ascontiguousarray(last.colours[top:bottom, left:right])
    shape = np.repeat(bitmap[top:bottom, left:right, None], 3, axis=2).astype(np.uint8)
    difference = cv2.matchTemplate(view.colours, part, cv2.TM_SQDIFF, mask=shape)
    row, column = np.unravel_index(int(np.argmin(difference)), difference.shape)
    return [_shift(float(column) - left, float(row) - top)]


def _prompt(view: _View, expected: Bits, grown: float) -> Prompt:
    """A box around an expected mask, a little larger, and the point deepest inside; in original pixels."""
    import cv2

    rows, columns = np.flatnonzero(expected.any(1)), np.flatnonzero(expected.any(0))
    across, down = view.original[0] / view.size[0], view.original[1] / view.size[1]
    left, right = int(columns[0]) * across, (int(columns[-1]) + 1) * across
    top, bottom = int(rows[0]) * down, (int(rows[-1]) + 1) * down
    aside, above = grown * (right - left), grown * (bottom - top)
    depth = cv2.distanceTransform(np.pad(expected.astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    row, column = np.unravel_index(int(np.argmax(depth)), depth.shape)
    return Prompt(
        points=(((float(column) + 0.5) * across, (float(row) + 0.5) * down, FOREGROUND),),
        box=(
            max(0.0, left - aside),
            max(0.0, top - above),
            min(float(view.original[0]), right + aside),
            min(float(view.original[1]), bottom + above),
        ),
    )
