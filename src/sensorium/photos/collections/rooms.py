"""What a library offers beside indexing and search, each under its own name; opened when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import cached_property
from typing import TYPE_CHECKING

from sensorium.errors import SensoriumError

if TYPE_CHECKING:
    from sensorium.photos.collections.albums import Albums
    from sensorium.photos.collections.browse import Browse
    from sensorium.photos.collections.marks import Marks
    from sensorium.photos.database.store import Store
    from sensorium.photos.describe.passes import Event
    from sensorium.photos.duplicates.groups import Duplicates
    from sensorium.photos.encoder import Encoder
    from sensorium.photos.people import People


class Rooms:
    """The part of ``Library`` that lays out and gathers photos. Methods raise LibraryError."""

    _store: Store

    if TYPE_CHECKING:

        def answering(self) -> Encoder:
            """The model that answers searches. Raises LibraryError."""

    @cached_property
    def browse(self) -> Browse:
        """The grid, cards, one photo's details, points of the map."""
        from sensorium.photos.collections.browse import Browse

        return Browse(self._store)

    @cached_property
    def albums(self) -> Albums:
        """Albums and what is in them."""
        from sensorium.photos.collections.albums import Albums

        return Albums(self._store)

    @cached_property
    def marks(self) -> Marks:
        """Favourites and hidden photos."""
        from sensorium.photos.collections.marks import Marks

        return Marks(self._store)

    @cached_property
    def duplicates(self) -> Duplicates:
        """Photos that are there twice."""
        from sensorium.photos.duplicates.groups import Duplicates

        return Duplicates(self._store)

    @cached_property
    def people(self) -> People:
        """The people and pets on the photos."""
        from sensorium.photos.people import People

        return People(self._store)

    def describe(self, passes: Sequence[str] | None = None, *, workers: int | None = None) -> Iterator[Event]:
        """Look for more in the photos than their files tell: text, faces, parts; yields events.

        Takes what is due; stopping at any point is safe. ``passes`` names some of them, all when None. A pass
        whose networks are not on this machine is skipped with an event. Raises SensoriumError for a name that
        no pass has, LibraryError when another run is at work.
        """
        from sensorium.photos.describe import passes as describing
        from sensorium.photos.describe.known import chosen

        if workers is not None and workers < 1:
            raise SensoriumError(f"workers must be at least 1, not {workers}")
        wanted = chosen(self._store, passes, self.answering)
        count = workers or describing.default_workers()
        with closing(describing.describe(self._store, wanted, workers=count)) as events:  # it holds a lock
            yield from events

    def export(self, ids: Sequence[int], *, without_location: bool = False) -> Iterator[bytes]:
        """A ZIP archive of photos, in pieces as they are made; see ``collections.export``."""
        from sensorium.photos.collections.export import export

        return export(self._store, ids, without_location=without_location)
