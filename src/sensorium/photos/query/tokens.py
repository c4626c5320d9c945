"""A sentence cut into tokens: words, numbers, dates in figures, Chinese characters, quotes, files, marks.

Chinese has no blanks, so each of its characters is a token and a phrase is a run of tokens in both
languages. A hyphen, an apostrophe or a dot inside a word belongs to it: "t-shirt", "IMG_2019.jpg".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

Kind = Literal["word", "number", "date", "han", "quote", "file", "mark"]

IMAGE_ENDINGS = (
    *("jpg", "jpeg", "jpe", "png", "webp", "heic", "heif", "avif", "bmp", "gif", "tif", "tiff"),
    *("dng", "cr2", "cr3", "nef", "arw", "orf", "rw2", "raf"),
)
"""Endings of the files that can be summands, without the dot."""

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\u3007"
_LETTER = rf"(?:(?![{_HAN}])\w)"
# Each alternative consumes what it matches and none repeats a repetition: the scan is linear.
_TOKENS = re.compile(
    rf"""
      (?P<quote> "[^"]*" | “[^”]*” | 「[^」]*」 | 『[^』]*』 )
    | (?P<file> (?<![\w.]) [\w./\\~:()+-]{{1,200}} \. (?i:{"|".join(IMAGE_ENDINGS)}) (?!{_LETTER}) )
    | (?P<date> (?<![\w.]) (?: \d{{4}}(?P<sep>[-/.])\d{{1,2}}(?P=sep)\d{{1,2}}
                              | \d{{1,2}}(?P<mid>[/.-])\d{{1,2}}(?P=mid)\d{{4}} ) (?!{_LETTER}) )
    | (?P<month> (?<![\w.-]) \d{{4}}[-/]\d{{2}} (?![\w/-]) )
    | (?P<number> \d+ (?:\.\d+)? (?!{_LETTER}) )
    | (?P<han> [{_HAN}] )
    | (?P<possessive> (?<=\w)['’][sS] (?!{_LETTER}) )
    | (?P<word> {_LETTER}+ (?: ['’.&-] (?![sS]\b) {_LETTER}+ )* )
    | (?P<mark> [^\s] )
    """,
    re.VERBOSE,
)

# Traditional characters of the words that the grammar knows, one to one.
_SIMPLE = str.maketrans(
    "個沒聖誕節慶國過這週後從間東陽歲與圖畫視頻動態實況僅別無隻張幾顯尋幫給鐘樂裡勞婦兒師親萬",
    "个没圣诞节庆国过这周后从间东阳岁与图画视频动态实况仅别无只张几显寻帮给钟乐里劳妇儿师亲万",
)


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the sentence from ``start`` until ``end``. ``key`` is what is compared: folded text."""

    start: int
    end: int
    kind: Kind
    text: str
    key: str

    @property
    def number(self) -> int | None:
        """Its value, for a whole number of at most eight figures."""
        if self.kind != "number" or len(self.key) > 8 or not self.key.isdecimal():
            return None
        return int(self.key)

    @property
    def capital(self) -> bool:
        """Whether it is written with a capital."""
        return self.text[:1].isupper()


def tokenize(sentence: str) -> list[Token]:
    """The tokens of a sentence, in order; what is between them is blank."""
    return [_token(match) for match in _TOKENS.finditer(sentence)]


def _token(match: re.Match[str]) -> Token:
    group = match.lastgroup
    kind: Kind = "mark"
    if group in ("date", "month"):
        kind = "date"
    elif group in ("word", "possessive"):
        kind = "word"
    elif group == "quote":
        kind = "quote"
    elif group == "file":
        kind = "file"
    elif group == "number":
        kind = "number"
    elif group == "han":
        kind = "han"
    return Token(match.start(), match.end(), kind, match[0], fold(match[0]))


def fold(text: str) -> str:
    """Text for comparison: no case, straight apostrophes, simplified characters."""
    return text.casefold().replace("’", "'").translate(_SIMPLE)


Value = TypeVar("Value")


class Phrases(Generic[Value]):
    """Phrases in either language and what each means; the longest one at a token is found in a few steps."""

    def __init__(self, phrases: Mapping[str, Value] | Iterable[tuple[str, Value]]) -> None:
        pairs = phrases.items() if isinstance(phrases, Mapping) else phrases
        self._values: dict[tuple[str, ...], Value] = {}
        self._lengths: dict[str, list[int]] = {}
        for phrase, value in pairs:
            key = tuple(token.key for token in tokenize(phrase))
            self._values[key] = value
            lengths = self._lengths.setdefault(key[0], [])
            if len(key) not in lengths:
                lengths.append(len(key))
                lengths.sort(reverse=True)

    def at(self, tokens: list[Token], index: int) -> tuple[Value, int] | None:
        """The meaning of the longest phrase that begins at a token, and the index of the token after it."""
        if index >= len(tokens):
            return None
        for length in self._lengths.get(tokens[index].key, ()):
            key = tuple(token.key for token in tokens[index : index + length])
            if len(key) == length and key in self._values:
                return self._values[key], index + length
        return None

    def ending(self, tokens: list[Token], index: int, longest: int = 4) -> int | None:
        """Where the phrase begins that ends just before a token, or None."""
        for start in range(max(0, index - longest), index):
            found = self.at(tokens, start)
            if found is not None and found[1] == index:
                return start
        return None
