"""Questions about a scene with answers that are known to be right, in English and Chinese.

Each kind of question is asked in many ways (``question_phrases.json``), in small letters and without its mark
at times, as people type; the last way of each is only for measuring. Answers are balanced where words alone
could guess them: as many yes as no. Answers about a named thing repeat its name before they say anything of
it: a model that may leave the name unread answers about whatever is largest. Questions that a picture cannot
answer have one answer: what the model can be asked instead.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal, NamedTuple

import numpy as np

from sensorium.train.data.question_scenes import SHAPE_KINDS, SIGN, Item, Kind, Known

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")
Topic = Literal[
    "what", "count", "colour", "side", "beside", "read", "exists", "point", "describe", "photo", "cannot"
]
TOPICS: tuple[Topic, ...] = (
    *("what", "count", "colour", "side", "beside", "read", "exists", "point", "describe", "photo", "cannot"),
)
CANNOT = {
    "en": "I cannot tell. Ask me what is in the picture, how many, which colour, where, or what is written.",
    "zh": "我不知道。可以问我图里有什么、有几个、是什么颜色、在哪里、写着什么。",
}
"""What is answered to a question that the model was not made for."""

_MEASURES = "只辆条把张本朵棵块件架艘"
"""Words that Chinese counts with beside 个, the one for everything."""

_VERDICT = re.compile("[:：]|, so |，所以")
_CLEAR = 0.14  # share of the side by which one thing must lie beside another


class Asked(NamedTuple):
    """A question, its answer, and of what kind both are."""

    topic: Topic
    language: Language
    question: str
    answer: str


@dataclass(frozen=True)
class _Raw:
    """A question before it has words: the phrases' name, what is put in them, and the answer."""

    topic: Topic
    phrases: str
    values: dict[str, dict[Language, str]]
    answer: dict[Language, str]


def questions_of(
    picture: Known, random: np.random.Generator, kinds: Sequence[Kind], *, held: bool = False, each: int = 1
) -> list[Asked]:
    """What can be asked about a picture, at most ``each`` times a topic and language.

    Args:
        picture: What is known of it.
        random: Draws what is asked and how.
        kinds: Kinds of things that may be asked for though they are not there.
        held: Phrases that are kept for measuring, instead of all others.
        each: How many of one topic and language.
    """
    asked = []
    for topic in TOPICS:
        for language in LANGUAGES:
            for _ in range(each):
                raw = _MAKERS[topic](picture, random, kinds)
                if raw is not None and raw.answer.get(language):
                    asked.append(_worded(raw, language, random, held))
    return list(dict.fromkeys(asked))


def _worded(raw: _Raw, language: Language, random: np.random.Generator, held: bool) -> Asked:
    ways = phrases()[raw.phrases][language]
    way = ways[-1] if held else _typed(ways[int(random.integers(len(ways) - 1))], language, random)
    if raw.topic == "count" and not held and random.random() < 0.3:
        way = way.replace("个", _MEASURES[int(random.integers(len(_MEASURES)))])
    for name, words in raw.values.items():
        way = way.replace("{" + name + "}", words[language])
    return Asked(raw.topic, language, way, raw.answer[language])


def _typed(way: str, language: Language, random: np.random.Generator) -> str:
    """A way to ask as somebody may type it: politely, or in small letters, or without the mark behind it."""
    how = random.random()
    if how < 0.1 and way[0] != "请":
        return f"请告诉我，{way}" if language == "zh" else f"Please tell me: {way[0].lower()}{way[1:]}"
    if how < 0.3:
        way = way.rstrip("?.？。")
    return way[0].lower() + way[1:] if how < 0.2 else way


@cache
def phrases() -> dict[str, dict[str, list[str]]]:
    """Ways to ask, by the name of what is asked and by language; the last of each is kept for measuring."""
    text = resources.files("sensorium.train.data").joinpath("question_phrases.json").read_text("utf-8")
    found: dict[str, dict[str, list[str]]] = json.loads(text)
    return found


def _one(kind: Kind) -> dict[Language, str]:
    article = "an" if kind.english[0] in "aeiou" else "a"
    alone = kind.english in ("grapes", "scissors")
    return {"en": f"some {kind.english}" if alone else f"{article} {kind.english}", "zh": kind.chinese}


def _named(item: Item) -> dict[Language, str]:
    """A thing as an answer names it: a red circle, a sign, a cat."""
    if item.colour is None or item.kind == SIGN:
        return _one(item.kind)
    article = "an" if item.colour.english[0] in "aeiou" else "a"
    return {
        "en": f"{article} {item.colour.english} {item.kind.english}",
        "zh": item.colour.chinese + item.kind.chinese,
    }


def _unique(picture: Known) -> list[Item]:
    """Things that are the only ones of their kind."""
    counts = Counter(item.kind for item in picture.items)
    return [item for item in picture.items if counts[item.kind] == 1]


def _pick(among: Sequence[Item], random: np.random.Generator) -> Item:
    return among[int(random.integers(len(among)))]


def _the(item: Item) -> dict[Language, str]:
    return {"en": item.kind.english, "zh": item.kind.chinese}


def _what(picture: Known, random: np.random.Generator, _: Sequence[Kind]) -> _Raw | None:
    if len(picture.items) == 1:
        return _Raw("what", "what", {}, _named(picture.items[0]))
    clear = [
        (edge, found)
        for edge in ("left", "right", "top", "bottom")
        if (found := _outermost(picture.items, edge)) is not None
    ]
    if not clear:
        return None
    edge, item = clear[int(random.integers(len(clear)))]
    return _Raw("what", f"what {edge}", {}, _named(item))


def _outermost(items: Sequence[Item], edge: str) -> Item | None:
    """The thing nearest to an edge, if it is so clearly."""
    if len(items) < 2:
        return None
    axis, sign = (0 if edge in ("left", "right") else 1), (1 if edge in ("left", "top") else -1)
    ordered = sorted(items, key=lambda item: sign * item.centre[axis])
    gap = sign * (ordered[1].centre[axis] - ordered[0].centre[axis])
    return ordered[0] if gap > _CLEAR else None


def _count(picture: Known, random: np.random.Generator, kinds: Sequence[Kind]) -> _Raw | None:
    if not picture.items:
        return None
    counts = Counter(item.kind for item in picture.items)
    how = random.random()
    if how < 0.2:
        kind = kinds[int(random.integers(len(kinds)))]
    elif how < 0.5:
        kind = sorted(counts)[int(random.integers(len(counts)))]
    else:  # the kind there is most of: else nearly every answer would be one
        kind = max(counts, key=lambda one: (counts[one], random.random()))
    number = counts[kind]
    if number == 1 and random.random() < 0.75:
        return None
    values: dict[str, dict[Language, str]] = {"things": {"en": kind.plural, "zh": kind.chinese}}
    answer: dict[Language, str] = {
        "en": f"number of {kind.plural}: {number}",
        "zh": f"{kind.chinese}：{number}个",
    }
    return _Raw("count", "count", values, answer)


def _colour(picture: Known, random: np.random.Generator, _: Sequence[Kind]) -> _Raw | None:
    coloured = [item for item in _unique(picture) if item.colour is not None]
    if not coloured:
        return None
    item = _pick(coloured, random)
    assert item.colour is not None
    answer: dict[Language, str] = {"en": item.colour.english, "zh": item.colour.chinese}
    return _Raw("colour", "colour", {"thing": _the(item)}, answer)


_OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}
_SIDES = {"left": "左边", "right": "右边", "above": "上面", "below": "下面"}


def _side(picture: Known, random: np.random.Generator, _: Sequence[Kind]) -> _Raw | None:
    """Is one thing on that side of another? As often true as not.

    The answer repeats the side that was asked for and says which it is. "yes" alone stayed a guess (.54), and
    so it did behind the side that was found (.54), when sides were told well (.86).
    """
    found = _pair(picture, random)
    if found is None:
        return None
    first, second, side = found
    true = bool(random.random() < 0.5)
    asked = side if true else _OPPOSITE[side]
    values = {"first": _the(first), "second": _the(second)}
    verdict: dict[Language, str] = {
        "en": f"{asked}? It is {side}, so {'yes' if true else 'no'}",
        "zh": f"{_SIDES[asked]}？是{_SIDES[side]}，所以{'是' if true else '不是'}",
    }
    return _Raw("side", f"side {asked}", values, _grounded(first, second, verdict))


def _beside(picture: Known, random: np.random.Generator, _: Sequence[Kind]) -> _Raw | None:
    """On which side is one thing of another?"""
    found = _pair(picture, random)
    if found is None:
        return None
    first, second, side = found
    answer = _grounded(first, second, {"en": side, "zh": _SIDES[side]})
    return _Raw("beside", "beside", {"first": _the(first), "second": _the(second)}, answer)


def _grounded(first: Item, second: Item, verdict: dict[Language, str]) -> dict[Language, str]:
    """An answer that says where both things are before it compares them.

    Without that, "is A left of B" stayed a guess (.52) when "where is A" was answered well (.67).
    """
    one, other = written_box(first.box), written_box(second.box)
    return {
        "en": f"the {first.kind.english}{one}, the {second.kind.english}{other}: {verdict['en']}",
        "zh": f"{first.kind.chinese}{one}，{second.kind.chinese}{other}：{verdict['zh']}",
    }


def verdict_of(answer: str) -> str:
    """What an answer says of the things that it names: "no" of "the car[...]: right? It is left, so no"."""
    return _VERDICT.split(answer)[-1].strip()


def _pair(picture: Known, random: np.random.Generator) -> tuple[Item, Item, str] | None:
    """Two things and where the first is of the second, if one direction is clearly the main one."""
    items = _unique(picture)
    if len(items) < 2:
        return None
    first, second = (items[int(number)] for number in random.permutation(len(items))[:2])
    across, down = (a - b for a, b in zip(first.centre, second.centre, strict=True))
    if max(abs(across), abs(down)) < _CLEAR or 0.6 < abs(across) / max(abs(down), 1e-6) < 1.6:
        return None
    if abs(across) > abs(down):
        return first, second, "left" if across < 0 else "right"
    return first, second, "above" if down < 0 else "below"


def _read(picture: Known, random: np.random.Generator, _: Sequence[Kind]) -> _Raw | None:
    signs = [item for item in _unique(picture) if item.text]
    if not signs:
        return None
    text = str(signs[0].text)
    return _Raw("read", "read", {}, {"en": text, "zh": text})


def _exists(picture: Known, random: np.random.Generator, kinds: Sequence[Kind]) -> _Raw | None:
    if not picture.items:
        return None
    there = {item.kind for item in picture.items}
    true = bool(random.random() < 0.5)
    among = sorted(there) if true else _absent(there, random, kinds)
    kind = among[int(random.integers(len(among)))]
    one = _one(kind)
    answer: dict[Language, str] = {
        "en": f"{one['en']}: {'yes' if true else 'no'}",
        "zh": f"{one['zh']}：{'有' if true else '没有'}",
    }
    return _Raw("exists", "exists", {"one": one}, answer)


def _absent(there: set[Kind], random: np.random.Generator, kinds: Sequence[Kind]) -> list[Kind]:
    """Kinds that are not there: signs and shapes as often as scenes have them, or names would tell."""
    how = random.random()
    shapes = set(SHAPE_KINDS.values())
    drawn = {SIGN} if how < 0.3 else shapes if how < 0.55 else set(kinds) - shapes - {SIGN}
    return sorted(drawn - there) or sorted(set(kinds) - there)


def _point(picture: Known, random: np.random.Generator, _: Sequence[Kind]) -> _Raw | None:
    items = _unique(picture)
    if not items:
        return None
    item = _pick(items, random)
    box = written_box(item.box)
    answer: dict[Language, str] = {"en": f"the {item.kind.english}{box}", "zh": item.kind.chinese + box}
    return _Raw("point", "point", {"thing": _the(item)}, answer)


def written_box(box: Sequence[float]) -> str:
    """A box of shares of the sides as it is written in answers."""
    return "[" + ", ".join(f"{min(0.99, max(0.0, value)):.2f}" for value in box) + "]"


def _describe(picture: Known, random: np.random.Generator, _: Sequence[Kind]) -> _Raw | None:
    """All things from left to right, those alike together."""
    if not picture.items:
        return None
    ordered = sorted(picture.items, key=lambda item: item.centre[0])
    groups: dict[tuple[Kind, str], list[Item]] = {}
    for item in ordered:
        groups.setdefault((item.kind, item.text or ""), []).append(item)
    english, chinese = [], []
    for (kind, text), items in groups.items():
        one = _named(items[0])
        same = len({item.colour for item in items}) == 1
        if len(items) > 1:
            hue = items[0].colour if same and kind != SIGN else None
            one = {
                "en": f"{len(items)} {f'{hue.english} ' if hue else ''}{kind.plural}",
                "zh": f"{len(items)}个{hue.chinese if hue else ''}{kind.chinese}",
            }
        english.append(one["en"] + (f" that says {text}" if text else ""))
        chinese.append((f"写着{text}的" if text else "") + one["zh"])
    joined = english[0] if len(english) == 1 else ", ".join(english[:-1]) + " and " + english[-1]
    ways = "what" if len(items) < len(picture.items) and random.random() < 0.25 else "describe"
    return _Raw("describe", ways, {}, {"en": joined, "zh": "、".join(chinese)})


def _photo(picture: Known, random: np.random.Generator, _: Sequence[Kind]) -> _Raw | None:
    """A caption of a photograph."""
    answer: dict[Language, str] = {}
    for language in LANGUAGES:
        fitting = [text for text in picture.captions if is_chinese(text) is (language == "zh")]
        if fitting:
            answer[language] = fitting[int(random.integers(len(fitting)))]
    return _Raw("photo", "describe", {}, answer) if answer else None


def is_chinese(text: str) -> bool:
    """Whether there is a Chinese character in it."""
    return any("\u4e00" <= character <= "\u9fff" for character in text)


def _cannot(picture: Known, random: np.random.Generator, _: Sequence[Kind]) -> _Raw | None:
    """Something that no picture of ours answers."""
    if random.random() > 0.12:
        return None
    return _Raw("cannot", "cannot", {}, {"en": CANNOT["en"], "zh": CANNOT["zh"]})


_MAKERS: dict[Topic, Callable[[Known, np.random.Generator, Sequence[Kind]], _Raw | None]] = {
    "what": _what,
    "count": _count,
    "colour": _colour,
    "side": _side,
    "beside": _beside,
    "read": _read,
    "exists": _exists,
    "point": _point,
    "describe": _describe,
    "photo": _photo,
    "cannot": _cannot,
}


def all_kinds(things: Sequence[Kind]) -> tuple[Kind, ...]:
    """Everything that may be asked for: things, shapes and signs."""
    return (*things, *SHAPE_KINDS.values(), SIGN)
