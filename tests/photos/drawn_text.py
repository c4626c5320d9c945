"""Pictures with text in them, Chinese too: drawn with the font of Debian's package fonts-noto-cjk."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

FONTS = Path("/usr/share/fonts")


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    found = sorted(FONTS.rglob("NotoSansCJK-Regular.ttc"))
    assert found, "these tests draw Chinese text: apt-get install fonts-noto-cjk"
    return ImageFont.truetype(found[0], size, index=2)  # simplified Chinese


def paper(
    lines: list[tuple[str, int, tuple[int, int]]],
    size: tuple[int, int] = (800, 600),
    colour: tuple[int, int, int] = (250, 248, 240),
    ink: tuple[int, int, int] = (20, 20, 20),
) -> Image.Image:
    """Lines of text, each with its height in pixels and its upper left corner."""
    image = Image.new("RGB", size, colour)
    draw = ImageDraw.Draw(image)
    for text, height, corner in lines:
        draw.text(corner, text, font=font(height), fill=ink)
    return image


def plate(text: str, size: tuple[int, int] = (800, 600)) -> Image.Image:
    """A car's number plate in a scene: white on blue, on a grey body."""
    image = Image.new("RGB", size, (120, 130, 125))
    draw = ImageDraw.Draw(image)
    draw.rectangle((40, 150, size[0] - 40, size[1] - 120), fill=(70, 20, 25))
    left, top = size[0] // 2 - 150, size[1] // 2 - 40
    draw.rounded_rectangle((left, top, left + 300, top + 90), 8, fill=(20, 50, 160), outline=(240, 240, 240))
    draw.text((left + 20, top + 5), text, font=font(54), fill=(245, 245, 245))
    return image
