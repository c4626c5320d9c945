"""Cutting things out of photos: each is looked at once, then every click costs only the decoder.

A question (``Asked``) tells everything that was clicked since the last fresh start, and each further click
refines the answer to the clicks before it. Those answers are remembered, and worked out again when they were
forgotten. Masks are made at the size of a screen; only the finished cut-out is made at the original's
(``pictures.cut_outs``). Networks run in the server's one worker, files are decoded in processes of their own.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np
from PIL import Image

from sensorium.errors import ModelNotFoundError, SensoriumError
from sensorium.photos.encoder import DEFAULT_MODEL as READER
from sensorium.server.api.problems import Problem
from sensorium.server.pictures import cut_outs
from sensorium.server.pictures.cut_outs import ChangedError, Shape
from sensorium.server.pictures.media import telling

if TYPE_CHECKING:
    from sensorium.photos.files.originals import Original
    from sensorium.photos.files.stamps import Stamp
    from sensorium.server.pictures.decoders import Decoders
    from sensorium.server.tasks.encoding import Encoding
    from sensorium.skills.embed import DualEncoder
    from sensorium.skills.segment import Mask, Prompt, Segmenter
    from sensorium.skills.segment.segmenter import Embedding

_Result = TypeVar("_Result")
SegmenterLoader = Callable[[str], "Segmenter"]

SIDE = 1024
"""Longest side of the pictures that are looked at, and of the masks that are sent, in pixels."""

MOST_FOUND = 24
"""Things that a search by words gives at most."""

MOST_WAITING = 64
"""Questions that may wait for the worker; more are refused."""

_VIEWS = 4  # photos that are kept looked at: some 20 MB each with the largest model
_STEPS = 24  # answers to clicks, some MB each
_SEARCHES = 4  # answers to words, each of which takes seconds to work out again


def load_segmenter(name: str) -> Segmenter:
    """Open a model that cuts. Raises ModelNotFoundError, CheckpointError or SensoriumError."""
    from sensorium.skills import segment

    return segment.load(name)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person pointed at, in pixels of the upright original.

    A box or words come first, or else the first point; each further one refines the answer to those before.

    Attributes:
        points: x, y and 1 for a point on the thing, 0 for one that is not; in the order of the clicks.
        box: Left, top, right, bottom.
        words: What to look for.
        all: Everything that the words fit, not the best.
        choice: Which answer to the start is meant; the best one (with ``all``: all of them) when absent.
    """

    points: tuple[tuple[float, float, int], ...] = ()
    box: tuple[float, float, float, float] | None = None
    words: str | None = None
    all: bool = False
    choice: int | None = None

    @property
    def start(self) -> Asked:
        """The question without what refines its answer."""
        fresh = self.box is None and self.words is None
        return replace(self, points=self.points[:1] if fresh else (), choice=None)

    @property
    def before(self) -> Asked:
        """The question without the last click; the start when only that is left."""
        earlier = replace(self, points=self.points[:-1])
        return self.start if earlier.points == self.start.points else earlier


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A photo that was looked at. ``size`` is the upright original's; picture and masks are smaller."""

    key: str
    size: tuple[int, int]
    stamp: Stamp
    picture: Image.Image
    embedding: Embedding


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """Masks of the view's picture; ``best`` is the number of one, None when nothing was found."""

    masks: tuple[Mask, ...]
    best: int | None


@dataclass(eq=False)
class _Kept:
    """The latest answers of a kind. Belongs to the worker's thread."""

    most: int
    answers: OrderedDict[tuple[str, Asked], Answered] = field(default_factory=OrderedDict)

    def get(self, question: tuple[str, Asked], make: Callable[[], Answered]) -> Answered:
        """The answer that is kept, else a new one."""
        if question not in self.answers:
            self.answers[question] = make()
            while len(self.answers) > self.most:
                self.answers.popitem(last=False)
        self.answers.move_to_end(question)
        return self.answers[question]


class Cutting:
    """Answers questions of the page. Methods without underscore belong to the event loop's thread.

    Args:
        encoding: Whose worker runs the networks.
        decoders: The processes that open files.
        model: The name or the folder of the model that cuts.
        loader: Opens it; the installed and pulled ones when absent.
    """

    def __init__(
        self, encoding: Encoding, decoders: Decoders, model: str, *, loader: SegmenterLoader | None = None
    ) -> None:
        self.model = model
        self._encoding = encoding
        self._decoders = decoders
        self._loader = loader or load_segmenter
        self._segmenter: Segmenter | None = None
        self._views: OrderedDict[str, asyncio.Task[View]] = OrderedDict()
        self._steps = _Kept(_STEPS)
        self._searches = _Kept(_SEARCHES)
        self._waiting = 0

    def known(self, content: bytes) -> asyncio.Task[View] | None:
        """The view of a photo by the hash of its content, if it was or is being looked at."""
        task = self._views.get(content.hex())
        if task is not None:
            self._views.move_to_end(content.hex())
        return task

    async def look(self, original: Original) -> View:
        """Look at a photo: once, however many ask for it.

        Raises Problem: the file cannot be read, is a film, or the model is not here.
        """
        task = self.known(original.sha256)
        if task is None:
            key = original.sha256.hex()
            task = self._views[key] = asyncio.create_task(self._look(original))
            task.add_done_callback(lambda done: self._forget_failed(key, done))
            while len(self._views) > _VIEWS:
                self._views.popitem(last=False)
        return await asyncio.shield(task)  # whoever asked first may go away

    async def answer(self, view: View, asked: Asked) -> Answered:
        """The masks that a question means. Raises Problem, or SensoriumError for what cannot be meant."""
        return await self._in_worker(self._answer, view, asked)

    async def cut_out(self, original: Original, view: View, asked: Asked, *, cropped: bool) -> bytes:
        """The PNG of what was asked for, at the original's size. Raises as ``look`` and ``answer``."""
        shape = await self._in_worker(self._shape, view, asked)
        try:
            with telling():
                return await self._decoders.run(cut_outs.cut_out, original, view.stamp, shape, cropped)
        except ChangedError as error:
            self._views.pop(original.sha256.hex(), None)
            raise Problem(409, "photo_changed", str(error)) from error

    def _forget_failed(self, key: str, task: asyncio.Task[View]) -> None:
        if (task.cancelled() or task.exception() is not None) and self._views.get(key) is task:
            del self._views[key]

    async def _look(self, original: Original) -> View:
        if original.kind == "video":
            raise Problem(422, "film_not_cut", "nothing is cut out of films here: choose a photo")
        with telling():
            seen = await self._decoders.run(cut_outs.see, original, SIDE)
        picture = Image.fromarray(seen.pixels)
        embedding = await self._in_worker(self._embed, picture)
        size = original.width, original.height
        return View(original.sha256.hex(), size, seen.stamp, picture, embedding)

    async def _in_worker(self, work: Callable[..., _Result], *arguments: object) -> _Result:
        if self._waiting >= MOST_WAITING:
            raise Problem(503, "busy", "too much waits to be cut out: try again soon")
        self._waiting += 1
        try:
            return await asyncio.wrap_future(self._encoding.submit(work, *arguments))
        except ModelNotFoundError as error:
            detail = f"the model that cuts is not here: {error}"
            raise Problem(503, "cut_model_missing", " ".join(detail.split())) from error
        finally:
            self._waiting -= 1

    # What follows runs in the worker.

    def _embed(self, picture: Image.Image) -> Embedding:
        fresh = self._segmenter is None
        if self._segmenter is None:
            self._segmenter = self._loader(self.model)
        embedding = self._segmenter.embed(picture)
        if fresh:  # so that the first click does not wait for graphs to be opened, or made
            from sensorium.skills.segment import Prompt

            prompt = Prompt(points=((picture.width / 2, picture.height / 2, 1),))
            cut = self._segmenter.cut(embedding, prompt)
            self._segmenter.cut(embedding, replace(prompt, memory=cut.memory))
        return embedding

    def _answer(self, view: View, asked: Asked) -> Answered:
        question = replace(asked, choice=None) if asked.points == asked.start.points else asked
        kept = self._searches if question == asked.start and asked.words is not None else self._steps
        return kept.get((view.key, question), lambda: self._worked_out(view, question))

    def _worked_out(self, view: View, asked: Asked) -> Answered:
        if asked == asked.start:
            return (
                self._found(view, asked) if asked.words is not None else self._cut(view, _prompt(view, asked))
            )
        base = self._meant(view, replace(asked.before, choice=asked.choice))
        prompt = _prompt(view, asked)
        if base.softness is None or asked.all:
            return self._cut(view, replace(prompt, mask=base.bitmap) if base.area else prompt)
        return self._cut(view, replace(prompt, memory=np.clip(base.softness[1], -32, 32)))

    def _cut(self, view: View, prompt: Prompt) -> Answered:
        assert self._segmenter is not None
        cut = self._segmenter.cut(view.embedding, prompt)
        best = next(number for number, mask in enumerate(cut.masks) if mask is cut.best)
        return Answered(cut.masks, best)

    def _found(self, view: View, asked: Asked) -> Answered:
        from sensorium.skills.segment import words

        assert self._segmenter is not None
        assert asked.words is not None
        reader = cast("DualEncoder", self._encoding.bare(READER))
        found = words.find(self._segmenter, reader, view.picture, asked.words, all=asked.all)[:MOST_FOUND]
        return Answered(tuple(found), 0 if found else None)

    def _meant(self, view: View, asked: Asked) -> Mask:
        """The one mask of an answer that is refined or kept."""
        answer = self._answer(view, asked)
        if not answer.masks:
            raise Problem(422, "nothing_found", f"nothing was found for {asked.words!r}")
        if asked.points != asked.start.points:
            return answer.masks[0]
        if asked.choice is None:
            return _united(answer.masks) if asked.all else answer.masks[answer.best or 0]
        if asked.choice >= len(answer.masks):
            raise SensoriumError(f"there are {len(answer.masks)} answers, no number {asked.choice}")
        return answer.masks[asked.choice]

    def _shape(self, view: View, asked: Asked) -> Shape:
        """What is cut out, as the network drew it; the mask's own pixels where it was changed since."""
        from sensorium.skills.segment.masks import Geometry

        mask = self._meant(view, asked)
        if not mask.area:
            raise Problem(422, "nothing_found", "there is nothing at this place to be cut out")
        if mask.softness is not None:
            geometry, logits = mask.softness
            if np.array_equal(geometry.spread(logits) > 0, mask.bitmap):
                return Shape(geometry, logits)
        height, width = mask.bitmap.shape
        side = max(width, height)
        drawn = np.full((side, side), -1, np.float32)
        drawn[:height, :width] = np.where(mask.bitmap, 1, -1)
        return Shape(Geometry((width, height), (width, height), side, side), drawn)


def _prompt(view: View, asked: Asked) -> Prompt:
    """What was asked, in pixels of the view's picture. Raises SensoriumError, which tells the original's."""
    from sensorium.skills.segment.prompts import Prompt, check

    if not asked.points and asked.box is None:
        raise SensoriumError("nothing is pointed at: give a point, a box or words")
    told = check(Prompt(asked.points, asked.box), *view.size)
    width, height = view.picture.size
    across, down = width / view.size[0], height / view.size[1]
    # The last pixel's right edge is rounded into the picture, never out of it.
    points = tuple(
        (min(x * across, math.nextafter(width, 0)), min(y * down, math.nextafter(height, 0)), kind)
        for x, y, kind in told.points
    )
    box = told.box
    if box is not None:
        box = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
    return Prompt(points, box)


def _united(masks: tuple[Mask, ...]) -> Mask:
    from sensorium.skills.segment.masks import mask_of

    bitmap = np.logical_or.reduce([mask.bitmap for mask in masks])
    return mask_of(bitmap, min(mask.quality for mask in masks), min(mask.stability for mask in masks))
