"""A small world of which everything is known: seeded composites with masks, names, colours, nesting.

Real photographs lie behind, cut-outs with alpha, shapes and signs lie on them. What is nested is known by
level: the part (a shape's core, the words on a sign), the object (the shape, the sign, the thing on a plate)
and the whole (everything on the plate). Names are in English and Chinese, so that captions, questions and
answers can be made of the same scenes.

A scene is a pure function of the world and a seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont

from sensorium.media.image import read_image
from sensorium.train.data.captions import Captioned, drawings, emoji, photos, stamps
from sensorium.train.data.scene_light import lit_thing, photographed

Level = Literal["part", "object", "whole"]
Bits = NDArray[np.bool_]
Rgb = tuple[int, int, int]


class Name(NamedTuple):
    """What a thing is called."""

    english: str
    chinese: str


COLOURS: dict[Name, Rgb] = {
    Name("red", "红色"): (214, 40, 40),
    Name("orange", "橙色"): (242, 132, 24),
    Name("yellow", "黄色"): (247, 208, 32),
    Name("green", "绿色"): (44, 150, 68),
    Name("blue", "蓝色"): (36, 96, 200),
    Name("purple", "紫色"): (122, 60, 168),
    Name("pink", "粉色"): (240, 130, 170),
    Name("brown", "棕色"): (122, 78, 44),
    Name("black", "黑色"): (26, 26, 28),
    Name("white", "白色"): (244, 244, 242),
    Name("grey", "灰色"): (134, 136, 140),
}
SIGN, PLATE, WORDS, CORE, GROUP = (
    Name("sign", "牌子"),
    Name("plate", "盘子"),
    Name("words", "文字"),
    Name("core", "中心"),
    Name("things on a plate", "盘子和上面的东西"),
)
TEXTS = (
    *("OPEN", "EXIT", "CAFE", "STOP", "TAXI", "BUS", "SALE", "HOTEL", "NO", "HELLO", "BOOK", "MILK"),
    *("ZOO", "ART", "7", "24", "42", "99", "108", "365"),
)
SMALLEST = 0.002
"""Share of the picture that a thing must show to be asked for."""

LARGEST = 25_000_000
"""Pixels of a cut-out's file; larger ones would take seconds each."""


@dataclass(frozen=True)
class Cutout:
    """A picture with an alpha channel, and what it shows; without Chinese words both names are English."""

    path: Path
    name: Name
    real: bool  # a photograph of a thing, or a drawing


@dataclass(frozen=True)
class World:
    """What scenes are made of."""

    cutouts: tuple[Cutout, ...]
    backgrounds: tuple[Path, ...]


@dataclass(frozen=True, eq=False)
class Thing:
    """Something in a scene.

    Attributes:
        mask: The pixels of it that are seen, bool [side, side].
        parent: Number of the smallest thing that holds it, None for what stands alone.
        colour: Of a shape, a plate or a sign.
        text: What is written on it.
    """

    name: Name
    level: Level
    mask: Bits
    parent: int | None = None
    colour: Name | None = None
    text: str | None = None


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture uint8 [side, side, 3] and all that is in it, in the order in which it was laid."""

    pixels: NDArray[np.uint8]
    things: tuple[Thing, ...]

    def at(self, x: int, y: int) -> list[int]:
        """Numbers of the things that a click at a pixel may mean, smallest first."""
        hit = [i for i, thing in enumerate(self.things) if thing.mask[y, x]]
        return sorted(hit, key=lambda i: int(np.count_nonzero(self.things[i].mask)))


def world(sources: Path, *, hold_out: int = 10, held: bool = False) -> World:
    """All cut-outs and photographs of the unpacked packages; one in ``hold_out`` is held back for measuring.

    Neighbours in name are often variants of one drawing, so that blocks of names are held back together.
    """
    everything = (*stamps(sources), *emoji(sources), *drawings(sources))
    cutouts = [_cutout(picture) for picture in everything if _kept(picture.path, hold_out, held)]
    backgrounds = [picture.path for picture in photos(sources) if _kept(picture.path, hold_out, held)]
    return World(tuple(cutouts), tuple(backgrounds))


def _kept(path: Path, hold_out: int, held: bool) -> bool:
    stem = "".join(character for character in path.stem.lower() if character.isalpha())[:6] or path.stem
    number = sum(ord(character) * 31**i for i, character in enumerate(f"{path.parent.name}/{stem}"))
    return (number % hold_out == 0) is held


def _cutout(picture: Captioned) -> Cutout:
    chinese = next((text for text in picture.texts if any("\u4e00" <= c <= "\u9fff" for c in text)), None)
    english = picture.texts[0].split(",")[0].lower()
    return Cutout(picture.path, Name(english, (chinese or english).split("，")[0]), picture.kind == "stamp")


def scene(made_of: World, seed: int, side: int = 512, *, lit: bool = False) -> Scene:
    """One picture of side x side pixels.

    ``lit`` lets uneven light and shadows fall on the same scene: a thing is no longer what has one colour.
    """
    random = np.random.default_rng(seed)
    light = np.random.default_rng([seed, 1]) if lit else None
    canvas = Canvas(background(made_of, random, side), light=light)
    for _ in range(int(random.integers(1, 6))):
        _GROUPS[int(random.choice(len(_GROUPS), p=_SHARES))](canvas, made_of, random)
    made = canvas.finished(random)
    return made if light is None else Scene(photographed(made.pixels, light), made.things)


@dataclass
class _Laid:
    name: Name
    level: Level
    alpha: NDArray[np.float32]
    parent: int | None
    colour: Name | None
    text: str | None


@dataclass
class Canvas:
    """A scene in the making."""

    pixels: NDArray[np.float32]  # [side, side, 3], 0 to 255
    light: np.random.Generator | None = None  # draws how things are lit; None: they are not
    laid: list[_Laid] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)  # of each thing, the number of what it was laid with

    @property
    def side(self) -> int:
        """Pixels of a side."""
        return int(self.pixels.shape[0])

    def lay(
        self,
        picture: Image.Image,
        centre: tuple[float, float],
        name: Name,
        level: Level,
        *,
        parent: int | None = None,
        colour: Name | None = None,
        text: str | None = None,
        shadow: float = 0.0,
        new: bool = True,
    ) -> int:
        """Put an RGBA picture with its middle at a place; returns the thing's number."""
        left, top = round(centre[0] - picture.width / 2), round(centre[1] - picture.height / 2)
        whole = Image.new("RGBA", (self.side, self.side))
        whole.paste(picture, (left, top))
        content = np.asarray(whole, np.float32)
        alpha = content[..., 3] / np.float32(255)
        if self.light is not None:
            content = np.dstack((lit_thing(content[..., :3], alpha, self.light), content[..., 3]))
        if shadow:
            self._darken(whole.getchannel("A"), shadow)
        self.pixels = self.pixels * (1 - alpha[..., None]) + content[..., :3] * alpha[..., None]
        self.laid.append(_Laid(name, level, alpha, parent, colour, text))
        self.groups.append(len(self.laid) if new or not self.groups else self.groups[-1])
        return len(self.laid) - 1

    def _darken(self, alpha: Image.Image, depth: float) -> None:
        offset = max(1, self.side // 60)
        cast = Image.new("L", alpha.size)
        cast.paste(alpha, (offset, offset))
        soft = np.asarray(cast.filter(ImageFilter.GaussianBlur(offset)), np.float32) / np.float32(255)
        self.pixels = self.pixels * (1 - np.float32(depth) * soft[..., None])

    def finished(self, random: np.random.Generator) -> Scene:
        """What of each thing is seen: less what later groups cover; a holder shows what it holds."""
        masks = [laid.alpha > 0.5 for laid in self.laid]
        for i, laid in enumerate(self.laid):
            if laid.parent is not None:
                holder: int | None = laid.parent
                while holder is not None:
                    masks[holder] |= masks[i]
                    holder = self.laid[holder].parent
        covered = np.zeros((self.side, self.side), bool)
        for group in sorted(set(self.groups), reverse=True):
            members = [i for i, own in enumerate(self.groups) if own == group]
            together = np.zeros_like(covered)
            for i in members:
                together |= masks[i]
                masks[i] = masks[i] & ~covered
            covered |= together
        pixels = self.pixels + random.normal(0, random.uniform(0, 6), self.pixels.shape)
        things = tuple(
            Thing(laid.name, laid.level, mask, laid.parent, laid.colour, laid.text)
            for laid, mask in zip(self.laid, masks, strict=True)
        )
        return Scene(pixels.clip(0, 255).astype(np.uint8), things)


def askable(made: Scene) -> list[int]:
    """Numbers of the things that show enough of themselves to be pointed at."""
    least = SMALLEST * made.pixels.shape[0] * made.pixels.shape[1]
    return [i for i, thing in enumerate(made.things) if np.count_nonzero(thing.mask) >= least]


def background(made_of: World, random: np.random.Generator, side: int) -> NDArray[np.float32]:
    """A part of a photograph, or now and then one colour: [side, side, 3], 0 to 255."""
    if random.random() < 0.08:
        image = Image.new("RGB", (side, side), jittered(some_colour(random)[1], random, 30))
        return np.asarray(image, np.float32)
    path = made_of.backgrounds[int(random.integers(len(made_of.backgrounds)))]
    image = _square_part(read_image(path, smallest=side), random, side)
    if random.random() < 0.2:
        image = image.filter(ImageFilter.GaussianBlur(random.uniform(1, 4) * side / 256))
    return np.asarray(_relit(image, random, 0.25), np.float32)


def _square_part(image: Image.Image, random: np.random.Generator, side: int) -> Image.Image:
    part = min(image.size) * random.uniform(0.5, 1)
    left, top = (random.uniform(0, length - part) for length in image.size)
    cut = image.convert("RGB").resize(
        (side, side), Image.Resampling.BILINEAR, (left, top, left + part, top + part)
    )
    return cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else cut


def _relit(image: Image.Image, random: np.random.Generator, amount: float) -> Image.Image:
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(random.uniform(1 - amount, 1 + amount))
    return image


def some_colour(random: np.random.Generator) -> tuple[Name, Rgb]:
    """A colour that has a name."""
    names = list(COLOURS)
    name = names[int(random.integers(len(names)))]
    return name, COLOURS[name]


def jittered(colour: Rgb, random: np.random.Generator, amount: int = 12) -> Rgb:
    """Nearly that colour."""
    shift = random.integers(-amount, amount + 1, 3)
    red, green, blue = np.clip(np.array(colour) + shift, 0, 255).tolist()
    return red, green, blue


def _place(random: np.random.Generator, canvas: Canvas, size: float) -> tuple[float, float]:
    """A middle such that most of a thing lies within the picture."""
    margin = min(0.35 * size, canvas.side / 2)
    x, y = random.uniform(margin, canvas.side - margin, 2)
    return float(x), float(y)


def _size(random: np.random.Generator, canvas: Canvas, least: float, most: float) -> float:
    return float(canvas.side * math.exp(random.uniform(math.log(least), math.log(most))))


def opened(cutout: Cutout, random: np.random.Generator, size: float) -> Image.Image | None:
    """A cut-out of about that size, turned and mirrored; None when it is unfit.

    It needs transparent surroundings; among thousands of drawings a few are larger than any photograph.
    """
    try:
        with Image.open(cutout.path) as file:
            if file.width * file.height > LARGEST:
                return None
            image = file.convert("RGBA")
    except Image.DecompressionBombError:
        return None
    box = image.getchannel("A").point([0] * 128 + [255] * 128).getbbox()
    if box is None or np.asarray(image.getchannel("A")).min() > 0:
        return None
    image = image.crop(box)
    scale = size / max(image.size)
    image = image.resize((max(4, round(image.width * scale)), max(4, round(image.height * scale))))
    alpha = image.getchannel("A")
    image = _relit(image.convert("RGB"), random, 0.2)
    image.putalpha(alpha)
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if random.random() < 0.5:
        image = image.rotate(random.uniform(-40, 40), Image.Resampling.BICUBIC, expand=True)
    return image


def _some_cutout(made_of: World, random: np.random.Generator, size: float) -> tuple[Image.Image, Name]:
    """One that can be used; photographs of things as often as all drawings together."""
    real = [c for c in made_of.cutouts if c.real]
    drawn = [c for c in made_of.cutouts if not c.real]
    while True:
        among = real if real and (not drawn or random.random() < 0.5) else drawn
        cutout = among[int(random.integers(len(among)))]
        image = opened(cutout, random, size)
        if image is not None:
            return image, cutout.name


Outline = Callable[[ImageDraw.ImageDraw, float, int], None]


def _polygon(corners: int, inner: float = 1.0) -> Outline:
    def draw(pen: ImageDraw.ImageDraw, side: float, fill: int) -> None:
        count = corners if inner == 1 else 2 * corners
        points = []
        for i in range(count):
            radius = side / 2 * (1 if inner == 1 or i % 2 == 0 else inner)
            angle = 2 * math.pi * i / count - math.pi / 2
            points.append((side / 2 + radius * math.cos(angle), side / 2 + radius * math.sin(angle)))
        pen.polygon(points, fill=fill)

    return draw


def _cross(pen: ImageDraw.ImageDraw, side: float, fill: int) -> None:
    pen.rectangle((side * 0.34, 0, side * 0.66, side), fill=fill)
    pen.rectangle((0, side * 0.34, side, side * 0.66), fill=fill)


SHAPES: dict[Name, Outline] = {
    Name("circle", "圆形"): lambda pen, side, fill: pen.ellipse((0, 0, side, side), fill=fill),
    Name("oval", "椭圆"): lambda pen, side, fill: pen.ellipse((0, side * 0.2, side, side * 0.8), fill=fill),
    Name("square", "正方形"): lambda pen, side, fill: pen.rectangle((0, 0, side, side), fill=fill),
    Name("rectangle", "长方形"): lambda pen, side, fill: pen.rectangle(
        (0, side * 0.22, side, side * 0.78), fill=fill
    ),
    Name("triangle", "三角形"): _polygon(3),
    Name("hexagon", "六边形"): _polygon(6),
    Name("star", "星形"): _polygon(5, 0.42),
    Name("cross", "十字形"): _cross,
}


def filled_shape(
    random: np.random.Generator,
    size: float,
    texture: Image.Image | None = None,
    *,
    shape: Name | None = None,
    colour: Name | None = None,
) -> tuple[Image.Image, Name, Name]:
    """A filled outline with its name and colour, turned at random; drawn at twice the size for soft edges."""
    names = list(SHAPES)
    name = names[int(random.integers(len(names)))] if shape is None else shape
    double = max(8, round(2 * size))
    mask = Image.new("L", (double + 1, double + 1))
    SHAPES[name](ImageDraw.Draw(mask), double, 255)
    colour, rgb = some_colour(random) if colour is None else (colour, COLOURS[colour])
    first, second = jittered(rgb, random), jittered(rgb, random, 40)
    slope = np.linspace(0, 1, double + 1)[:, None, None]
    fill = (np.array(first) * (1 - slope) + np.array(second) * slope) * np.ones((1, double + 1, 1))
    picture = Image.fromarray(fill.astype(np.uint8)) if texture is None else texture.resize(mask.size)
    picture.putalpha(mask)
    picture = picture.rotate(random.uniform(0, 360), Image.Resampling.BICUBIC, expand=True)
    return (
        picture.resize((max(4, picture.width // 2), max(4, picture.height // 2)), Image.Resampling.BOX),
        name,
        colour,
    )


def _alone(canvas: Canvas, made_of: World, random: np.random.Generator) -> None:
    """A cut-out that stands for itself."""
    size = _size(random, canvas, 0.1, 0.8)
    image, name = _some_cutout(made_of, random, size)
    canvas.lay(image, _place(random, canvas, size), name, "object", shadow=cast_shadow(random))


def _plain_shape(canvas: Canvas, made_of: World, random: np.random.Generator) -> None:
    """A shape of one colour, or cut from another photograph."""
    size = _size(random, canvas, 0.08, 0.6)
    texture = None
    if random.random() < 0.5:
        path = made_of.backgrounds[int(random.integers(len(made_of.backgrounds)))]
        texture = _square_part(read_image(path, smallest=round(2 * size)), random, max(8, round(2 * size)))
    image, name, colour = filled_shape(random, size, texture)
    known = colour if texture is None else None
    canvas.lay(image, _place(random, canvas, size), name, "object", colour=known, shadow=cast_shadow(random))


def _nested(canvas: Canvas, made_of: World, random: np.random.Generator) -> None:
    """A plate, a shape on it, a core in the shape: whole, object and part."""
    size = _size(random, canvas, 0.3, 0.8)
    x, y = _place(random, canvas, size)
    plate, _, colour = filled_shape(random, size)
    whole = canvas.lay(plate, (x, y), GROUP, "whole", colour=colour, shadow=cast_shadow(random))
    inner = size * random.uniform(0.4, 0.6)
    image, name, inside = filled_shape(random, inner)
    where = _near((x, y), 0.06 * size, random)
    thing = canvas.lay(image, where, name, "object", parent=whole, colour=inside, new=False)
    core, _, core_colour = filled_shape(random, inner * random.uniform(0.3, 0.5))
    canvas.lay(
        core, _near(where, 0.05 * inner, random), CORE, "part", parent=thing, colour=core_colour, new=False
    )


def _served(canvas: Canvas, made_of: World, random: np.random.Generator) -> None:
    """A cut-out on a plate: object and whole."""
    size = _size(random, canvas, 0.3, 0.8)
    x, y = _place(random, canvas, size)
    plate, _, colour = filled_shape(random, size)
    whole = canvas.lay(plate, (x, y), GROUP, "whole", colour=colour, shadow=cast_shadow(random))
    image, name = _some_cutout(made_of, random, size * random.uniform(0.35, 0.6))
    where = _near((x, y), 0.08 * size, random)
    canvas.lay(image, where, name, "object", parent=whole, shadow=cast_shadow(random), new=False)


def _sign(canvas: Canvas, made_of: World, random: np.random.Generator) -> None:
    """A sign with words: object and part."""
    width = _size(random, canvas, 0.25, 0.7)
    height = width * random.uniform(0.3, 0.6)
    colour, rgb = some_colour(random)
    text = TEXTS[int(random.integers(len(TEXTS)))]
    font = ImageFont.load_default(lettering((width, height), text))
    board, letters, _ = drawn_sign((width, height), text, rgb, font, random)
    where = _place(random, canvas, width)
    sign = canvas.lay(board, where, SIGN, "object", colour=colour, text=text, shadow=cast_shadow(random))
    canvas.lay(letters, where, WORDS, "part", parent=sign, text=text, new=False)


def lettering(size: tuple[float, float], text: str) -> int:
    """The size of letters, in pixels, with which a text fills a sign of width x height."""
    return max(8, round(min(size[1] * 0.7, size[0] / max(2, len(text)) * 1.3)))


def drawn_sign(
    size: tuple[float, float],
    text: str,
    rgb: Rgb,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    random: np.random.Generator,
) -> tuple[Image.Image, Image.Image, float]:
    """A board of width x height and its words, both turned by some degrees, counterclockwise."""
    board = Image.new("RGBA", (round(size[0]), round(size[1])), (*jittered(rgb, random), 255))
    letters = Image.new("RGBA", board.size)
    ink = jittered((30, 30, 30) if sum(rgb) > 380 else (240, 240, 240), random)
    middle = (board.width / 2, board.height / 2)
    ImageDraw.Draw(letters).text(middle, text, font=font, fill=(*ink, 255), anchor="mm")
    angle = random.uniform(-15, 15)
    turned = [image.rotate(angle, Image.Resampling.BICUBIC, expand=True) for image in (board, letters)]
    return turned[0], turned[1], float(angle)


def _near(place: tuple[float, float], amount: float, random: np.random.Generator) -> tuple[float, float]:
    return place[0] + random.uniform(-amount, amount), place[1] + random.uniform(-amount, amount)


def cast_shadow(random: np.random.Generator) -> float:
    """How dark a thing's shadow is; half of them have none."""
    return float(random.uniform(0.1, 0.5)) if random.random() < 0.5 else 0.0


_GROUPS: Sequence[Callable[[Canvas, World, np.random.Generator], None]] = (
    _alone,
    _plain_shape,
    _nested,
    _served,
    _sign,
)
_SHARES = (0.5, 0.12, 0.16, 0.14, 0.08)
