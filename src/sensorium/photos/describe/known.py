"""All passes that there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sensorium.errors import SensoriumError
from sensorium.photos.describe.faces import FacePass
from sensorium.photos.describe.hashing import HashPass
from sensorium.photos.describe.passes import Pass
from sensorium.photos.describe.regions import RegionPass
from sensorium.photos.describe.text_in_images import TextPass

if TYPE_CHECKING:
    from sensorium.photos.database.store import Store
    from sensorium.photos.encoder import Encoder


def known(store: Store, encoder: Callable[[], Encoder] | None = None) -> dict[str, Pass]:
    """All passes over a library by name, in the order in which they are listed.

    ``encoder`` opens the model that answers; without it passes can be counted, but one that needs it not run.
    """
    passes: list[Pass] = [TextPass(), FacePass(), HashPass(), RegionPass(store.active_pipeline(), encoder)]
    return {one.name: one for one in passes}


def chosen(
    store: Store, names: Sequence[str] | None, encoder: Callable[[], Encoder] | None = None
) -> list[Pass]:
    """Passes by name, each once; all when None; otherwise as ``known``.

    Raises SensoriumError for a name that no pass has.
    """
    passes = known(store, encoder)
    for name in names or ():
        if name not in passes:
            raise SensoriumError(f"there is no pass called {name!r}: the passes are {', '.join(passes)}")
    return [passes[name] for name in dict.fromkeys(names)] if names is not None else list(passes.values())
