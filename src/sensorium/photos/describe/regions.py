"""The pass that looks at parts of a picture: nine windows, each of them a vector of the model that answers.

The vector of a whole picture says little of what fills a corner of it, so "without people" would leave in
the beach with somebody far away. The windows are half as wide and half as high as the picture and lie half
over one another (3 x 3), so that whatever is no larger than a quarter of the sides is whole in one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection

from sensorium.errors import SensoriumError
from sensorium.media.image import fit_image
from sensorium.photos.database.records import parts as parts_of
from sensorium.photos.database.schema import library, photos, pipelines, regions, vectors
from sensorium.photos.describe.looking import Look
from sensorium.photos.describe.passes import Pass
from sensorium.photos.vectors.regions import ACROSS, Regions, Sample, packed

if TYPE_CHECKING:
    from PIL import Image

    from sensorium.media.image import ImageSpec
    from sensorium.photos.database.store import Pipeline, Store
    from sensorium.photos.encoder import Encoder

_INSERT = insert(regions)
_UPSERT = _INSERT.on_conflict_do_update(
    index_elements=["photo_id", "pipeline_id"],
    set_={name: _INSERT.excluded[name] for name in ("vectors", "written")},
)


class RegionPass(Pass):
    """Vectors of the parts of pictures, for ``regions``. A video is searched by its frames instead.

    Looking processes cut and resize; the model runs in the process that keeps the vectors.
    """

    name = "regions"
    version = 1
    vectors = True

    def __init__(
        self,
        pipeline: Pipeline | None,
        encoder: Callable[[], Encoder] | None = None,
        spec: ImageSpec | None = None,
    ) -> None:
        """``pipeline`` is the one that answers, ``encoder`` opens its model, ``spec`` is its preparation."""
        self._pipeline = pipeline
        self._open = encoder
        self._encoder: Encoder | None = None
        self.spec = spec

    def __reduce__(self) -> tuple[type[RegionPass], tuple[object, ...]]:
        """What a looking process is sent: the preparation, not the model."""
        return RegionPass, (None, None, self.spec)

    @property
    def side(self) -> int:  # type: ignore[override]  # it is the model's, not the class's
        """Twice what the model wants: a window is half as high as the picture."""
        return 2 * self.spec.decode_side if self.spec is not None else 1

    def wants(self) -> sa.ColumnElement[bool]:
        """All but videos."""
        return photos.c.kind != "video"

    def holds(self) -> sa.ColumnElement[bool]:
        """Whether there are vectors of the model that answers."""
        if self._pipeline is None:
            return sa.false()
        mine = regions.c.pipeline_id == self._pipeline.id
        return sa.exists().where(regions.c.photo_id == photos.c.id, mine)

    def absent(self) -> str | None:
        """Why the model cannot be opened. Opens it where that was allowed."""
        if self._pipeline is None:
            return "nothing was indexed yet: run `sensorium index FOLDER`"
        if self._open is not None and self._encoder is None:
            try:
                self._encoder = self._open()
            except SensoriumError as error:
                return str(error)
            self.spec = self._encoder.image_spec
        return None

    def opened(self) -> Callable[[Look], object]:
        """A function from a look to prepared windows, uint8 [9, h, w, 3]."""
        spec = self.spec
        if spec is None:
            raise SensoriumError("the model that answers was not opened")
        return lambda look: prepared(look.image, spec)

    def completed(self, found: Mapping[int, Any]) -> Mapping[int, Any]:
        """Vectors [9, d] in the place of pixels."""
        if self._encoder is None:
            raise SensoriumError("the model that answers was not opened")
        there = {photo: pixels for photo, pixels in found.items() if pixels is not None}
        if not there:
            return {}
        vectors = embedded(self._encoder, np.stack(list(there.values())))
        return dict(zip(there, vectors, strict=True))

    def keep(self, connection: Connection, found: Mapping[int, NDArray[np.float32] | None]) -> None:
        """Write the vectors."""
        if self._pipeline is None:
            raise SensoriumError("nothing was indexed yet")
        written = connection.execute(sa.select(library.c.vectors_generation)).scalar_one() + 1
        mine = {"pipeline_id": self._pipeline.id, "written": written}
        rows = [
            mine | {"photo_id": photo, "vectors": packed(vectors)}
            for photo, vectors in found.items()
            if vectors is not None
        ]
        if rows:
            connection.execute(_UPSERT, rows)

    def finish(self, store: Store) -> None:
        """Measure what scores with parts mean, when there are many more or fewer of them than before."""
        from sensorium.photos.search import calibration, parts

        if self._pipeline is None or self._encoder is None:
            return
        pipeline = self._pipeline
        looked, before = Regions(store, pipeline), parts.PartCalibration.read(pipeline.parts)
        count = looked.count()
        if not count or (before is not None and before.fits(count)):
            return
        sample = looked.drawn(parts.MEASURED, store.vectors_generation())
        whole, sample = _with_vectors(store, pipeline, sample)
        if not len(whole):
            return
        kept = calibration.stored(store, pipeline.id)
        known = kept is not None and kept.digest == calibration.background().digest
        prompts = kept.prompts if kept is not None and known else calibration.embed_background(self._encoder)
        found = parts.measure(prompts.astype(np.float32), whole, sample, count)
        with store.writing(advance=True, vectors=False) as connection:
            this = sa.update(pipelines).where(pipelines.c.id == pipeline.id)
            connection.execute(this.values(parts=found.text()))


def _with_vectors(store: Store, pipeline: Pipeline, sample: Sample) -> tuple[NDArray[np.float32], Sample]:
    """The vectors [n, d] of the photos of a sample that have one, and these photos' parts."""
    ids = sample.ids
    mine = vectors.c.pipeline_id == pipeline.id
    found: dict[int, bytes] = {}
    with store.reading() as connection:
        for part in parts_of(ids.tolist()):
            chosen = sa.select(vectors.c.photo_id, vectors.c.vector)
            rows = connection.execute(chosen.where(mine, vectors.c.photo_id.in_(part)))
            found.update((row.photo_id, row.vector) for row in rows)
    there = np.isin(ids, list(found))
    halves = [np.frombuffer(found[photo], "<f2") for photo in ids[there].tolist()]
    whole = np.array(halves, np.float32).reshape(len(halves), pipeline.dim)
    return whole, Sample(ids[there], sample.factors[there], sample.numbers[there])


def windows(width: int, height: int) -> list[tuple[int, int, int, int]]:
    """The parts (left, top, right, bottom) of a picture of this many pixels, row by row; none is empty."""

    def spans(length: int) -> list[tuple[int, int]]:
        step = ACROSS + 1
        return [(place * length // step, -(-(place + 2) * length // step)) for place in range(ACROSS)]

    return [(left, top, right, bottom) for top, bottom in spans(height) for left, right in spans(width)]


def prepared(image: Image.Image, spec: ImageSpec) -> NDArray[np.uint8]:
    """The windows of an upright RGB picture as a model takes them, uint8 [9, h, w, 3]."""
    return np.stack([fit_image(image.crop(box), spec) for box in windows(*image.size)])


def embedded(encoder: Encoder, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Windows of pictures, uint8 [n, 9, h, w, 3], to vectors of unit length [n, 9, d]."""
    vectors = encoder.embed_pixels(pixels.reshape(-1, *pixels.shape[2:]))
    return vectors.reshape(*pixels.shape[:2], -1)
