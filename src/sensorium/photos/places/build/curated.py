"""Names that people use and the public tables lack: read from this package's own text files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

FOLDER = Path(__file__).parents[1] / "data"


class Named(Protocol):
    """What curated names are given to."""

    name: str
    chinese: str
    names: set[str]


@dataclass(frozen=True, slots=True)
class Names:
    """One line of `names.tsv`: what a place is called instead, and what besides."""

    english: str
    chinese: str
    others: tuple[str, ...]


class Curated:
    """`names.tsv`: place <tab> English name <tab> Chinese name <tab> further names, parted by "|".

    A place is a country ("US"), a region ("US.CA") or the biggest town of a name in a country ("DE:Köln").
    """

    def __init__(self) -> None:
        self._names: dict[str, Names] = {}
        for line in (FOLDER / "names.tsv").read_text(encoding="utf-8").splitlines():
            if line and not line.startswith("#"):
                place, english, chinese, others = (*line.split("\t"), "", "", "")[:4]
                more = tuple(filter(None, others.split("|")))
                self._names[place] = Names(english, chinese, more)

    def cities(self) -> list[tuple[str, str]]:
        """The towns among them: country and name."""
        return [(place[:2], place[3:]) for place in self._names if place[2:3] == ":"]

    def apply(self, place: str, row: Named) -> None:
        """Gives a row its curated names; the names it had keep finding it."""
        names = self._names.get(place)
        if names is None:
            return
        row.names |= {row.name, *names.others}
        if row.chinese:
            row.names.add(row.chinese)
        row.name = names.english or row.name
        row.chinese = names.chinese or row.chinese


def chinese_regions() -> dict[str, str]:
    """`regions_zh.txt`: the Chinese names of regions by their keys ("JP.22" -> "京都府")."""
    found = {}
    for line in (FOLDER / "regions_zh.txt").read_text(encoding="utf-8").splitlines():
        country, _, entries = line.partition(" ")
        if line and country != "#":
            for entry in entries.split():
                code, _, name = entry.partition("=")
                found[f"{country}.{code}"] = name
    return found


def listed(name: str) -> set[str]:
    """A text file of words, parted by spaces and lines; lines from "#" on are remarks."""
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    return {word for line in lines if not line.startswith("#") for word in line.split()}


def phrases() -> list[str]:
    """`phrases.txt`: what is called after a place and is not that place, a line each."""
    lines = (FOLDER / "phrases.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]
