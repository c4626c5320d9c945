"""Whose faces are these? People and pets: found by likeness, named, merged and corrected by hand.

``clustering`` sorts faces into people, ``ledger`` keeps what follows from it in step (who is on which photo,
the words that find it), and ``People`` is what applications use.
"""

from sensorium.photos.people.people import People

__all__ = ["People"]
