"""A query as a line that people read: what was understood of their words."""

from __future__ import annotations

import calendar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sensorium.photos.query.model import Query, Reading


def understood(query: Query) -> str:
    """The slots of a query in one line: "2025-06-01 to 2025-09-01 · Kyoto · looks like: temple"."""
    from sensorium.photos.files.names import printable

    parts = []
    if query.after is not None or query.before is not None:
        parts.append(_days(query))
    if query.months:
        parts.append("in " + ", ".join(calendar.month_name[month] for month in query.months))
    parts += [" or ".join(query.places)] if query.places else []
    parts += ["with " + " and ".join(query.people)] if query.people else []
    parts += [f"camera: {query.camera}"] if query.camera else []
    parts += [f"kind: {query.media}"] if query.media else []
    look = looks(query)
    parts += [look] if look else []
    summed = {term.words for term in query.terms if term.weight < 0}
    unwanted = [words for words in query.exclude if words not in summed]
    parts += ["without " + ", ".join(unwanted)] if unwanted else []
    return printable(" · ".join(parts))


def looks(query: Query) -> str:
    """What photos should look like, with sums written out; "" when nothing is said about it."""
    if query.terms:
        summands = [
            f"{'+' if term.weight > 0 else '-'} {'' if abs(term.weight) == 1 else f'{abs(term.weight):g} '}"
            f"{term.words or term.image}"
            for term in query.terms
        ]
        return "looks like: " + " ".join(summands).removeprefix("+ ")
    return f"looks like: {query.text}" if query.text else ""


def _days(query: Query) -> str:
    """Days as the query has them; the second one is the first that is no longer meant."""
    if query.after is None:
        return f"before {query.before}"
    if query.before is None:
        return f"from {query.after}"
    if (query.before - query.after).days == 1:
        return f"{query.after}"
    return f"{query.after} to {query.before}"


def reading_line(reading: Reading) -> str:
    """How ambiguous words were read, and how they were not."""
    from sensorium.photos.files.names import printable

    others = f", not {' or '.join(reading.alternatives)}" if reading.alternatives else ""
    return printable(f"“{reading.words}” was read as {reading.meaning}{others}")
