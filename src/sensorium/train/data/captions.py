"""Pictures with names: photos captioned by hand in both languages, stamps, emoji and drawings."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from PIL import Image, ImageDraw, ImageFont

Kind = Literal["photo", "stamp", "emoji", "drawing"]

_DRAWINGS = frozenset(
    {
        "animals",
        "buildings",
        "containers",
        "decorations",
        "education",
        "electronics",
        "food",
        "office",
        "people",
        "plants",
        "recreation",
        "science",
        "tools",
        "transportation",
        "unsorted",
    }
)
_SYMBOLS = re.compile(r"/symbols/(alphabets|math|money/00|music|chess|shapes)")
_EMOJI_PIXELS = 109  # the only size in which the Noto font has its pictures


@dataclass(frozen=True)
class Captioned:
    """A picture file and the texts that name it; any of them may be shown with it in training."""

    path: Path
    kind: Kind
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """Classes of ImageNet that share a name: "a dog", "a beach"; ``members`` maps class to weight."""

    english: str
    chinese: str
    members: dict[int, float]


def data_lines(name: str) -> list[str]:
    """The lines of a text file beside this module."""
    return resources.files("sensorium.train.data").joinpath(name).read_text("utf-8").splitlines()


@cache
def chinese_class_names() -> tuple[str, ...]:
    """The Chinese names of ImageNet's 1,000 classes, in its order."""
    return tuple(" ".join(data_lines("class_names_zh.txt")).split())


@cache
def groups() -> tuple[Group, ...]:
    """Groups of classes. A line is ``english|chinese|0-6,389*0.5``: ranges of classes, optional weights."""
    found = []
    for line in data_lines("concept_groups.txt"):
        english, chinese, ranges = line.split("|")
        members: dict[int, float] = {}
        for part in ranges.split(","):
            span, _, weight = part.partition("*")
            first, _, last = span.partition("-")
            for number in range(int(first), int(last or first) + 1):
                members[number] = max(members.get(number, 0.0), float(weight or 1))
        found.append(Group(english, chinese, members))
    return tuple(found)


def photos(folder: Path) -> list[Captioned]:
    """The captioned photos, from lines ``package/path|english|chinese``; ``;;`` parts two captions."""
    rows = (line.split("|") for line in data_lines("photo_captions.txt"))
    return [
        Captioned(folder / path, "photo", (*english.split(";;"), *chinese.split(";;")))
        for path, english, chinese in rows
    ]


def stamps(folder: Path) -> list[Captioned]:
    """Tux Paint's stamps: the text beside each starts with its English name; translations follow."""
    found = []
    for path in sorted((folder / "tuxpaint-stamps-default").rglob("*.png")):
        text = path.with_suffix(".txt")
        if not text.is_file():
            text = text.with_name(re.sub(r"_(mirror|flip)\.txt$", ".txt", text.name))
        if _SYMBOLS.search(path.as_posix()) or not text.is_file():
            continue
        lines = text.read_text("utf-8", errors="replace").splitlines()
        chinese = [line.partition("=")[2].rstrip("。") for line in lines if line.startswith("zh_CN")][:1]
        found.append(Captioned(path, "stamp", (lines[0].strip().rstrip("."), *chinese)))
    return found


def drawings(folder: Path) -> list[Captioned]:
    """Open Clip Art's drawings of things, named by their files and folders."""
    found = []
    root = folder / "openclipart-png" / "usr" / "share" / "openclipart" / "png"
    for path in sorted(root.rglob("*.png")):
        parts = path.relative_to(root).parts
        if parts[0] in _DRAWINGS:
            name = " ".join(re.sub(r"[\W_\d]+", " ", path.stem.lower()).split())
            found.append(Captioned(path, "drawing", (name, f"{name}, {parts[-2].replace('_', ' ')}")))
    return found


def emoji(folder: Path) -> list[Captioned]:
    """Noto's emoji drawn into ``folder / "emoji"``, with Emojibase's names and keywords in both languages."""
    fonts = folder / "fonts-noto-color-emoji"
    [font_path] = fonts.rglob("NotoColorEmoji.ttf")
    font = ImageFont.truetype(font_path, _EMOJI_PIXELS)
    names = folder / "emojibase-data" / "package"
    english, chinese = (_emoji_names(names / language / "compact.json") for language in ("en", "zh"))
    drawn = folder / "emoji"
    drawn.mkdir(exist_ok=True)
    found = []
    for code, entry in english.items():
        path = drawn / f"{code}.png"
        if not path.is_file() and not _draw(entry["unicode"], font, path):
            continue
        texts = _emoji_texts(entry, ", ") + _emoji_texts(chinese.get(code, {}), "，")
        found.append(Captioned(path, "emoji", texts))
    return found


def _emoji_names(path: Path) -> dict[str, Any]:
    return {entry["hexcode"]: entry for entry in json.loads(path.read_text("utf-8"))}


def _emoji_texts(entry: dict[str, Any], comma: str) -> tuple[str, ...]:
    if not entry:
        return ()
    return entry["label"], comma.join([entry["label"], *entry.get("tags", [])[:4]])


def _draw(character: str, font: ImageFont.FreeTypeFont, path: Path) -> bool:
    """Draw one emoji. False when the font has no single picture for it."""
    canvas = Image.new("RGBA", (170, 150), (255, 255, 255, 0))
    ImageDraw.Draw(canvas).text((10, 10), character, font=font, embedded_color=True)
    box = canvas.getbbox()
    if box is None or box[2] - box[0] < 60 or box[2] >= 168:
        return False
    canvas.crop(box).save(path)
    return True
