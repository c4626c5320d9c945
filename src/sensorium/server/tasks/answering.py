"""The process in which the model runs that answers questions: everything heavy is imported here alone.

It is asked one thing at a time (``photos.intake.pool.Reader``): what the model can do, a question, and then
one event of the answer after another. Between two events it can be told to stop. What was shown stays here
until the server says that it may be forgotten, and the model remembers what it read, so a second question
about the same photo is short work.
"""

from __future__ import annotations

import base64
import io
import os
import re
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sensorium.errors import BadImageError, CheckpointError, ModelNotFoundError, SensoriumError
from sensorium.photos.intake.worker import receive, send
from sensorium.server.pictures.looking import Opened
from sensorium.skills.answer.shown import Picture

if TYPE_CHECKING:
    from sensorium.ask.conversation import Answer
    from sensorium.skills.answer.answerer import Answerer
    from sensorium.skills.answer.looks import Look

_NICE = 3  # the page itself comes first


@dataclass(frozen=True, slots=True)
class Said:
    """A turn of the conversation; ``photos`` are names of what was shown with it."""

    role: Literal["user", "assistant"]
    text: str
    photos: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """A conversation that ends with a question.

    Attributes:
        turns: What was said.
        fresh: What is shown for the first time, by the names in the turns.
        stale: Names of what may be forgotten.
        most: Tokens to write at most.
        budget: Tokens of each picture or film at most; None: the model's own way.
        explain: Tell where the model looked, too.
    """

    turns: tuple[Said, ...]
    fresh: dict[str, Opened]
    stale: tuple[str, ...]
    most: int
    budget: int | None
    explain: bool


@dataclass(frozen=True, slots=True)
class Event:
    """A step of an answer: ``shown``, ``piece`` or ``answer``, with what is told of it."""

    kind: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, as a problem's code and line."""

    code: str
    detail: str


def load_answerer(name: str) -> Answerer:
    """Open a model that answers. Raises ModelNotFoundError, CheckpointError or SensoriumError."""
    from sensorium.skills import answer

    return answer.load(name)


@dataclass
class Talker:
    """The model and what it was shown."""

    name: str
    shown: dict[str, Opened] = field(default_factory=dict)
    _answerer: Answerer | None = None

    @property
    def answerer(self) -> Answerer:
        """The model, opened at first need."""
        if self._answerer is None:
            self._answerer = load_answerer(self.name)
        return self._answerer

    def about(self) -> dict[str, Any]:
        """What people should know before they ask."""
        answerer = self.answerer
        return {
            "model": answerer.name,
            "languages": list(answerer.languages),
            "most_photos": answerer.eyes.most_pictures,
            "conversation": not answerer.is_single,
        }

    def answer(self, question: Question) -> Iterator[Event]:
        """The events of an answer. Raises SensoriumError in the first step."""
        from sensorium.ask.conversation import Answer, Conversation, Piece, Shown, answer
        from sensorium.skills.answer.answerer import Settings

        for name in question.stale:
            self.shown.pop(name, None)
        self.shown.update(question.fresh)
        conversation = Conversation()
        for turn in question.turns:
            if turn.role == "user":
                conversation = conversation.ask(turn.text, *(self.shown[name].shown for name in turn.photos))
            else:
                conversation = conversation.answered(turn.text)
        settings = Settings(most=question.most, budget=question.budget, explain=question.explain)
        for event in answer(self.answerer, conversation, settings):
            match event:
                case Shown():
                    yield Event("shown", event.document())
                case Piece():
                    yield Event("piece", {"text": event.text})
                case Answer():
                    yield Event("answer", self._document(event, question))

    def _document(self, answer: Answer, question: Question) -> dict[str, Any]:
        """An answer with places in pixels of the upright original, or of the frame that they are on."""
        names = [name for turn in question.turns for name in turn.photos]
        told = answer.document() | {"text": answer.text, "line": answer.describe()}
        photo, frame, across, down = None, None, 1.0, 1.0
        if names:
            photo, opened = len(names) - 1, self.shown[names[-1]]
            if isinstance(opened.shown, Picture):
                across = opened.size[0] / opened.shown.width
                down = opened.size[1] / opened.shown.height
            elif answer.boxes or answer.looks:
                frame = _frame(answer.shown.plans[-1].pictures[-1])
        told["photo"], told["frame"] = photo, frame
        told["boxes"] = [
            {"box": _scaled((box.left, box.top, box.right, box.bottom), across, down), "label": box.label}
            for box in answer.boxes
        ]
        told["looks"] = [_look_document(look, across, down) for look in answer.looks]
        return told


def _frame(picture: Picture) -> dict[str, Any]:
    """The frame of a film that boxes and maps are on, to be shown below them."""
    buffer = io.BytesIO()
    picture.load().save(buffer, "JPEG", quality=85)
    image = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return {"image": image, "width": picture.width, "height": picture.height, "name": picture.name}


def _scaled(box: tuple[float, float, float, float], across: float, down: float) -> list[float]:
    left, top, right, bottom = box
    return [round(left * across, 1), round(top * down, 1), round(right * across, 1), round(bottom * down, 1)]


def _look_document(look: Look, across: float, down: float) -> dict[str, Any]:
    """A map as bytes from 0 (least) to 255 (most), row by row."""
    values = np.nan_to_num(look.map)
    least, most = float(values.min()), float(values.max())
    even = (values - least) / (most - least) if most > least else np.zeros_like(values)
    rows, columns = even.shape
    return {
        "part": look.part,
        "name": look.name,
        "layer": look.layer + 1,
        "rows": rows,
        "columns": columns,
        "map": base64.b64encode(np.rint(even * 255).astype(np.uint8).tobytes()).decode("ascii"),
        "covers": _scaled(look.covers, across, down),
    }


# What the library says for its command line, as it is of use in the page.
_WORDS = (
    (re.compile(r"[;,] --force .*$"), ""),
    (re.compile(r"name a smaller --model, or load it .*$"), "serve with a smaller --ask-model"),
    (re.compile(r"give pictures fewer --tokens, show fewer of them"), "show fewer photos"),
    (re.compile(r", give each fewer tokens \(--tokens\)"), ""),
)


def failure_of(error: Exception) -> Failure:
    """What people are told of an error."""
    detail = " ".join(str(error).split())
    for words, instead in _WORDS:
        detail = words.sub(instead, detail)
    match error:
        case ModelNotFoundError():
            return Failure("ask_model_missing", detail)
        case CheckpointError():
            return Failure("ask_model_broken", detail)
        case BadImageError():
            return Failure("bad_image", detail)
        case MemoryError():
            return Failure("ask_memory", detail or "not enough memory")
        case _:
            return Failure("ask_refused", detail)


def main() -> None:
    """Serve until the input ends: the model's name first, then one answer to each frame."""
    if hasattr(os, "nice"):
        os.nice(_NICE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which then ends this process
    # Whatever a library prints must not come between the frames, which get a pipe of their own.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        talker = Talker(receive(sys.stdin.buffer))
        events: Iterator[Event] = iter(())
        while True:
            asked = receive(sys.stdin.buffer)
            told: dict[str, Any] | Event | Failure | None
            try:
                if isinstance(asked, Question):
                    events = talker.answer(asked)
                elif asked == "stop":
                    events = iter(())  # closes the generator, which ends the answer
                told = talker.about() if asked == "about" else next(events, None)
            except (SensoriumError, OSError, MemoryError) as error:
                events, told = iter(()), failure_of(error)
            send(answers, told)
    except (EOFError, BrokenPipeError):
        return


if __name__ == "__main__":
    main()
