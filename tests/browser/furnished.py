"""A library with something in every room: photos at places, people, albums, doubles, a bad file, a lost disk.

`python tests/browser/furnished.py FOLDER` makes one to look at: `sensorium serve --library FOLDER/library`.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from PIL import Image
from scenes import FACE, Scene, draw

from sensorium.photos.library import Library

PLACES = {  # latitude, longitude, what is drawn there
    "Kyoto": (35.011, 135.768, "garden"),
    "Lisbon": (38.722, -9.139, "town"),
    "Zermatt": (46.021, 7.749, "mountains"),
    "Sydney": (-33.856, 151.215, "sea"),
    "Shanghai": (31.230, 121.474, "town"),
    "Reykjavik": (64.146, -21.942, "mountains"),
}
EACH = 6
"""Photos taken at each place."""

PORTRAITS = 10
AWAY = 4
"""Photos on the disk that is not there any more."""

FIRST = datetime(2019, 4, 2, 9, 30)
PEOPLE = ("Anna", "小明", "Mochi", None)
_GPS, _TAKEN, _OFFSET, _EXIF = 0x8825, 0x9003, 0x9011, 0x8769


@dataclass(frozen=True)
class Furnished:
    """What was made, for tests to ask about."""

    library: Path
    pictures: Path
    away: Path
    """The root that was unplugged."""

    broken: Path
    """A file that is cut off."""

    photos: int


def furnish(folder: Path) -> Furnished:
    """Make the pictures, index them with the packaged model, and fill the rooms."""
    pictures, away, library = folder / "Pictures", folder / "Old disk", folder / "library"
    count = _pictures(pictures)
    for number in range(AWAY):
        _save(away / f"DSC_{number}.jpg", Scene("sea", 900 + number), FIRST - timedelta(days=number + 1))
    broken = pictures / "2019" / "IMG_0666.jpg"
    whole = (pictures / "Kyoto" / "IMG_0100.jpg").read_bytes()
    broken.parent.mkdir(parents=True, exist_ok=True)
    broken.write_bytes(whole[: len(whole) // 3])
    (pictures / "notes.jpg").write_text("not a picture at all\n" * 20)
    with Library.open(library, create=True) as opened:
        for _ in opened.index([pictures, away]):
            pass
        shutil.move(away, away.with_name("Unplugged disk"))
        for _ in opened.index([pictures]):
            pass
    _fill(library / "library.sqlite3")
    return Furnished(library, pictures, away, broken, count + AWAY)


def _pictures(folder: Path) -> int:
    day, number = FIRST, 0
    for name, (latitude, longitude, kind) in PLACES.items():
        for step in range(EACH):
            number += 1
            day += timedelta(days=11, hours=3, minutes=17)
            where = latitude + 0.02 * step, longitude - 0.03 * step
            _save(folder / name / f"IMG_{number + 99:04}.jpg", Scene(kind, number), day, where)
    for step in range(PORTRAITS):
        day += timedelta(days=5)
        _save(folder / "People" / f"IMG_{500 + step}.jpg", Scene("portrait", 40 + step), day)
    first = folder / "Kyoto" / "IMG_0100.jpg"
    shutil.copy(first, folder / "Kyoto" / "IMG_0100 copy.jpg")
    with Image.open(folder / "Zermatt" / "IMG_0112.jpg") as large:
        small = large.resize((large.width // 2, large.height // 2))
        small.save(folder / "Zermatt" / "IMG_0112 small.jpg", quality=80, exif=large.getexif())
    return number + PORTRAITS + 1 + 1


def _save(path: Path, scene: Scene, taken: datetime, where: tuple[float, float] | None = None) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Example", "Example 5"
    exif.get_ifd(_EXIF)[_TAKEN] = taken.strftime("%Y:%m:%d %H:%M:%S")
    if where is not None:
        latitude, longitude = where
        exif.get_ifd(_GPS).update(
            {
                1: "N" if latitude >= 0 else "S",
                2: _sexagesimal(latitude),
                3: "E" if longitude >= 0 else "W",
                4: _sexagesimal(longitude),
            }
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(scene).save(path, quality=90, exif=exif)


def _sexagesimal(degrees: float) -> tuple[float, float, float]:
    whole, rest = divmod(abs(degrees) * 60, 60)
    minutes = int(rest)
    return float(whole), float(minutes), round((rest - minutes) * 60, 2)


def _fill(database: Path) -> None:
    """Faces, people, albums and hearts, as if people and the passes had made them."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = ON")
        rows = connection.execute("SELECT id, path, width, height FROM photos ORDER BY id").fetchall()
        portraits = [row for row in rows if b"People" in bytes(row[1])]
        now = 1_700_000_000_000_000
        for number, name in enumerate(PEOPLE, start=1):
            kind = "pet" if name == "Mochi" else "person"
            connection.execute("INSERT INTO people (id, name, kind) VALUES (?, ?, ?)", (number, name, kind))
        random = np.random.default_rng(1)
        for number, (photo, _, width, height) in enumerate(portraits):
            person = number % len(PEOPLE) + 1
            vector = random.normal(size=128)
            vector /= np.linalg.norm(vector)
            x, y, reach = FACE
            across, up = reach * min(width, height) / width, reach * min(width, height) / height
            box = (x - across, y - up * 1.2, x + across, y + up * 1.2)
            connection.execute(
                'INSERT INTO faces (photo_id, "left", "top", "right", "bottom", score, quality, model,'
                " embedding, person_id, confirmed) VALUES (?, ?, ?, ?, ?, 0.9, 0.8, 'drawn', ?, ?, 0)",
                (photo, *box, vector.astype("<f2").tobytes(), person),
            )
            connection.execute(
                "INSERT INTO photo_people (photo_id, person_id, source) VALUES (?, ?, 'face')",
                (photo, person),
            )
        ids = [row[0] for row in rows]
        for album, (name, members) in enumerate(
            {"Kyoto": ids[:5], "Best of 2019": ids[8:20]}.items(), start=1
        ):
            connection.execute(
                "INSERT INTO albums (id, name, created_at) VALUES (?, ?, ?)", (album, name, now)
            )
            connection.executemany(
                "INSERT INTO album_photos (album_id, photo_id, added_at) VALUES (?, ?, ?)",
                [(album, photo, now) for photo in members],
            )
        connection.executemany("UPDATE photos SET favourite = 1 WHERE id = ?", [(one,) for one in ids[::9]])


if __name__ == "__main__":
    print(furnish(Path(sys.argv[1])))
