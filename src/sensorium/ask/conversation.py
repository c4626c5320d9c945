"""A conversation as a value, and one answer in it as a series of events."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from sensorium.media.resizing.plan import ResizePlan
from sensorium.sampling.generate import Reason
from sensorium.skills.answer.answerer import Answerer, Prompt, Settings, Written
from sensorium.skills.answer.boxes import FoundBox
from sensorium.skills.answer.looks import Look
from sensorium.skills.answer.shown import Film, Picture, Turn


@dataclass(frozen=True, eq=False)
class Conversation:
    """What was said and shown so far."""

    turns: tuple[Turn, ...] = ()

    def ask(self, question: str, *shown: Picture | Film) -> Conversation:
        """The same with one more question, behind what is shown with it."""
        return Conversation((*self.turns, Turn("user", (*shown, question))))

    def answered(self, text: str) -> Conversation:
        """The same with an answer to its last question."""
        return Conversation((*self.turns, Turn("assistant", (text,))))

    @property
    def shown(self) -> tuple[Picture | Film, ...]:
        """All pictures and films, in order."""
        return tuple(part for turn in self.turns for part in turn.parts if not isinstance(part, str))


@dataclass(frozen=True, eq=False)
class Plan:
    """How one picture, or one film, is shown to the model."""

    name: str
    kind: str
    """``image`` or ``video``; the frames of a film are images for models that know no films."""
    tokens: int
    frames: int
    plan: ResizePlan
    pictures: tuple[Picture, ...]
    """The picture, or the frames of a film; boxes and maps are in pixels of the last one of the last plan."""
    text: str
    """One line for people."""

    def document(self) -> dict[str, Any]:
        """As JSON says it."""
        plan = self.plan
        return {
            "name": self.name,
            "kind": self.kind,
            "width": plan.width,
            "height": plan.height,
            "frames": self.frames,
            "policy": type(plan.policy).__name__,
            "views": [[view.width, view.height] for view in plan.views],
            "tokens": self.tokens,
            "useful": round(plan.useful, 4),
            "distortion": round(plan.distortion, 4),
            "text": self.text,
        }


@dataclass(frozen=True, eq=False)
class Shown:
    """What is about to be answered, and at which price."""

    model: str
    plans: tuple[Plan, ...]
    prompt_tokens: int
    """Of the whole conversation, pictures included."""
    picture_tokens: int
    places: int
    """Positions of the context that the conversation takes; under M-RoPE fewer than tokens."""
    context: int
    budget: int | None
    """The most tokens of each picture or film that were asked for; None: the model's own way."""
    notes: tuple[str, ...]
    """What people should know: how a film was sampled, what is not shown."""

    def document(self) -> dict[str, Any]:
        """As JSON says it."""
        return {
            "model": self.model,
            "plans": [plan.document() for plan in self.plans],
            "tokens": {
                "prompt": self.prompt_tokens,
                "pictures": self.picture_tokens,
                "places": self.places,
                "context": self.context,
                "budget": self.budget,
            },
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Piece:
    """Some more text; the sum of all pieces is the answer."""

    text: str


@dataclass(frozen=True, eq=False)
class Answer:
    """A whole answer and what is known of it."""

    text: str
    reason: Reason
    """Why it ended: it was over, had the most tokens, or met a stop string."""
    boxes: tuple[FoundBox, ...]
    """Places that it points at, in pixels of the original picture."""
    looks: tuple[Look, ...]
    """Where the network looked, when that was asked for."""
    shown: Shown
    tokens: int
    """That were written."""
    reused_tokens: int
    """Of the prompt, those that had been read before and were not read again."""
    looked_at: int
    """Pictures and films that went through the tower; those seen before did not."""
    seconds: float
    first_seconds: float

    @property
    def model(self) -> str:
        """Who answered."""
        return self.shown.model

    def document(self) -> dict[str, Any]:
        """As JSON says it, without the maps."""
        return {
            "answer": self.text,
            "ended": self.reason,
            "boxes": [box.document() for box in self.boxes],
            **self.shown.document(),
            "written": self.tokens,
            "reused": self.reused_tokens,
            "looked_at": self.looked_at,
            "seconds": round(self.seconds, 3),
            "first_seconds": round(self.first_seconds, 3),
        }

    def describe(self) -> str:
        """One line for people: who answered and what it took."""
        shown = self.shown
        again = f", {self.reused_tokens} of them known already" if self.reused_tokens else ""
        budget = "" if shown.budget is None else f", at most {shown.budget} a picture"
        return (
            f"{shown.model}: {shown.prompt_tokens} tokens read{again} "
            f"({shown.picture_tokens} of pictures{budget}; {shown.places} of {shown.context} places), "
            f"{self.tokens} written, {self.seconds:.1f} s, the first after {self.first_seconds:.1f} s"
        )


Event = Shown | Piece | Answer


def answer(
    answerer: Answerer, conversation: Conversation, settings: Settings
) -> Generator[Event, None, None]:
    """Answer the last question of a conversation.

    Args:
        answerer: The model.
        conversation: Ends with a question.
        settings: How to answer.

    Yields:
        One `Shown`, any number of `Piece`s, one `Answer`. Closing the generator stops the answer.

    Raises:
        SensoriumError: As `Answerer.prepare`, before anything is yielded: one line each.
    """
    prompt = answerer.prepare(conversation.turns, settings)
    shown = _shown(answerer.name, prompt)
    yield shown
    written: Written
    pieces = answerer.stream(prompt)
    while True:
        try:
            piece = next(pieces)
        except StopIteration as end:
            written = end.value
            break
        yield Piece(piece)
    yield Answer(
        written.text,
        written.reason,
        written.boxes,
        written.looks,
        shown,
        written.tokens,
        written.reused_tokens,
        written.looked_at,
        written.seconds,
        written.first_seconds,
    )


def _shown(model: str, prompt: Prompt) -> Shown:
    plans = tuple(
        Plan(
            name=item.name,
            kind=item.kind,
            tokens=item.tokens,
            frames=len(item.pictures),
            plan=item.plan,
            pictures=item.pictures,
            text=item.describe(),
        )
        for item in prompt.items
    )
    taken = sum(plan.tokens for plan in plans)
    budget = prompt.settings.budget
    return Shown(model, plans, prompt.tokens, taken, prompt.places, prompt.context, budget, prompt.notes)
