"""A conversation as ids: the checkpoint's template, with a place for each token of each picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sensorium.errors import SensoriumError
from sensorium.media.chat import ChatTemplate, Message, Part, Text
from sensorium.media.vocabulary import Vocabulary
from sensorium.skills.answer.eyes import Kind
from sensorium.skills.answer.planning import Item
from sensorium.skills.answer.shown import Turn

Unit = int | tuple[str, int]
"""A token by its id, or one of a picture by what was seen and its number: what two prompts have in common."""


@dataclass(frozen=True)
class Layout:
    """The ids of a prompt, and where in it each picture stands."""

    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]

    def units(self, keys: Sequence[str]) -> tuple[Unit, ...]:
        """What each token is; ``keys`` name what was seen, in order."""
        found: list[Unit] = list(self.ids)
        for key, (start, stop) in zip(keys, self.spans, strict=True):
            found[start:stop] = [(key, number) for number in range(stop - start)]
        return tuple(found)


def rendered(
    turns: Sequence[Turn], things: Sequence[Sequence[Item]], template: ChatTemplate, vocabulary: Vocabulary
) -> list[int]:
    """The conversation by its template, one place for each picture still.

    Args:
        turns: What was said.
        things: What each thing shown, in order, has become; a film perhaps several pictures.
        template: The checkpoint's.
        vocabulary: The checkpoint's.

    Raises:
        CheckpointError: The template refuses it.
    """
    waiting = iter(things)
    messages = []
    for turn in turns:
        parts: list[Part] = []
        for part in turn.parts:
            if isinstance(part, str):
                parts.append(Text(part))
            else:
                parts += [item.kind for item in next(waiting)]
        messages.append(Message(turn.role, tuple(parts)))
    text = template.render(messages)
    bare, enclosed = (vocabulary.encode(text, enclose=enclose) for enclose in (False, True))
    # a template that writes the first token itself must not get a second one
    return bare if bare[:1] == enclosed[:1] else enclosed


def laid_out(ids: Sequence[int], items: Sequence[Item], marks: Mapping[Kind, int]) -> Layout:
    """Each picture's place as many times as it has tokens.

    Raises:
        SensoriumError: The words contain the mark of a picture, or the template shows none.
    """
    waiting, out, spans = list(items), list[int](), list[tuple[int, int]]()
    places = set(marks.values())
    if sum(token in places for token in ids) != len(items):
        raise SensoriumError(
            f"the conversation has {sum(token in places for token in ids)} places where pictures go, for "
            f"{len(items)} of them: "
            "the words may not contain the model's own mark of a picture, such as <image>"
        )
    for token in ids:
        if token not in places:
            out.append(token)
            continue
        item = waiting.pop(0)
        spans.append((len(out), len(out) + item.tokens))
        out += [marks[item.kind]] * item.tokens
    return Layout(tuple(out), tuple(spans))


def question_of(turns: Sequence[Turn], name: str, item: Item, instructed: bool) -> str:
    """The words that BLIP-2 and InstructBLIP continue: they know neither roles nor conversations.

    Without words BLIP-2 writes a caption; a question is put as its authors do (LAVIS, "Question: ...
    Answer:").

    Raises:
        SensoriumError: There was more than one question.
    """
    if len(turns) != 1:
        raise SensoriumError(
            f"{name} answers one question about one picture and remembers no conversation: ask about "
            f"{item.name} anew"
        )
    words = " ".join(turns[0].text.split())
    return words if instructed or not words else f"Question: {words} Answer:"


def common(one: Sequence[Unit], other: Sequence[Unit]) -> int:
    """How many first tokens two prompts share."""
    count = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        count += 1
    return count
