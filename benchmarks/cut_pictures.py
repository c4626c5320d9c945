"""The pictures of docs/cutting.md, from the example photos.

    python benchmarks/cut_pictures.py [--model sensorium/mini-sam] [--to docs/images]

Writes ``cut-levels.png``, ``cut-refine.png``, ``cut-out.png`` and ``cut-everything.png``.
"""

from __future__ import annotations

import argparse
import colorsys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sensorium.media.image import read_image
from sensorium.skills.segment import Mask, Prompt, Segmenter, load
from sensorium.skills.segment.everything import everything

HOME = Path(__file__).parent.parent
PHOTOS = HOME / "examples" / "photos"
# Photo, and a place on it as shares of its width and height: the flesh of a fig in a bowl, coffee in a cup.
AMBIGUOUS = (("IMG_0009.jpg", 0.61, 0.45), ("IMG_0003.jpg", 0.47, 0.36))
# A click, then one more that adds and one that removes; then a box around the same person instead.
REFINED = ("IMG_0010.jpg", ((0.36, 0.62, 1), (0.45, 0.24, 1), (0.75, 0.88, 0)), (0.02, 0.02, 0.78, 1.0))
CUT_OUT = ("IMG_0009.jpg", (0.2, 0.1, 1.0, 1.0))
EVERYTHING = "IMG_0003.jpg"
HEIGHT = 280  # of a panel, pixels
GAP, CAPTION, COLOURS = 12, 26, 160


def main() -> None:
    """Make all pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="sensorium/mini-sam")
    parser.add_argument("--to", type=Path, default=HOME / "docs" / "images")
    options = parser.parse_args()
    segmenter = load(options.model)
    for name, rows in (
        ("cut-levels", [levels(segmenter, *asked) for asked in AMBIGUOUS]),
        ("cut-refine", [refined(segmenter)]),
        ("cut-out", [cut_out(segmenter)]),
        ("cut-everything", [all_things(segmenter)]),
    ):
        path = options.to / f"{name}.png"
        sheet = joined(rows).quantize(COLOURS, dither=Image.Dither.NONE)
        sheet.save(path, optimize=True)
        print(f"{path}: {sheet.width} x {sheet.height} pixels, {path.stat().st_size // 1000} kB")


def levels(segmenter: Segmenter, name: str, x: float, y: float) -> list[Image.Image]:
    """The answers to one click, smallest first."""
    photo = read_image(PHOTOS / name)
    prompt = Prompt(points=((x * photo.width, y * photo.height, 1),))
    cut = segmenter.cut(segmenter.embed(photo), prompt)
    return [panel(photo, mask, prompt, f"{mask.level}, quality {mask.quality:.2f}") for mask in cut.masks]


def refined(segmenter: Segmenter) -> list[Image.Image]:
    """Click by click, then by a box."""
    name, places, shares = REFINED
    photo = read_image(PHOTOS / name)
    embedding = segmenter.embed(photo)
    panels: list[Image.Image] = []
    prompt, memory = Prompt(), None
    for x, y, on in places:
        prompt = prompt.and_point(x * photo.width, y * photo.height, on=bool(on), memory=memory)
        cut = segmenter.cut(embedding, prompt)
        memory = cut.memory
        said = "a click" if len(prompt.points) == 1 else "one more" if on else "one that is not meant"
        panels.append(panel(photo, cut.best, prompt, said))
    box = tuple(share * side for share, side in zip(shares, photo.size * 2, strict=True))
    prompt = Prompt(box=(box[0], box[1], box[2], box[3]))
    return [*panels, panel(photo, segmenter.cut(embedding, prompt).best, prompt, "a box")]


def cut_out(segmenter: Segmenter) -> list[Image.Image]:
    """A photo with a box, and what comes of it on a checkerboard."""
    name, shares = CUT_OUT
    photo = read_image(PHOTOS / name)
    left, top, right, bottom = (s * side for s, side in zip(shares, photo.size * 2, strict=True))
    prompt = Prompt(box=(left, top, right, bottom))
    mask = segmenter.cut(segmenter.embed(photo), prompt).best
    alone = mask.cut_out(photo, cropped=False)
    rows, columns = np.indices((alone.height, alone.width)) // 24
    board = Image.fromarray(np.where((rows + columns) % 2, 205, 245).astype(np.uint8)).convert("RGBA")
    board.alpha_composite(alone)
    return [panel(photo, None, prompt, "a box"), panel(board.convert("RGB"), None, None, "cut out")]


def all_things(segmenter: Segmenter) -> list[Image.Image]:
    """A photo, and everything in it, each thing in a colour of its own, large ones below."""
    photo = read_image(PHOTOS / EVERYTHING)
    masks = sorted(everything(segmenter, photo), key=lambda mask: -mask.area)
    pixels = np.asarray(photo, np.float32) * 0.4
    for number, mask in enumerate(masks):
        colour = np.array(colorsys.hsv_to_rgb(number * 0.618 % 1, 0.75, 1.0), np.float32) * 255
        pixels[mask.bitmap] = 0.45 * np.asarray(photo, np.float32)[mask.bitmap] + 0.55 * colour
    coloured = Image.fromarray(pixels.astype(np.uint8))
    return [panel(photo, None, None, "a photo"), panel(coloured, None, None, f"{len(masks)} things")]


def panel(photo: Image.Image, mask: Mask | None, prompt: Prompt | None, said: str) -> Image.Image:
    """A photo with its mask in light, what was pointed at, and words below."""
    scale = HEIGHT / photo.height
    size = round(photo.width * scale), HEIGHT
    pixels = np.asarray(photo.resize(size, Image.Resampling.LANCZOS))
    if mask is not None:
        inside = cv2.resize(mask.bitmap.astype(np.uint8), size, interpolation=cv2.INTER_AREA)
        pixels = np.where(inside[..., None] > 0, pixels, pixels // 4 + 20).astype(np.uint8)
        outlines, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        pixels = cv2.drawContours(np.ascontiguousarray(pixels), outlines, -1, (255, 214, 10), 2)
    result = Image.new("RGB", (size[0], HEIGHT + CAPTION), "white")
    result.paste(Image.fromarray(pixels))
    draw = ImageDraw.Draw(result)
    for x, y, on in prompt.points if prompt is not None else ():
        colour = (48, 209, 88) if on else (255, 69, 58)
        draw.circle((x * scale, y * scale), 6, fill=colour, outline="white", width=2)
    if prompt is not None and prompt.box is not None:
        draw.rectangle([value * scale for value in prompt.box], outline=(10, 132, 255), width=3)
    draw.text((2, HEIGHT + 4), said, fill=(28, 28, 30), font=ImageFont.load_default(size=16))
    return result


def joined(rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Panels beside, rows below each other."""
    width = max(sum(one.width + GAP for one in row) for row in rows) - GAP
    height = sum(max(one.height for one in row) + GAP for row in rows) - GAP
    sheet = Image.new("RGB", (width, height), "white")
    top = 0
    for row in rows:
        left = 0
        for one in row:
            sheet.paste(one, (left, top))
            left += one.width + GAP
        top += max(one.height for one in row) + GAP
    return sheet


if __name__ == "__main__":
    main()
