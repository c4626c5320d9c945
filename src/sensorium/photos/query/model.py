"""What a sentence asks for, as data: shown to people, corrected by them, and read back.

``Query.document`` and ``Query.from_document`` are each other's inverse, so that a page or a script can
change one slot and search again.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sensorium.errors import SensoriumError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Media = Literal["photo", "video", "screenshot", "animation", "panorama", "raw", "live"]
"""The kinds of picture that a sentence can ask for; ``live`` is a photo with a short film beside it."""

HEAVIEST = 100.0
"""The largest weight of a term, either way; more would only drown the others."""

_STRICT = {"extra": "forbid"}
"""pydantic's word for: a document with an unknown slot is refused, so that no typing mistake is lost."""


@dataclass(frozen=True, slots=True)
class Term:
    """A summand of an arithmetic query: words or a picture, wanted (> 0) or unwanted (< 0)."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    words: str | None
    image: str | None
    weight: float

    def __post_init__(self) -> None:
        if (self.words is None) == (self.image is None):
            raise ValueError("a term is either words or an image")
        if not 0 < abs(self.weight) <= HEAVIEST:
            raise ValueError(f"a weight is not 0 and at most {HEAVIEST:g} either way")


@dataclass(frozen=True, slots=True)
class Reading:
    """How ambiguous words were understood, and what else they could have meant."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    words: str
    meaning: str
    alternatives: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Times:
    """Days: from ``after`` until the day before ``before``, and in ``months`` (1 to 12) of any year."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    after: date | None = None
    before: date | None = None
    months: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _check_times(self.after, self.before, self.months)

    def __bool__(self) -> bool:
        return self.after is not None or self.before is not None or bool(self.months)


@dataclass(frozen=True, slots=True)
class Exclusion:
    """What unwanted ``words`` are when they are more than a look: one of the other fields is set."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    words: str
    place: str | None = None
    person: str | None = None
    media: Media | None = None
    camera: str | None = None
    times: Times | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """One sentence, split.

    Attributes:
        said: The sentence as it was given.
        text: What the photo should look like; "" when nothing is left.
        terms: The summands, only when the sentence is arithmetic; else ().
        after, before: Days on the spot; ``after`` is included, ``before`` is not.
        months: Months of any year (1 to 12), such as those of a season. With ``after`` or ``before``:
            those months within these days.
        places, people: Several places are alternatives; people are wanted together, and named as the
            library names them.
        exclude: Everything unwanted, in words.
        media: One of ``Media``, or None.
        camera: A make or a model, as the library or its maker spells it.
        readings: How ambiguous words were understood.
        excluded: Those of ``exclude`` that are places, people, kinds, cameras or times.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    said: str = ""
    text: str = ""
    terms: tuple[Term, ...] = ()
    after: date | None = None
    before: date | None = None
    months: tuple[int, ...] = ()
    places: tuple[str, ...] = ()
    people: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    media: Media | None = None
    camera: str | None = None
    readings: tuple[Reading, ...] = ()
    excluded: tuple[Exclusion, ...] = ()

    def __post_init__(self) -> None:
        _check_times(self.after, self.before, self.months)

    @property
    def unwanted(self) -> tuple[str, ...]:
        """Those of ``exclude`` that are looks: what a photo should not look like."""
        told = {exclusion.words for exclusion in self.excluded}
        return tuple(words for words in self.exclude if words not in told)

    def document(self) -> dict[str, Any]:
        """The query as JSON types: every slot, absent ones null or [].

        ``terms`` is there only for arithmetic, ``excluded`` only when it holds something.
        """
        document: dict[str, Any] = {
            "said": self.said,
            "text": self.text,
            **_days(self.after, self.before, self.months),
            "places": list(self.places),
            "people": list(self.people),
            "exclude": list(self.exclude),
            "media": self.media,
            "camera": self.camera,
        }
        if self.terms:
            document["terms"] = [
                {"words": term.words, "image": term.image, "weight": term.weight} for term in self.terms
            ]
        if self.excluded:
            document["excluded"] = [_exclusion_document(exclusion) for exclusion in self.excluded]
        document["readings"] = [
            {"words": reading.words, "meaning": reading.meaning, "alternatives": list(reading.alternatives)}
            for reading in self.readings
        ]
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Query:
        """The query of a document, perhaps corrected by hand. Slots that it lacks are absent.

        Words that were taken out of ``exclude`` are no longer unwanted, whatever ``excluded`` says.
        Raises SensoriumError for an unknown slot, a wrong type or an impossible value.
        """
        from pydantic import ValidationError

        try:
            query = _adapter().validate_python(document)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the document"
            raise SensoriumError(f"not a search query: {where}: {first['msg']}") from error
        kept = tuple(exclusion for exclusion in query.excluded if exclusion.words in query.exclude)
        return query if kept == query.excluded else replace(query, excluded=kept)


@functools.cache
def _adapter() -> TypeAdapter[Query]:
    """Pydantic's reader of queries; made at first need, for it is heavy to import."""
    from pydantic import TypeAdapter

    return TypeAdapter(Query)


def _check_times(after: date | None, before: date | None, months: tuple[int, ...]) -> None:
    if after is not None and before is not None and before <= after:
        raise ValueError(f"before ({before}) is not later than after ({after})")
    if any(not 1 <= month <= 12 for month in months):
        raise ValueError("a month is 1 to 12")


def _days(after: date | None, before: date | None, months: tuple[int, ...]) -> dict[str, Any]:
    return {
        "after": after.isoformat() if after else None,
        "before": before.isoformat() if before else None,
        "months": list(months),
    }


def _exclusion_document(exclusion: Exclusion) -> dict[str, Any]:
    times = exclusion.times
    slots = {
        "words": exclusion.words,
        "place": exclusion.place,
        "person": exclusion.person,
        "media": exclusion.media,
        "camera": exclusion.camera,
        "times": _days(times.after, times.before, times.months) if times else None,
    }
    return {name: value for name, value in slots.items() if value is not None}
