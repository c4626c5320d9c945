"""Chat with a model that sees: the command line and the page both hold a conversation through here.

`Conversation` is a value: what was said and shown so far, from which the next question makes a new one.
`answer` turns it into events, one by one: `Shown` (which model, how each picture is shown, what that costs),
then `Piece` after `Piece` of text, then `Answer` with everything that is known of it. Whoever stops reading
the events stops the answer.

>>> conversation = Conversation().ask("What is on the table?", Picture.open(path))
>>> for event in answer(answerer, conversation, Settings()): ...
>>> conversation = conversation.answered(event.text)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sensorium.ask.conversation import Answer as Answer
    from sensorium.ask.conversation import Conversation as Conversation
    from sensorium.ask.conversation import Event as Event
    from sensorium.ask.conversation import Piece as Piece
    from sensorium.ask.conversation import Plan as Plan
    from sensorium.ask.conversation import Shown as Shown
    from sensorium.ask.conversation import answer as answer

__all__ = ["Answer", "Conversation", "Event", "Piece", "Plan", "Shown", "answer"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("sensorium.ask.conversation"), name)
    raise AttributeError(f"module 'sensorium.ask' has no attribute {name!r}")
