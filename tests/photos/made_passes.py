"""Passes that tests can follow: they note what they see in files, since they look in other processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from sensorium.errors import BadImageError
from sensorium.photos.describe.looking import Look
from sensorium.photos.describe.passes import Pass

NOTES = sa.Table(
    "test_notes",
    sa.MetaData(),
    sa.Column("photo_id", sa.Integer, primary_key=True),
    sa.Column("pass", sa.Text, primary_key=True),
    sa.Column("said", sa.Text),
)


@dataclass(frozen=True)
class NotingPass(Pass):
    """Says the size and the colour in the middle. File names make it fail in every way there is."""

    name: str
    seen: str
    version: int = 1
    side: int = 8
    slow: float = 0.0
    missing: str | None = None

    def absent(self) -> str | None:
        return self.missing

    def opened(self) -> Callable[[Look], object]:
        with Path(self.seen, f"opened-{self.name}-{os.getpid()}").open("x"):
            return self.say

    def say(self, look: Look) -> str:
        name = Path(look.path).stem
        with Path(self.seen, self.name).open("a") as file:
            file.write(f"{name}\n")
        time.sleep(self.slow)
        if f"blind-{self.name}" in name:
            raise BadImageError("too strange")
        if f"crash-{self.name}" in name:
            os._exit(3)
        if "memory" in name:
            raise MemoryError
        middle = look.image.getpixel((look.image.width // 2, look.image.height // 2))
        return f"{look.width}x{look.height} {middle}"

    def keep(self, connection: sa.Connection, found: Mapping[int, str | None]) -> None:
        NOTES.metadata.create_all(connection)
        here = NOTES.c.photo_id.in_(list(found)) & (NOTES.c["pass"] == self.name)
        connection.execute(sa.delete(NOTES).where(here))
        rows = [
            {"photo_id": photo, "pass": self.name, "said": said}
            for photo, said in found.items()
            if said is not None
        ]
        if rows:
            connection.execute(sa.insert(NOTES), rows)

    def looked_at(self) -> list[str]:
        """Names of the files that it was shown, sorted."""
        file = Path(self.seen, self.name)
        return sorted(file.read_text().split()) if file.exists() else []
