"""Scenes to ask about: a few things that are seen whole, of which kind, colour, words and place are known.

Made of the same cut-outs, shapes and signs as ``scenes.py``, but laid side by side, so that "how many" and
"left of" have one answer; and of things whose name is certain (``question_things.txt``).

A scene is a pure function of the world and a seed.
"""

from __future__ import annotations

import math
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFont

from sensorium.media.image import read_image
from sensorium.train.data.captions import Captioned, data_lines, drawings, emoji, photos, stamps
from sensorium.train.data.scenes import (
    COLOURS,
    SHAPES,
    TEXTS,
    Canvas,
    Cutout,
    Name,
    World,
    background,
    cast_shadow,
    drawn_sign,
    filled_shape,
    lettering,
    opened,
)

MOST_ALIKE = 5  # how many things of one kind are counted to
_MOST_FILES = 40  # cut-outs of one kind
_TRIES = 40
_APART = 0.08  # share of the smaller of two boxes that may lie under the other


class Kind(NamedTuple):
    """What a thing is: its names, and the plural that English counts with."""

    english: str
    chinese: str
    plural: str


SIGN = Kind("sign", "牌子", "signs")
SHAPE_KINDS = {name: Kind(name.english, name.chinese, _plural) for name, _plural in zip(
    SHAPES,
    ("circles", "ovals", "squares", "rectangles", "triangles", "hexagons", "stars", "crosses"),
    strict=True,
)}  # fmt: skip


@dataclass(frozen=True)
class Item:
    """A thing in a scene, seen whole or nearly so.

    ``box`` is (left, top, right, bottom) as shares of the picture's sides.
    """

    kind: Kind
    box: tuple[float, float, float, float]
    colour: Name | None = None  # of shapes and signs
    text: str | None = None  # on signs
    letters: tuple[tuple[float, float], ...] = ()
    """Middles of the text's characters, (x, y) as shares of the sides."""

    @property
    def centre(self) -> tuple[float, float]:
        """The middle of its box."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2


@dataclass(frozen=True)
class Known:
    """What is known of a picture: its things, or captions of a whole photograph."""

    items: tuple[Item, ...]
    captions: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels uint8 [side, side, 3], and what is known of them."""

    pixels: NDArray[np.uint8]
    known: Known
    cover: NDArray[np.uint8]
    """One more than the number of the item that is seen at each pixel, or 0: [side, side]."""


@dataclass(frozen=True)
class AskedWorld:
    """What scenes to ask about are made of."""

    things: dict[Kind, tuple[Cutout, ...]]
    scenery: World
    photos: tuple[Captioned, ...]
    fonts: tuple[Path, ...]


def asked_world(sources: Path, *, held: bool = False, hold_out: int = 6) -> AskedWorld:
    """All of the unpacked packages; a part is held back for measuring.

    One block of names in ``hold_out`` of each kind: variants of one drawing are on one side.
    """
    pictures = [*stamps(sources), *emoji(sources), *drawings(sources)]
    things = {}
    for kind, keys, others in _kinds():
        named = [picture for picture in pictures if _is(picture.texts[0].lower(), keys, others)]
        chosen = _side(named, hold_out, held)[:_MOST_FILES]
        if chosen:
            label = Name(kind.english, kind.chinese)
            things[kind] = tuple(Cutout(one.path, label, one.kind == "stamp") for one in chosen)
    told = _side(photos(sources), hold_out, held)
    fonts = sorted(path for path in sources.rglob("*.ttf") if "latin" in path.name)
    return AskedWorld(things, World((), tuple(one.path for one in told)), tuple(told), tuple(fonts))


def _kinds() -> list[tuple[Kind, frozenset[str], frozenset[str]]]:
    """Lines ``english|chinese|plural|words of names that are of this kind|words of those that are not``."""
    found = []
    for line in data_lines("question_things.txt"):
        english, chinese, plural, keys, others = line.split("|")
        kind = Kind(english, chinese, plural)
        found.append((kind, frozenset(keys.split(",")), frozenset(others.split(",")) - {""}))
    return found


def _is(name: str, keys: frozenset[str], others: frozenset[str]) -> bool:
    words = set(name.replace(",", " ").split())
    return bool(words & keys) and not words & others


def _side(pictures: list[Captioned], hold_out: int, held: bool) -> list[Captioned]:
    """Blocks of names in the order of a fixed number of each, every ``hold_out``-th held back."""
    blocks: dict[str, list[Captioned]] = {}
    for picture in pictures:
        letters = "".join(character for character in picture.path.stem.lower() if character.isalpha())
        blocks.setdefault(f"{picture.path.parent.name}/{letters}", []).append(picture)
    ordered = sorted(
        blocks, key=lambda block: (sum(ord(c) * 31**i for i, c in enumerate(block)) % 9973, block)
    )
    return [
        picture
        for number, block in enumerate(ordered)
        if (number % hold_out == 1) is held
        for picture in blocks[block]
    ]


def picture(made_of: AskedWorld, seed: int, side: int) -> Picture:
    """A scene, or one in eight times a photograph with its captions; side x side pixels."""
    random = np.random.default_rng(seed)
    if random.random() < 0.125:
        return _photograph(made_of, random, side)
    canvas = Canvas(background(made_of.scenery, random, side))
    items: list[Item] = []
    for wish in _wishes(made_of, random):
        item = _lay(canvas, made_of, wish, items, random)
        if item is not None:
            items.append(item)
    made = canvas.finished(random)
    cover = np.zeros((side, side), np.uint8)
    seen = [thing.mask for thing in made.things if thing.level == "object"]
    for number, mask in enumerate(seen, 1):
        cover[mask] = number
    return Picture(made.pixels, Known(tuple(items), ()), cover)


def _photograph(made_of: AskedWorld, random: np.random.Generator, side: int) -> Picture:
    """A photograph letterboxed as a user's is, or nearly all of it."""
    told = made_of.photos[int(random.integers(len(made_of.photos)))]
    image = read_image(told.path, smallest=side).convert("RGB")
    width, height = image.size
    keep = random.uniform(0.85, 1)
    left, top = (random.uniform(0, length * (1 - keep)) for length in (width, height))
    scale = side / max(width, height) / keep
    size = max(1, round(width * keep * scale)), max(1, round(height * keep * scale))
    size = min(size[0], side), min(size[1], side)
    part = image.resize(
        size, Image.Resampling.BILINEAR, (left, top, left + width * keep, top + height * keep)
    )
    if random.random() < 0.5:
        part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    canvas = Image.new("RGB", (side, side))
    canvas.paste(part, ((side - size[0]) // 2, (side - size[1]) // 2))
    return Picture(np.asarray(canvas), Known((), told.texts), np.zeros((side, side), np.uint8))


@dataclass(frozen=True)
class _Wish:
    """A thing to be laid: of a kind, if it is a shape in a colour, and how large."""

    kind: Kind
    size: float  # share of the side
    source: Literal["thing", "shape", "sign"]
    shape: Name | None = None
    colour: Name | None = None


def _wishes(made_of: AskedWorld, random: np.random.Generator) -> list[_Wish]:
    """One large thing; several of one kind, perhaps with others; or a few different ones."""
    how = random.random()
    if how < 0.2:
        return [_some(made_of, random, random.uniform(0.45, 0.9))]
    if how < 0.6:
        count = int(random.integers(1, MOST_ALIKE + 1))
        others = int(random.integers(0, 3))
        size = _share(random, count + others)
        first = _some(made_of, random, size, signs=False)
        rest = [_some(made_of, random, size) for _ in range(others)]
        return [first] * count + [wish for wish in rest if wish.kind != first.kind]
    count = int(random.integers(2, 6))
    return [_some(made_of, random, _share(random, count)) for _ in range(count)]


def _share(random: np.random.Generator, count: int) -> float:
    return float(random.uniform(0.24, min(0.5, 0.85 / math.sqrt(max(1, count)))))


def _some(made_of: AskedWorld, random: np.random.Generator, size: float, *, signs: bool = True) -> _Wish:
    how = random.random()
    if how < 0.3 and signs:
        return _Wish(SIGN, max(size, 0.35), "sign")
    if how < 0.55:
        shape = list(SHAPES)[int(random.integers(len(SHAPES)))]
        colour = list(COLOURS)[int(random.integers(len(COLOURS)))]
        return _Wish(SHAPE_KINDS[shape], size, "shape", shape, colour)
    kinds = list(made_of.things)
    return _Wish(kinds[int(random.integers(len(kinds)))], size, "thing")


def _lay(
    canvas: Canvas, made_of: AskedWorld, wish: _Wish, items: list[Item], random: np.random.Generator
) -> Item | None:
    """Lay it where nothing is yet; None where no place is found."""
    pixels = wish.size * canvas.side * random.uniform(0.85, 1.15)
    text: str | None = None
    colour = wish.colour
    letters: Image.Image | None = None
    offsets: list[tuple[float, float]] = []
    if wish.source == "sign":
        text = _words(random)
        colour = list(COLOURS)[int(random.integers(len(COLOURS)))]
        board = pixels, pixels * random.uniform(0.35, 0.6)
        font = _font(made_of, board, text, random)
        drawn, letters, angle = drawn_sign(board, text, COLOURS[colour], font, random)
        offsets = _spread(text, font, angle)
    elif wish.source == "shape":
        drawn = filled_shape(random, pixels, shape=wish.shape, colour=wish.colour)[0]
    else:
        drawn = _cut(made_of.things[wish.kind], random, pixels)
    width, height = drawn.width / canvas.side, drawn.height / canvas.side
    for _ in range(_TRIES):
        x, y = (_middle(random, length) for length in (width, height))
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        if all(_under(box, other.box) < _APART for other in items):
            break
    else:
        return None
    place = x * canvas.side, y * canvas.side
    name = Name(wish.kind.english, wish.kind.chinese)
    canvas.lay(drawn, place, name, "object", shadow=cast_shadow(random))
    if letters is not None:
        canvas.lay(letters, place, name, "part", new=False)
    seen = tuple(float(min(1.0, max(0.0, value))) for value in _tight(drawn, box))
    places = tuple((x + across / canvas.side, y + down / canvas.side) for across, down in offsets)
    return Item(wish.kind, (seen[0], seen[1], seen[2], seen[3]), colour, text, places)


def _cut(among: tuple[Cutout, ...], random: np.random.Generator, pixels: float) -> Image.Image:
    """One of a kind's cut-outs that can be used, or when none of a few can, the first that can."""
    order = random.permutation(len(among))
    for number in order:
        found = opened(among[int(number)], random, pixels)
        if found is not None:
            return found
    raise ValueError(f"no picture of {among[0].name.english} has transparent surroundings")


def _middle(random: np.random.Generator, length: float) -> float:
    return float(random.uniform(length / 2, 1 - length / 2)) if length < 1 else 0.5


def _under(box: tuple[float, ...], other: tuple[float, ...]) -> float:
    across = min(box[2], other[2]) - max(box[0], other[0])
    down = min(box[3], other[3]) - max(box[1], other[1])
    smaller = min((b[2] - b[0]) * (b[3] - b[1]) for b in (box, other))
    return max(0.0, across) * max(0.0, down) / smaller


def _tight(drawn: Image.Image, box: tuple[float, float, float, float]) -> tuple[float, ...]:
    """The box of what is visible of a picture that was laid at ``box``."""
    found = drawn.getchannel("A").point([0] * 128 + [255] * 128).getbbox() or (0, 0, *drawn.size)
    width, height = (box[2] - box[0]) / drawn.width, (box[3] - box[1]) / drawn.height
    return (
        box[0] + found[0] * width,
        box[1] + found[1] * height,
        box[0] + found[2] * width,
        box[1] + found[3] * height,
    )


def _words(random: np.random.Generator) -> str:
    """A word of the list, or letters and digits that nobody has seen together."""
    if random.random() < 0.4:
        return TEXTS[int(random.integers(len(TEXTS)))]
    letters = string.digits if random.random() < 0.35 else string.ascii_uppercase
    count = int(random.integers(2, 6))
    return "".join(letters[int(number)] for number in random.integers(len(letters), size=count))


def _spread(
    text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, angle: float
) -> list[tuple[float, float]]:
    """How far the middle of each character of a centred text lies from its middle, in pixels."""
    ends = [font.getlength(text[:count]) for count in range(len(text) + 1)]
    turn = math.radians(angle)
    middles = [(ends[i] + ends[i + 1] - ends[-1]) / 2 for i in range(len(text))]
    return [(middle * math.cos(turn), -middle * math.sin(turn)) for middle in middles]


def _font(
    made_of: AskedWorld, board: tuple[float, float], text: str, random: np.random.Generator
) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    size = lettering(board, text)
    number = int(random.integers(len(made_of.fonts) + 2))
    if number >= len(made_of.fonts):
        return ImageFont.load_default(size)
    return ImageFont.truetype(made_of.fonts[number], size)
