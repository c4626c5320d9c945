"""A process with a model whose answers are known: what it says follows from the last question.

``"asking_fakes"`` is given as the program of the process that answers; it needs this folder on its path.
"""

from __future__ import annotations

import os
import time

import numpy as np

WORDS = "The flower is in the middle, <b>I think</b>."
SLOW = 400
"""Words of an answer that takes long."""


class StandIn:
    """What a process asks of a model before it asks it anything."""

    class eyes:
        most_pictures = 3

    name = "test/stand-in"
    languages = ("en", "zh")
    is_single = False


def answer(answerer, conversation, settings):
    """Events as ``sensorium.ask.answer`` gives them."""
    from sensorium.ask.conversation import Answer, Piece, Plan, Shown
    from sensorium.errors import SensoriumError
    from sensorium.media.resizing.planning import plan
    from sensorium.media.resizing.policies import Letterbox
    from sensorium.skills.answer.boxes import FoundBox
    from sensorium.skills.answer.looks import Look

    question = conversation.turns[-1].text
    if "elephant" in question:
        os._exit(3)
    if "long" in question:
        raise SensoriumError(
            "the conversation takes 530 places of a context of 512, 18 too many: the picture takes "
            "490 of them, and 1 would fit: show fewer, give each fewer tokens (--tokens), or "
            "begin a new conversation"
        )
    if "язык" in question:
        raise SensoriumError(
            "test/stand-in was not made for Cyrillic letters: ask in one of its languages (en, zh), or name "
            "another model; --force asks anyway"
        )
    plans = []
    for one in conversation.shown:
        made = plan(one.width, one.height, Letterbox(224, 224, 16, "centre", pad_first=False))
        kind, pictures = ("video", one.frames) if hasattr(one, "frames") else ("image", (one,))
        line = f"{one.name}: {made.describe()}"
        plans.append(Plan(one.name, kind, made.tokens, len(pictures), made, pictures, line))
    taken = sum(one.tokens for one in plans)
    notes = ("a note about <i>it</i>",) if "note" in question else ()
    shown = Shown(answerer.name, tuple(plans), taken + 20, taken, taken + 20, 2048, settings.budget, notes)
    yield shown
    words = " ".join(str(number) for number in range(SLOW)) if "count" in question else WORDS
    if "你" in question:
        words = "中间有一朵花。"
    if "again" in question:
        words = f"You asked {sum(turn.role == 'user' for turn in conversation.turns)} times."
    for piece in words.split(" ") if " " in words else list(words):
        time.sleep(0.05 if "count" in question else 0.01)
        yield Piece(piece + " " * (" " in words))
    last = conversation.shown[-1] if conversation.shown else None
    boxes, looks = [], []
    if last is not None:
        on = last.frames[-1] if hasattr(last, "frames") else last
        wide, high = on.width, on.height
        if "where" in question.lower() or "哪" in question:
            boxes = [
                FoundBox(0.4 * wide, 0.3 * high, 0.6 * wide, 0.8 * high, "the <i>flower</i>", on.name),
                FoundBox(0.05 * wide, 0, 0.2 * wide, 0.2 * high, "", on.name),
            ]
        if settings.explain:
            y, x = np.mgrid[0:14, 0:14] / 13
            for layer, (part, reach) in enumerate((("tower", 0.5), ("tower", 0.3), ("answer", 0.15))):
                table = np.exp(-((x - 0.5) ** 2 + (y - 0.55) ** 2) / reach**2).astype(np.float32)
                covers = (0.0, 0.0, float(wide), float(high))
                looks.append(Look(part, f"{part} block {layer + 1} of 3", layer, table, covers, on.name))
    count = len(conversation.turns)
    yield Answer(
        words,
        "end",
        tuple(boxes),
        tuple(looks),
        shown,
        12,
        200 if count > 1 else 0,
        int(count == 1),
        1.25,
        0.5,
    )


def main() -> None:
    """As the real one, with the model exchanged."""
    from sensorium.ask import conversation
    from sensorium.server.tasks import answering

    answering.load_answerer = lambda name: StandIn()
    conversation.answer = answer
    answering.main()
