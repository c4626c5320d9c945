"""Arithmetic of words and pictures: which signs of a sentence are operators, and the summands between them.

``beach - people``, ``this.jpg + snow``, ``2*beach + sunset``, ``beach^1.5``, ``beach -people``. A plus or
minus stands apart from the word before it; a star or a circumflex joins a number to a summand. Hyphens
inside words, ranges of dates and "5* hotel" are none of these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sensorium.errors import SensoriumError
from sensorium.photos.query.model import HEAVIEST
from sensorium.photos.query.tokens import IMAGE_ENDINGS, Token

_SIGNS = {"+": 1, "\uff0b": 1, "-": -1, "\u2212": -1, "\uff0d": -1}
_TIMES = frozenset("*×\uff0a")


@dataclass(frozen=True, slots=True)
class Summand:
    """Tokens ``start`` until ``end`` that are one term, without their sign and weight."""

    start: int
    end: int
    weight: float
    image: str | None


def summands(
    tokens: list[Token], taken: Sequence[str | None], image_exists: Callable[[str], bool] | None
) -> list[Summand]:
    """The terms of a sentence; [] when it is no arithmetic. ``taken`` names the slot of each token.

    Raises SensoriumError for a weight out of range and for a picture that does not exist.
    """
    cuts = [
        (index, sign)
        for index in range(len(tokens))
        if not taken[index] and (sign := _sign(tokens, taken, index))
    ]
    starts = [(0, 1)] if not cuts or cuts[0][0] > 0 else []
    starts += [(index + 1, sign) for index, sign in cuts]
    ends = [index for index, _ in cuts if index > 0] + [len(tokens)]
    found = []
    arithmetic = bool(cuts)
    for (start, sign), end in zip(starts, ends, strict=True):
        if start >= end:
            continue
        first, last, weight = _weighted(tokens, start, end)
        arithmetic = arithmetic or (first, last) != (start, end)
        found.append((first, last, sign * weight))
    terms = [
        Summand(*part, weight, image)
        for start, end, weight in found
        for part, image in _pictures(tokens, start, end, image_exists, arithmetic=arithmetic)
    ]
    pictured = any(term.image is not None for term in terms)
    return terms if terms and (arithmetic or pictured) else []


def _sign(tokens: list[Token], taken: Sequence[str | None], index: int) -> int:
    """1 or -1 for an operator, 0 for any other token."""
    token = tokens[index]
    sign = _SIGNS.get(token.key, 0)
    if token.kind != "mark" or not sign or index + 1 == len(tokens):
        return 0
    ahead = tokens[index + 1]
    if ahead.kind == "mark" and ahead.key not in "(":
        return 0
    before = tokens[index - 1] if index else None
    if before is None:
        return sign
    if before.kind == "number" and ahead.kind == "number" and not _weighs(tokens, index):
        return 0
    apart_before, apart_behind = before.end < token.start, token.end < ahead.start
    if apart_before:
        # "Berlin - summer 2019" is a title with a dash; "Berlin -2019" takes the year away.
        dash = apart_behind and sign < 0 and taken[index + 1] == "time"
        return 0 if dash else sign
    joined = not apart_behind and before.kind in ("word", "file", "quote", "number")
    return (
        sign if sign > 0 and joined and ahead.kind in ("word", "file", "quote") and len(before.key) > 1 else 0
    )


def _weighs(tokens: list[Token], index: int) -> bool:
    """Whether a number beside a sign is a weight: "beach*2 - 3*people", not "5 - 8"."""
    factors = _TIMES | {"^"}
    behind = tokens[index + 2].key if index + 2 < len(tokens) else ""
    return behind in factors or (index > 1 and tokens[index - 2].key in factors)


def _weighted(tokens: list[Token], start: int, end: int) -> tuple[int, int, float]:
    """A summand without its weight: "2*beach", "2 * beach", "beach*2", "beach^1.5"."""
    if end - start >= 3:
        number, sign, word = tokens[start : start + 3]
        evenly = (sign.start > number.end) == (word.start > sign.end)
        if number.kind == "number" and sign.key in _TIMES and evenly:
            return start + 2, end, _weight(number)
        word, sign, number = tokens[end - 3 : end]
        joined = number.start == sign.end and sign.start == word.end
        spaced = sign.key in _TIMES and sign.start > word.end
        if number.kind == "number" and (sign.key in _TIMES or sign.key == "^") and (joined or spaced):
            return start, end - 2, _weight(number)
    return start, end, 1.0


def _weight(token: Token) -> float:
    weight = float(token.key)
    if not 0 < weight <= HEAVIEST:
        raise SensoriumError(f"a weight must be more than 0 and at most {HEAVIEST:g}, not {token.text[:20]}")
    return weight


def _pictures(
    tokens: list[Token], start: int, end: int, image_exists: Callable[[str], bool] | None, *, arithmetic: bool
) -> list[tuple[tuple[int, int], str | None]]:
    """A summand cut at the pictures that it names."""
    parts: list[tuple[tuple[int, int], str | None]] = []
    begin = start
    for index in range(start, end):
        name = _file_name(tokens[index])
        if name is None or not _is_picture(name, image_exists, alone=arithmetic and end - start == 1):
            continue
        parts += [((begin, index), None)] if begin < index else []
        parts.append(((index, index + 1), name))
        begin = index + 1
    return [*parts, ((begin, end), None)] if begin < end else parts


def _file_name(token: Token) -> str | None:
    name = token.text[1:-1] if token.kind == "quote" else token.text
    if token.kind not in ("file", "quote"):
        return None
    return name if name.rpartition(".")[2].lower() in IMAGE_ENDINGS and "." in name else None


def _is_picture(name: str, image_exists: Callable[[str], bool] | None, *, alone: bool) -> bool:
    """Whether a file name is meant as a picture; one that is a whole summand must exist."""
    if image_exists is None:
        return alone
    try:
        exists = image_exists(name)
    except (OSError, ValueError):
        exists = False
    if alone and not exists:
        raise SensoriumError(f"no picture {name!r}: give the path of one that exists, or its words in quotes")
    return exists
