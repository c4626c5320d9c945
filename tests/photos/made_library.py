"""A library of rows that a test describes in a line each, seen by the made-up model of ``concepts``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from concepts import DIM, ConceptEncoder

from sensorium.media.image import ImageSpec
from sensorium.photos.database import schema
from sensorium.photos.database.store import Store
from sensorium.photos.library import Library

NAME = "test/concepts"


class Encoder(ConceptEncoder):
    """The model as a library opens it; it never sees a picture."""

    name = NAME
    pipeline = "concepts-1"
    dim = DIM
    image_spec = ImageSpec(1, 1, "crop", 1, "bicubic", (0.5,) * 3, (0.5,) * 3)


def moment(local: str | None) -> int | None:
    """Microseconds of a wall clock."""
    if local is None:
        return None
    return round(datetime.fromisoformat(local).replace(tzinfo=UTC).timestamp() * 1_000_000)


class Album:
    """A store to which photos are added by what they show and what is known of them."""

    def __init__(self, folder: Path, geometry: str = "like CLIP") -> None:
        self.folder = folder
        self.encoder = Encoder(geometry)
        self.store = Store(folder, create=True)
        pictures = folder.parent / "pictures"
        pictures.mkdir()
        (pictures / "1.jpg").touch()  # an empty folder would be taken for an unplugged disk
        self.root = self.store.add_root(str(pictures)).id
        self.pipeline = self.store.add_pipeline(NAME, self.encoder.pipeline, DIM)
        self.seed = 0

    def add(
        self,
        *shown: str,
        taken: str | None = None,
        offset: int | None = None,
        people: tuple[str, ...] = (),
        live: bool = False,
        text: str = "",
        **columns: Any,
    ) -> int:
        """A photo that shows some concepts. ``taken`` is the wall clock; ``offset`` its minutes from UTC."""
        self.seed += 1
        wall = moment(taken)
        with self.store.writing(advance=True) as connection:
            row = {
                "root_id": self.root, "path": f"{self.seed}.jpg", "size": 1, "mtime_ns": 1, "kind": "photo",
                "sha256": self.seed.to_bytes(32, "big"), "format": "JPEG", "width": 1, "height": 1,
                "orientation": 1, "facts_version": 99, "places_version": 99, "first_seen": 0, "last_seen": 0,
                "taken_at": None if wall is None else wall - (offset or 0) * 60_000_000,
                "taken_offset": offset, **columns,
            }  # fmt: skip
            photo = connection.execute(sa.insert(schema.photos).values(row)).inserted_primary_key[0]
            self._write(connection, photo, shown)
            for name in people:
                connection.execute(sa.insert(schema.people).prefix_with("OR IGNORE").values(name=name))
                person = connection.scalar(sa.select(schema.people.c.id).where(schema.people.c.name == name))
                connection.execute(sa.insert(schema.photo_people).values(photo_id=photo, person_id=person))
            if live:
                film = {"photo_id": photo, "root_id": self.root, "path": f"{photo}.mov", "size": 1}
                connection.execute(sa.insert(schema.companions).values(**film, mtime_ns=1, kind="live"))
            words = {
                "name": str(row["path"]).rpartition("/")[2].rpartition(".")[0].replace("_", " "),
                "folders": str(row["path"]).rpartition("/")[0],
                "words": " ".join(filter(None, (row.get("title"), row.get("caption")))),
                "places": "",
                "people": " ".join(people),
                "text": text,
            }
            connection.execute(sa.insert(schema.photo_words).values(rowid=photo, **words))
        return photo

    def change(self, photo: int, *shown: str) -> None:
        """The file at this place now shows something else."""
        self.seed += 1
        with self.store.writing(advance=True) as connection:
            self._write(connection, photo, shown)

    def _write(self, connection: sa.Connection, photo: int, shown: tuple[str, ...]) -> None:
        vector = self.encoder.embed_photos([shown or ("nothing much",)], self.seed)[0]
        written = connection.scalar(sa.select(schema.library.c.vectors_generation)) + 1
        row = {"photo_id": photo, "pipeline_id": self.pipeline.id, "written": written}
        connection.execute(
            sa.insert(schema.vectors)
            .prefix_with("OR REPLACE")
            .values(vector=vector.astype(np.float16).tobytes(), **row)
        )

    def library(self) -> Library:
        return Library(self.store, lambda _: self.encoder)
