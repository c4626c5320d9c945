"""Which languages does a model's card name, and is a question written in another script than theirs?"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

_SCRIPTS: dict[str, tuple[str, ...]] = {
    "zh": ("CJK", "BOPOMOFO"),
    "yue": ("CJK", "BOPOMOFO"),
    "ja": ("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"),
    "ko": ("HANGUL", "CJK"),
    **dict.fromkeys(("ru", "uk", "be", "bg", "mk", "kk", "ky", "mn"), ("CYRILLIC",)),
    "sr": ("CYRILLIC", "LATIN"),
    **dict.fromkeys(("ar", "fa", "ur", "ps"), ("ARABIC",)),
    **dict.fromkeys(("he", "yi"), ("HEBREW",)),
    **dict.fromkeys(("hi", "mr", "ne", "sa"), ("DEVANAGARI",)),
    "el": ("GREEK",),
    "th": ("THAI",),
    "lo": ("LAO",),
    "my": ("MYANMAR",),
    "km": ("KHMER",),
    "ka": ("GEORGIAN",),
    "hy": ("ARMENIAN",),
    "am": ("ETHIOPIC",),
    "bn": ("BENGALI",),
    "pa": ("GURMUKHI",),
    "gu": ("GUJARATI",),
    "ta": ("TAMIL",),
    "te": ("TELUGU",),
    "kn": ("KANNADA",),
    "ml": ("MALAYALAM",),
    "si": ("SINHALA",),
}
"""Language (ISO 639) to the first words of its letters' Unicode names; all others write Latin letters."""

_NAMES = {"CJK": "Chinese characters", "HIRAGANA": "Japanese kana", "KATAKANA": "Japanese kana"}
_FOREIGN = 0.25  # share of a question's letters: a foreign name or a formula is no foreign question
_FEWEST = 2  # letters: one alone is a symbol
_ANY = ("multilingual", "mul", "multi")


def languages_of(folder: Path) -> tuple[str, ...]:
    """The languages that the front matter of a model's ``README.md`` names, as ISO 639; () for none."""
    card = folder / "README.md"
    if not card.is_file():
        return ()
    front = re.match(r"---\s*\n(.*?)\n---", card.read_text("utf-8", errors="replace"), re.DOTALL)
    if front is None:
        return ()
    line = re.search(r"^language:[ \t]*(.*(?:\n[ \t]*-.*)*)", front[1], re.MULTILINE)
    if line is None:
        return ()
    listed = re.sub(r"^[ \t]*-", " ", line[1], flags=re.MULTILINE)
    found = re.findall(r"[A-Za-z]+(?:-[A-Za-z]+)?", listed)
    return tuple(dict.fromkeys(one.lower().partition("-")[0] for one in found))


def foreign_script(text: str, languages: Iterable[str]) -> str | None:
    """The script, for people, of a text that is largely written in letters of none of the languages.

    None when it is not, or nobody knows the languages. Formulas and foreign names in a question pass.
    """
    known = tuple(languages)
    if not known or any(one in _ANY for one in known):
        return None
    own = {"LATIN"} if any(one not in _SCRIPTS for one in known) else set()
    own.update(*(_SCRIPTS.get(one, ()) for one in known))
    own.add("LATIN")  # names and units are written in it everywhere
    written = (letter for letter in text if unicodedata.category(letter) in ("Lo", "Lu", "Ll"))
    letters = Counter(map(_script, written))
    foreign = Counter({script: count for script, count in letters.items() if script not in own})
    if foreign.total() < _FEWEST or foreign.total() <= _FOREIGN * letters.total():
        return None
    script = foreign.most_common(1)[0][0]
    return _NAMES.get(script, f"{script.capitalize()} letters")


def _script(letter: str) -> str:
    return unicodedata.name(letter, "OTHER").split()[0]
