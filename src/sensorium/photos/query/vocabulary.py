"""The vocabulary file: what English and Chinese words mean to the grammar, apart from the grammar itself."""

from __future__ import annotations

import functools
from configparser import ConfigParser
from importlib import resources

from sensorium.photos.query.tokens import Phrases


def phrases(section: str) -> Phrases[str]:
    """The phrases of a section by their meaning."""
    return Phrases((phrase, meaning) for meaning, said in _rows(section) for phrase in said)


def numbered(section: str) -> Phrases[int]:
    """The phrases of a section whose meanings are numbers."""
    return Phrases((phrase, int(meaning)) for meaning, said in _rows(section) for phrase in said)


def word_set(section: str) -> frozenset[str]:
    """The words of a section without meanings."""
    return frozenset(word for _, said in _rows(section) for word in said)


def _rows(section: str) -> list[tuple[str, list[str]]]:
    rows = _vocabulary()[section].items()
    return [(meaning, [word.strip() for word in said.split("|")]) for meaning, said in rows]


@functools.cache
def _vocabulary() -> ConfigParser:
    vocabulary = ConfigParser(delimiters=("=",), comment_prefixes=("#",), interpolation=None)
    vocabulary.optionxform = str  # type: ignore[assignment,method-assign]
    text = resources.files("sensorium.photos.query").joinpath("vocabulary.txt").read_text("utf-8")
    vocabulary.read_string(text)
    return vocabulary
