"""The index of names: sorted keys, the rows that each may mean, and what else each may be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sensorium.photos.places.build.curated import listed, phrases
from sensorium.photos.places.build.rows import Row, read
from sensorium.photos.places.fold import Han, fold, fold_han, is_han
from sensorium.photos.places.table import ALIAS, COMMON, ONLY_CAPITALS, WELL_KNOWN_HAN

WELL_KNOWN = 300_000
"""A place of so many inhabitants is meant by its name, even where a rare word or a first name is the same."""

REGION_ENDINGS = (
    "特别行政区",
    "自治区",
    "自治州",
    "共和国",
    "边疆区",
    "地区",
    "大区",
    "州",
    "省",
    "县",
    "府",
    "都",
    "邦",
)

TOWN_ENDINGS = ("市", "县", "区", "镇", "乡", "村", "岛", "国")

NAMING = ("ns", "nrt", "nr", "nt")
"""jieba's marks of words that name places, persons and organisations."""

BEFORE = "在到去从和与的了回来往至自给对向被把让及"
"""Characters that stand before the name of a place: a word that begins with one (在上) is two words there."""


@dataclass(slots=True)
class Entry:
    """One key: rows with a flag each, and flags of its own."""

    rows: dict[int, int] = field(default_factory=dict)
    flags: int = 0


@dataclass(frozen=True, slots=True)
class Words:
    """Ordinary words: certain ones, those that give way to a well-known place, and names that are none."""

    certain: frozenset[str]
    possible: frozenset[str]
    never: frozenset[str]


def english(words: Path, *names: Path) -> Words:
    """English words by how usual they are (SCOWL's sizes), and first names."""
    sizes = {
        size: {str(word).casefold() for word in read(words / f"package/english-words-{size}.json")}
        for size in (10, 20, 35, 40, 50, 55, 60, 70)
    }
    usual = sizes[10] | sizes[20] | sizes[35]
    first = {str(name).casefold() for folder in names for name in read(folder / "package/data/names.json")}
    rest = first.union(*(sizes[size] for size in (40, 50, 55, 60, 70)))
    places = listed("not_words.txt")
    return Words(frozenset(usual | listed("words.txt")), frozenset(rest - usual), frozenset(places))


def index(groups: Sequence[Sequence[Row]], simplified: Han, words: Words) -> dict[str, Entry]:
    """Every key of every row; rows are numbered through countries, regions, towns."""
    entries: dict[str, Entry] = defaultdict(Entry)
    weight: list[float] = []
    number = 0
    for kind, rows in enumerate(groups):
        for row in rows:
            known = float("inf") if kind < 2 and row.population > 0 else row.population
            weight.append(known)
            for name, flag in _names(row, kind):
                key = fold(name.removeprefix("^"), simplified)
                if not key or (is_han(name) and len(key) < 2):
                    continue
                entry = entries[key]
                entry.rows[number] = min(flag, entry.rows.get(number, ALIAS))
                if name.startswith("^"):
                    entry.flags |= ONLY_CAPITALS
            number += 1
    for key, entry in entries.items():
        entry.flags |= COMMON * _is_common(key, max(weight[row] for row in entry.rows), words)
    return dict(entries)


def _names(row: Row, kind: int) -> Iterable[tuple[str, int]]:
    """All names of a row with the flag of each; regions also without the ending that says what they are."""
    yield row.name, 0
    if row.chinese:
        yield row.chinese, 0
    for name in row.names:
        yield name, 0
    if kind == 1:
        for name in (row.chinese, *(name for name in row.names if is_han(name))):
            for ending in REGION_ENDINGS:
                if name.endswith(ending) and len(name) - len(ending) >= 2:
                    yield name.removesuffix(ending), 0
                    break
    for name in row.aliases:
        yield name, ALIAS


def _is_common(key: str, known: float, words: Words) -> bool:
    """Whether a key is likelier an ordinary word than a place, were nothing else said."""
    if key in words.never or key in words.certain:
        return key not in words.never
    if not key.isascii():
        return len(key) == 2 and known < WELL_KNOWN_HAN
    if known >= WELL_KNOWN:
        return False
    parts = key.split(" ")
    return len(key) < 4 or all(part in words.certain or part in words.possible for part in parts)


def blockers(jieba: Path, groups: Sequence[Sequence[Row]], simplified: Han, keys: Iterable[str]) -> list[str]:
    """Words that hold or overlap the name of a known place: 三明治 is no 三明, 长沙发 no 长沙.

    A long word that begins with a place (中国史纲) speaks of that place, and so is none of them.
    """
    known = set()
    for kind, rows in enumerate(groups):
        known |= {
            fold_han(row.chinese, simplified) for row in rows if kind < 2 or row.population >= WELL_KNOWN_HAN
        }
    known = {name for name in known if 2 <= len(name) <= 4}
    firsts = {name[0] for name in known}
    lasts = {name[-1] for name in known} | set("".join(REGION_ENDINGS + TOWN_ENDINGS))
    taken = set(keys)
    found = set(phrases())
    for word, count in _ordinary(jieba):
        held = [
            i for n in (2, 3) for i in range(len(word) - n + 1) if len(word) > n and word[i : i + n] in known
        ]
        begins = any(word.startswith(name) for name in known if len(word) > len(name) + 1)
        crosses = count >= 100 and len(word) < 4 and (word[0] in lasts or word[-1] in firsts)
        full = word[:-1] in known and word[-1] in TOWN_ENDINGS
        if word not in taken and not begins and not full and (held or crosses):
            found.add(word)
    return sorted(found)


def _ordinary(jieba: Path) -> Iterable[tuple[str, int]]:
    """Chinese words of two to four characters that name nothing, with how often they were counted."""
    for line in (jieba / "jieba-0.42.1/jieba/dict.txt").read_text(encoding="utf-8").splitlines():
        word, count, kind = line.split(" ")
        if is_han(word) and 2 <= len(word) <= 4 and kind not in NAMING and word[0] not in BEFORE:
            yield word, int(count)
