"""Text matches: what a full-text index is given, and the expression that a person's words become.

SQLite's FTS5 cuts text at spaces and signs, which finds no Chinese word and no part of a file name. So text
is prepared: Chinese and kana in pairs, then single characters; `IMG_2041` and `BeachSunset` in their parts
and whole; what holds a digit also from each of its characters on, so that its inside can be looked for.
Traditional characters become simplified. The same is done to what people type, and nothing of that reaches
FTS5 but letters and digits in quotation marks: `NEAR`, `*`, `^`, `:` and quotes are words or nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from sensorium.photos.places.table import table

LONGEST_CODE = 24
"""Characters of a code or number that are also kept from each of them on."""

SHORTEST_PART = 3
"""Characters of a code that are looked for inside others; fewer must be the whole."""

MOST_TERMS = 24
"""Words of a query that are looked for; the rest is dropped (FTS5 bounds the depth of an expression)."""

_CJK = "\u3005\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_RUN = re.compile(rf"(?P<cjk>[{_CJK}]+)|[^\W_{_CJK}]+")
_MIDDLE_DOT = re.compile(r"(?<=\w)[·•・‧](?=\w)")
_DIGITS = re.compile(r"\d+|\D+")
GRAMMAR = frozenset(
    re.findall(
        r"\w+",
        "a an and are at by for from in is it my of on or our the their this that to was were with "
        "的 了 在 和 与 是 我 们 我们 里 有",
    )
)
"""Words that say nothing about a photo: not asked for, unless there is nothing else."""


def indexed(text: str) -> str:
    """Prepares text for a column of the full-text index.

    Every byte a file name may hold is safe here: lone surrogates, NUL and signs part words.

    Args:
        text: a file name, folder names, a caption, names of places or people; in any writing.
    """
    found: dict[str, None] = {}
    phrases = []
    for run, is_cjk in runs(text):
        if is_cjk:
            phrases += [*_pairs(run), *run]
            continue
        parts = _parts(run)
        phrases.extend(parts)
        if len(parts) > 1:
            found[run.casefold()] = None
        if any(character.isdigit() for character in run):
            whole = run.casefold()[:LONGEST_CODE]
            found |= dict.fromkeys(whole[at:] for at in range(1, len(whole) - SHORTEST_PART + 1))
    return " ".join([*phrases, *found])


def indexed_lines(text: str) -> str:
    """Prepares text that was seen in a picture, line by line, for a column of the full-text index.

    Readers of text part what belongs together: a short line with digits, such as a number plate, is also kept
    without its spaces and signs.
    """
    lines = text.split("\n")
    joined = [
        "".join(run for run, _ in runs(line))
        for line in lines
        if len(line) <= LONGEST_CODE and any(character.isdigit() for character in line)
    ]
    return indexed("\n".join([*lines, *(line for line in joined if line not in lines)]))


def match(text: str) -> str | None:
    """Builds the FTS5 expression that finds what a person typed; None when there is no word in it.

    Args:
        text: as typed; all its words must be there.
    """
    terms = [(run, is_cjk) for run, is_cjk in runs(text) if run]
    telling = [term for term in terms if term[0].casefold() not in GRAMMAR]
    built = dict.fromkeys(_cjk_term(run) if is_cjk else _term(run) for run, is_cjk in telling or terms)
    return " AND ".join(list(built)[:MOST_TERMS]) or None


def runs(text: str) -> Iterator[tuple[str, bool]]:
    """Cuts text into runs of Chinese characters (True) and of other letters and digits, signs left out."""
    sound = text.encode("utf-8", "ignore").decode()
    plain = unicodedata.normalize("NFKC", sound).translate(table().simplified)
    for run in _RUN.finditer(_MIDDLE_DOT.sub("", plain)):
        yield run[0], run["cjk"] is not None


def _pairs(run: str) -> list[str]:
    """Neighbouring characters two by two, in order, so that a phrase of pairs is a stretch of the text."""
    return [run[at : at + 2] for at in range(len(run) - 1)]


def _parts(run: str) -> list[str]:
    """The words in a run: parted where digits begin or end and where capitals begin a word."""
    parts: list[str] = []
    for piece in _DIGITS.findall(run):
        start = 0
        for at in range(1, len(piece)):
            before, here, after = piece[at - 1], piece[at], piece[at + 1 : at + 2]
            if here.isupper() and (before.islower() or (before.isupper() and after.islower())):
                parts.append(piece[start:at])
                start = at
        parts.append(piece[start:])
    return [part.casefold() for part in parts]


def _cjk_term(run: str) -> str:
    """Chinese characters as typed, found as a stretch: a phrase of pairs, or one character alone."""
    return f'"{" ".join(_pairs(run) or [run])}"'


def _term(run: str) -> str:
    """One word or code: whole, as the phrase of its parts, in the plural, or inside a longer code."""
    whole, parts = run.casefold(), _parts(run)
    ways = [f'"{whole}"']
    if len(parts) > 1:
        ways.append(f'"{" ".join(parts)}"')
    if any(character.isdigit() for character in run):
        if SHORTEST_PART <= len(whole) <= LONGEST_CODE:
            ways.append(f'"{whole}" *')
    elif len(whole) > 2 and whole.isascii():
        ways.append(f'"{whole[:-1] if whole.endswith("s") else whole + "s"}"')
    return ways[0] if len(ways) == 1 else f"({' OR '.join(ways)})"
