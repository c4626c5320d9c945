"""Spelling that does not matter: one key for every way to write a place's name.

Latin letters lose case and diacritics ("Zürich" = "zurich"), apostrophes and full stops vanish ("Xi'an" =
"xian", "U.S." = "us"), hyphens part words, "St" is "saint". Han characters become simplified Chinese, whether
they were written traditional or Japanese (東京 = 东京, 横浜 = 横滨).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u3005\u3007"
"""What counts as a Chinese character here, as a regular expression's character class."""

_LETTERS = "A-Za-z0-9\u00c0-\u024f\u02b0-\u02ff\u0300-\u036f\u1e00-\u1eff"
_TOKEN = re.compile(rf"(?P<han>[{HAN}])|[{_LETTERS}]+(?:['’ʼ`.][{_LETTERS}]+)*")
_ALL_HAN = re.compile(rf"[{HAN}]+(?:[·・][{HAN}]+|[-－—–][{HAN}]+)*")
_JOINERS = re.compile(r"[·・\-－—–\s]")
_UNHEARD = re.compile(r"['’ʼ`.ʻʿʾ]")
_LATIN = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "ħ": "h", "ə": "a"}
)
_SHORT = {"st": "saint", "ste": "sainte", "mt": "mount", "ft": "fort"}

Han = Mapping[int, int]
"""A map of characters for `str.translate`: traditional and Japanese forms to simplified ones."""


def is_han(text: str) -> bool:
    """Whether `text` is a name in Chinese characters alone (a dot or a hyphen may part them)."""
    return _ALL_HAN.fullmatch(text) is not None


def tokens(text: str) -> list[tuple[int, int, bool]]:
    """Cuts a sentence into (start, end, is a Han character): each Han character alone, Latin words whole."""
    return [(found.start(), found.end(), found["han"] is not None) for found in _TOKEN.finditer(text)]


def fold_han(text: str, simplified: Han) -> str:
    """A name in Chinese characters as its key: simplified, without dots, hyphens and spaces."""
    return _JOINERS.sub("", unicodedata.normalize("NFKC", text)).translate(simplified)


def fold_word(word: str) -> str:
    """One Latin word as it stands in a key; empty when nothing of it counts."""
    bare = _UNHEARD.sub("", word).casefold().translate(_LATIN)
    if not bare.isascii():
        decomposed = unicodedata.normalize("NFKD", bare)
        bare = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
        bare = "".join(letter for letter in bare.translate(_LATIN) if letter.isalnum())
    return _SHORT.get(bare, bare)


def fold(name: str, simplified: Han) -> str:
    """The key of a whole name in either script; empty for a name in neither."""
    if is_han(name):
        return fold_han(name, simplified)
    spans = tokens(name)
    if not spans or any(han for _, _, han in spans):
        return ""
    return " ".join(filter(None, (fold_word(name[start:end]) for start, end, _ in spans)))
