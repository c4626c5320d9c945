"""A sentence becomes data: what a photo should look like, and when, where, of whom, by what, and not.

``parse`` splits an English or Chinese sentence into a ``Query``, which is returned, shown and corrected;
``times`` holds the conventions for every way to say a time. Nothing is guessed silently: words that
could be something else are listed with their reading.

>>> parse("sunset at the beach last summer", now=datetime(2026, 5, 13)).text
'sunset at the beach'
"""

from sensorium.photos.query.model import Exclusion, Query, Reading, Term, Times
from sensorium.photos.query.sentence import parse

__all__ = ["Exclusion", "Query", "Reading", "Term", "Times", "parse"]
