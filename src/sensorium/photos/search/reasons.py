"""Why a photo is in an answer, in a line of English and one of Chinese."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

from sensorium.photos.describe.moments import local_time
from sensorium.photos.files.names import printable
from sensorium.photos.query.model import Query, Term, Times
from sensorium.photos.search.filters import camera_name

PHOTO, UPLOAD = "photo:", "upload:"
"""What names of pictures in a query begin with when they are no paths: a photo's id, something sent here."""

_LONGEST_QUOTE = 60
_MEDIA = {
    "photo": "照片",
    "video": "视频",
    "screenshot": "截图",
    "animation": "动图",
    "panorama": "全景照片",
    "raw": "RAW 文件",
    "live": "实况照片",
}
_STANDING = {
    "places": ("the name of its place says so", "地名相符"),
    "people": ("it names who is on it", "写有其中的人名"),
    "text": ("text in the picture says so", "图中的文字相符"),
}
_TOLD = {"caption": "说明", "title": "标题", "keywords": "关键词"}


class Said(NamedTuple):
    """The same in English and Chinese."""

    en: str
    zh: str


@dataclass(frozen=True, slots=True)
class Match:
    """A photo whose own words match: how likely it shows that, and where they stand (None: scattered)."""

    likelihood: float
    column: str | None


def reasons(
    query: Query,
    terms: Sequence[Term],
    words: Mapping[int, Match],
    *,
    verdict: str,
    line_of: Callable[[int], str | None] = lambda photo: None,
) -> Callable[[Any], Said]:
    """What explains a photo from its row.

    ``verdict`` says how well it looks like the terms: "found", "weak", or "closest" where nothing was found.
    ``line_of`` gives the line of the text in a photo (id) that was asked for.
    """
    looked = _looks_like(terms, verdict)

    def why(row: Any) -> Said:
        match = words.get(row.id)
        line = line_of(row.id) if match and match.column == "text" else None
        parts = [_said(row, match.column, query.text)] if match and not line else []
        parts += [Said(f"text in it reads “{_short(line)}”", f"图中写着“{_short(line)}”")] if line else []
        parts += [looked] if looked else []
        parts += _facts(query, row)
        if not parts:
            return Said("fits all that was asked for", "符合所有条件")
        return Said(", ".join(part.en for part in parts), "，".join(part.zh for part in parts))

    return why


def like_picture(name: str) -> Said:
    """Why a photo was found that looks like a picture of this name."""
    return Said(f"looks like {name}", f"与 {name} 相似")


def _looks_like(terms: Sequence[Term], verdict: str) -> Said | None:
    alike = {
        "found": ("looks like", "看起来像"),
        "weak": ("looks a little like", "看起来有点像"),
        "closest": ("came closest to looking like", "最接近"),
    }[verdict]
    wanted = [_named(term) for term in terms if term.weight > 0]
    unwanted = [_named(term) for term in terms if term.weight < 0]
    parts: list[Said] = []
    if wanted:
        en, zh = " and ".join(name.en for name in wanted), "和".join(name.zh for name in wanted)
        parts.append(Said(f"{alike[0]} {en}", f"{alike[1]}{zh}"))
    if unwanted:
        en, zh = " or ".join(name.en for name in unwanted), "或".join(name.zh for name in unwanted)
        parts.append(Said(f"not like {en}" if wanted else f"does not look like {en}", f"不像{zh}"))
    if not parts:
        return None
    return Said(", ".join(part.en for part in parts), "，".join(part.zh for part in parts))


def _named(term: Term) -> Said:
    if term.words is not None:
        quoted = f"“{printable(term.words)}”"
        return Said(quoted, quoted)
    image = term.image or ""
    if image.startswith((PHOTO, UPLOAD)):
        return Said("the picture", "那张图片")
    name = printable(image.rpartition("/")[2])
    return Said(name, name)


def _said(row: Any, column: str | None, text: str) -> Said:
    """Which words of a photo match."""
    if column == "words":
        return _told(row, text)
    if column == "name":
        name = printable(row.path.rpartition("/")[2])
        return Said(f"its name is {name}", f"文件名是 {name}")
    if column == "folders":
        folder = printable(row.path.rpartition("/")[0] or row.root)
        return Said(f"it lies in {folder}", f"位于 {folder}")
    return Said(*_STANDING.get(column or "", ("its own words say so", "它自带的文字相符")))


def _told(row: Any, text: str) -> Said:
    """Which of caption, title and keywords says a text."""
    wanted = [word.casefold() for word in text.split()]
    for name, zh in _TOLD.items():
        value = getattr(row, name)
        if value and any(word in value.casefold() for word in wanted):
            quoted = _short(", ".join(json.loads(value)) if name == "keywords" else value)
            says = "say" if name == "keywords" else "says"
            return Said(f"its {name} {says} “{quoted}”", f"{zh}写着“{quoted}”")
    return Said("its caption or keywords say so", "说明或关键词相符")


def _short(text: str) -> str:
    line = printable(" ".join(text.split()))
    return line if len(line) <= _LONGEST_QUOTE else line[: _LONGEST_QUOTE - 1].rstrip() + "…"


def _facts(query: Query, row: Any) -> list[Said]:
    """The slots that the photo fits, with its own facts."""
    parts = []
    if query.places:
        from sensorium.photos import places

        located = places.Located(row.country, row.region, row.city)
        asked = query.places[0]
        en, zh = places.label(located) or asked, places.label(located, "zh") or asked
        parts.append(Said(f"taken in {en}", f"拍摄于{zh}"))
    timed = bool(Times(query.after, query.before, query.months))
    taken = local_time(row.taken_at, row.taken_offset) if timed else None
    if taken is not None:
        one_day = query.after and query.before and query.before - query.after <= timedelta(days=1)
        month = f"{taken.year}年{taken.month}月"
        parts.append(
            Said(f"on {taken:%Y-%m-%d}", f"{month}{taken.day}日")
            if one_day
            else Said(f"in {taken:%B %Y}", month)
        )
    if query.people:
        parts.append(Said(f"with {' and '.join(query.people)}", f"有{'和'.join(query.people)}"))
    if query.camera:
        camera = camera_name(row.camera_make, row.camera_model)
        parts.append(Said(f"by {camera}", f"用 {camera} 拍摄"))
    if query.media:
        en = f"is a {query.media}" if query.media != "raw" else "is a raw file"
        parts.append(Said(en, f"是{_MEDIA[query.media]}"))
    if query.excluded and not parts:
        parts.append(Said(f"without {' or '.join(query.exclude)}", f"不含{'或'.join(query.exclude)}"))
    return parts
