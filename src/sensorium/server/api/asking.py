"""What the API is told and says about asking: conversations, and what the model can do."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from sensorium.server.api.documents import Document
from sensorium.server.api.requests import PhotoId, Request
from sensorium.server.tasks.asking import MOST_PHOTOS

MOST_LETTERS = 4000
"""Of a question. What a model takes is less or more, and it says so itself."""

MOST_TURNS = 99
MOST_TOKENS = 1024
_ANSWER = 20_000  # letters of an earlier answer, which comes back with the next question


class AskTurn(Request):
    """What one side said; ``photos`` are shown with a question."""

    role: Literal["user", "assistant"]
    text: Annotated[str, Field(min_length=1, max_length=_ANSWER)]
    photos: Annotated[list[PhotoId], Field(max_length=MOST_PHOTOS)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _can_be_meant(self) -> AskTurn:
        if self.role == "assistant":
            if self.photos:
                raise ValueError("only a question shows photos")
        elif len(self.text) > MOST_LETTERS:
            raise ValueError(f"a question has at most {MOST_LETTERS} letters, not {len(self.text)}")
        elif not self.text.strip():
            raise ValueError("the question is empty")
        return self


class AskRequest(Request):
    """A conversation whose last turn is the question; the server keeps none of it."""

    turns: Annotated[list[AskTurn], Field(min_length=1, max_length=MOST_TURNS)]
    most: Annotated[int, Field(ge=1, le=MOST_TOKENS)] = Field(256, description="tokens to write at most")
    budget: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        None, description="tokens of each photo at most; null: the model's own way"
    )
    explain: bool = Field(False, description="tell where the model looked")

    @model_validator(mode="after")
    def _is_a_conversation(self) -> AskRequest:
        for number, turn in enumerate(self.turns):
            if (turn.role == "user") != (number % 2 == 0):
                raise ValueError("questions and answers take turns, a question is first")
        if len(self.turns) % 2 == 0:
            raise ValueError("the last turn must be a question")
        count = sum(len(turn.photos) for turn in self.turns)
        if count > MOST_PHOTOS:
            raise ValueError(f"a conversation shows at most {MOST_PHOTOS} photos, not {count}")
        return self


class AskModel(Document):
    """The model that answers; ``problem`` is a code and ``detail`` a line when it cannot.

    ``languages`` are those of its card, none when it does not say; ``most_photos`` what one conversation may
    show; without ``conversation`` it answers single questions.
    """

    model: str
    problem: str | None = None
    detail: str | None = None
    languages: list[str] = Field(default_factory=list)
    most_photos: int = MOST_PHOTOS
    most_letters: int = MOST_LETTERS
    conversation: bool = True


def model_document(about: dict[str, Any]) -> AskModel:
    """What the model's process told of it."""
    most = about["most_photos"]
    return AskModel(
        model=about["model"],
        languages=about["languages"],
        most_photos=MOST_PHOTOS if most is None else min(most, MOST_PHOTOS),
        conversation=about["conversation"],
    )
