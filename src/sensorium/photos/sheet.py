"""A contact sheet: hits as one picture, upright thumbnails with rank, score and file name under each."""

from __future__ import annotations

import os
import tempfile
import textwrap
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from sensorium.errors import BadImageError, SensoriumError
from sensorium.media.image import read_image
from sensorium.photos.files.names import printable
from sensorium.photos.search.ranking import Hit

COLUMNS = 5
CELL = 240
MARGIN = 16
CAPTION = 44
TITLE = 56
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}

_PAPER, _INK, _QUIET, _EMPTY = (250, 250, 248), (28, 28, 30), (110, 110, 115), (226, 226, 224)

# The first that is found is used: fonts with Chinese first, then any with accents.
_FONTS = (
    *(
        "NotoSansCJK-Regular.ttc",
        "NotoSansCJKsc-Regular.otf",
        "NotoSansSC-Regular.otf",
        "SourceHanSansSC-Regular.otf",
    ),
    *(
        "wqy-microhei.ttc",
        "wqy-zenhei.ttc",
        "DroidSansFallbackFull.ttf",
        "uming.ttc",
        "PingFang.ttc",
        "Hiragino Sans GB.ttc",
    ),
    *(
        "STHeiti Light.ttc",
        "msyh.ttc",
        "msyh.ttf",
        "simsun.ttc",
        "Arial Unicode.ttf",
        "DejaVuSans.ttf",
        "arial.ttf",
    ),
)
_FONT_FOLDERS = (
    "~/.local/share/fonts",
    "~/.fonts",
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/Library/Fonts",
    "/Library/Fonts",
    "/System/Library/Fonts",
    "C:/Windows/Fonts",
)


def check_target(target: Path) -> None:
    """Refuse, before any work is done, a file that a sheet cannot be written to. Raises SensoriumError."""
    if target.suffix.lower() not in FORMATS:
        raise SensoriumError(f"{printable(target)}: a contact sheet is a .png, .jpg or .webp file")
    if not target.absolute().parent.is_dir():
        raise SensoriumError(f"{printable(target)}: its folder does not exist")


def write_sheet(hits: Sequence[Hit], title: str, target: Path) -> None:
    """Draw the hits and write them to ``target``, which is whole or not there. Raises SensoriumError."""
    check_target(target)
    sheet = draw_sheet(hits, title)
    try:
        with tempfile.NamedTemporaryFile(
            dir=target.absolute().parent, prefix=".sheet-", delete=False
        ) as file:
            temporary = Path(file.name)
            try:
                sheet.save(file, FORMATS[target.suffix.lower()], quality=90)
                file.close()
                temporary.chmod(0o666 & ~_umask())
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise SensoriumError(f"cannot write {printable(target)}: {error.strerror or error}") from error


def draw_sheet(hits: Sequence[Hit], title: str) -> Image.Image:
    """The sheet as an RGB picture, COLUMNS wide, in the order of the hits."""
    columns = min(COLUMNS, max(len(hits), 3))
    rows = -(-len(hits) // columns)
    width = columns * CELL + (columns + 1) * MARGIN
    height = TITLE + MARGIN + rows * (CELL + CAPTION + MARGIN)
    sheet = Image.new("RGB", (width, height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    large, small = _font(24), _font(14)
    pen.text((MARGIN, MARGIN), _fitting(pen, printable(title), large, width - 2 * MARGIN), _INK, large)
    for index, hit in enumerate(hits):
        row, column = divmod(index, columns)
        left = MARGIN + column * (CELL + MARGIN)
        top = TITLE + MARGIN + row * (CELL + CAPTION + MARGIN)
        _draw_photo(sheet, pen, hit, left, top)
        pen.text((left, top + CELL + 4), f"{index + 1}   {hit.score:.3f}", _QUIET, small)
        name = _fitting(pen, printable(hit.path.name), small, CELL)
        pen.text((left, top + CELL + 22), name, _INK, small)
    return sheet


def _draw_photo(sheet: Image.Image, pen: ImageDraw.ImageDraw, hit: Hit, left: int, top: int) -> None:
    try:
        photo = read_image(hit.path, smallest=CELL)
    except BadImageError as error:
        pen.rectangle((left, top, left + CELL - 1, top + CELL - 1), fill=_EMPTY)
        lines = "\n".join(textwrap.wrap(str(error), 28))
        pen.text((left + 12, top + 12), lines, _QUIET, _font(14))
        return
    photo.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
    sheet.paste(photo, (left + (CELL - photo.width) // 2, top + (CELL - photo.height) // 2))


def _fitting(pen: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """The text, shortened in the middle until it fits: the end of a file name matters too."""
    if pen.textlength(text, font) <= width:
        return text
    kept = len(text) - 1
    while kept > 2 and pen.textlength(_shortened(text, kept), font) > width:
        kept -= 1
    return _shortened(text, kept)


def _shortened(text: str, kept: int) -> str:
    return f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"


@lru_cache(maxsize=4)
def _font(size: int) -> ImageFont.FreeTypeFont:
    file = _font_file()
    if file is not None:
        try:
            return ImageFont.truetype(file, size)
        except OSError:
            pass  # a font file that this FreeType cannot read
    fallback = ImageFont.load_default(size)
    assert isinstance(fallback, ImageFont.FreeTypeFont)
    return fallback


@lru_cache(maxsize=1)
def _font_file() -> str | None:
    """The best installed font, by the order of ``_FONTS``."""
    ranks = {name.lower(): rank for rank, name in enumerate(_FONTS)}
    best: tuple[int, str] | None = None
    for folder in _FONT_FOLDERS:
        for parent, _, names in os.walk(Path(folder).expanduser()):
            for name in names:
                rank = ranks.get(name.lower())
                if rank is not None and (best is None or rank < best[0]):
                    best = rank, str(Path(parent) / name)
    return best[1] if best else None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
