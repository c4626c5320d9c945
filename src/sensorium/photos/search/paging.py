"""Where a page of an answer ended, and the state of the library that its first page was made from.

The next page goes on behind the last (score or date, id). Photos that came or changed since the first page
are left out, and what the first page measured is kept, so that nothing that was already seen can shift.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any

from sensorium.errors import SensoriumError
from sensorium.photos.search.calibration import Rule

_VERSION = 2


@dataclass(frozen=True, slots=True)
class Cursor:
    """The end of a page.

    Attributes:
        question: Digest of what was asked and how it is sorted.
        pipeline: Id of the pipeline that answered.
        generation: Of the library's vectors, at the first page.
        newest: The largest photo id at the first page.
        rules: Of each term, as the first page measured it: see ``calibration.Rule``.
        best: The best evidence by looks at the first page; None when nothing was compared.
        verdict: Of the first page.
        key: What the last photo was sorted by.
        photo: Its id.
    """

    question: str
    pipeline: int
    generation: int
    newest: int
    rules: tuple[Rule, ...]
    best: float | None
    verdict: str
    key: int
    photo: int

    def text(self) -> str:
        """The cursor as letters that a command line and an address take unquoted."""
        values = [
            _VERSION,
            self.question,
            self.pipeline,
            self.generation,
            self.newest,
            [list(rule) for rule in self.rules],
            self.best,
            self.verdict,
            self.key,
            self.photo,
        ]
        raw = json.dumps(values, separators=(",", ":")).encode("ascii")
        return base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")

    @classmethod
    def read(cls, text: str, question: str, terms: int) -> Cursor:
        """The cursor of a text, for a search of so many terms. Raises SensoriumError when it is none."""
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            version, *values = json.loads(raw)
            asked, pipeline, generation, newest, rules, best, verdict, key, photo = values
            rules = _rules(rules)
            cursor = cls(asked, pipeline, generation, newest, rules, best, verdict, key, photo)
        except (ValueError, TypeError, IndexError, binascii.Error, RecursionError):
            raise SensoriumError("that is no cursor: use the one that the last page ended with") from None
        if version != _VERSION or not cursor._is_sound(terms):
            raise SensoriumError("that is no cursor: use the one that the last page ended with")
        if cursor.question != question:
            raise SensoriumError("the cursor belongs to another search: repeat that one, or begin again")
        return cursor

    def _is_sound(self, terms: int) -> bool:
        numbers = (self.pipeline, self.generation, self.newest, self.key, self.photo)
        return (
            all(type(number) is int and abs(number) < 2**63 for number in numbers)
            and isinstance(self.question, str)
            and self.verdict in ("found", "weak", "nothing")
            and (self.best is None or (isinstance(self.best, float) and math.isfinite(self.best)))
            and len(self.rules) == terms
        )


def _rules(values: Any) -> tuple[Rule, ...]:
    return tuple(_rule(*value) for value in values)


def _rule(offset: Any, spread: Any, ordinary: Any, shared: Any, of_parts: Any, with_parts: Any) -> Rule:
    """A rule as a page wrote it. Raises ValueError or TypeError for any other."""
    offset, spread, ordinary, shared = _numbers([offset, spread, ordinary, shared])
    pair: tuple[float, float] | None = None
    if of_parts is not None:
        first, second = _numbers(of_parts)
        pair = first, second
    three: tuple[float, float, float] | None = None
    if with_parts is not None:
        first, second, third = _numbers(with_parts)
        three = first, second, third
    if spread <= 0 or (three is not None and three[1] <= 0):
        raise ValueError("a spread is none")
    return offset, spread, ordinary, shared, pair, three


def _numbers(values: Any) -> list[float]:
    numbers = [float(value) for value in values]
    if not all(map(math.isfinite, numbers)):
        raise ValueError("a rule is no number")
    return numbers


def digest(document: dict[str, Any]) -> str:
    """A short name for everything that decides an answer and its order."""
    raw = json.dumps(document, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(raw.encode("ascii")).hexdigest()[:16]
