"""What a sentence asks of the text that stands in pictures, and which line of it answers.

People name what carries the text ("the receipt from Lawson", 车牌 京A 的照片), and such a word rarely stands
in it: a receipt does not say receipt. So words for carriers of text are not looked for in it, as long as
others are left; what is left must all be there. A number plate, or another code, is enough by itself,
whatever else the sentence says of the photo.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import sqlalchemy as sa

from sensorium.photos.database.schema import texts
from sensorium.photos.database.store import Store
from sensorium.photos.search import words

_CARRIERS = frozenset(
    re.findall(
        r"\w+",
        "plate plates license licence number registration sign signs signpost signboard receipt receipts "
        "invoice invoices bill bills ticket tickets menu menus poster posters label labels banner banners "
        "text texts document documents letter letters page pages whiteboard blackboard screen says say "
        "saying said reads read reading written writing words word that which who has have had showing "
        "shows show called named",
    )
)
_CHINESE_CARRIERS = re.findall(
    r"\w+",
    "车牌号码 车牌号 车牌照 车牌 牌照 号牌 号码 牌子 招牌 路牌 标牌 门牌 写着 写有 印着 印有 标着 上面 文字 "
    "字样 的字 小票 收据 发票 账单 票据 单据 菜单 海报 封面 标志 标识 标语 横幅 白板 黑板 屏幕 照片 图片 "
    "汽车 车子 轿车 里的 有的 的 是 有 了 在 那 个 张 辆 块 和 与 车",
)
_CHINESE = re.compile("|".join(sorted(_CHINESE_CARRIERS, key=len, reverse=True)))
_PROVINCES = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼使"
_PLATE = re.compile(rf"([{_PROVINCES}])[ ·•・‧.-]?([A-Za-z](?:[ ·•・‧.-]?[A-Za-z0-9]+)*)")
_CODE = re.compile(r"(?=[A-Za-z-]*\d)(?=[\d-]*[A-Za-z])[A-Za-z\d-]{3,}|\d{5,}")
_NUMBER = re.compile(r"\d{3,}")
_LATIN = re.compile(r"[^\W\d_]", re.ASCII)


class Asked(NamedTuple):
    """What text in a picture must hold: an FTS5 expression, and the words of it as they were said."""

    expression: str
    said: tuple[str, ...]


def asked(sentence: str) -> Asked | None:
    """What a sentence asks of the text in pictures; None when that is what it asks of all other words."""
    plates = [match[1] + re.sub(r"[^A-Za-z0-9]", "", match[2]) for match in _PLATE.finditer(sentence)]
    rest = _PLATE.sub(" ", sentence)
    codes = _CODE.findall(rest)
    left, carried = _without_carriers(rest)
    if carried and not (plates or codes):
        codes = _NUMBER.findall(rest)
    if plates or codes:
        terms = [*map(_plate, plates), *filter(None, map(words.match, codes))]
        return Asked(" AND ".join(terms), (*plates, *codes))
    if not carried:
        return None
    first = next(words.runs(rest), ("", False))[0]  # begins with a capital anyway
    names = [word for word in left if word != first and _LATIN.match(word) and word[0].isupper()]
    wanted = names if names and len(names) < len(left) else left
    expression = words.match(" ".join(wanted))
    return None if expression is None else Asked(expression, tuple(wanted))


def quote(store: Store, photo: int, sentence: str) -> str | None:
    """The line of a photo's text that holds most of what a sentence asks for; None when it has no text."""
    with store.reading() as connection:
        text: str | None = connection.scalar(sa.select(texts.c.text).where(texts.c.photo_id == photo))
    if not text:
        return None
    wish = asked(sentence)
    said = wish.said if wish is not None else [run for run, _ in words.runs(sentence)]
    wanted = [squeezed(word) for word in said]

    def held(line: str) -> int:
        plain = squeezed(line)
        return sum(len(word) for word in wanted if word in plain)

    return max(text.split("\n"), key=held)


def squeezed(text: str) -> str:
    """Letters and digits alone, in small letters, simplified, without what stands between them."""
    return "".join(run for run, _ in words.runs(text)).casefold()


def _without_carriers(sentence: str) -> tuple[list[str], bool]:
    """The words that are left, and whether any word for a carrier of text was among them."""
    left: list[str] = []
    carried = False
    for run, is_cjk in words.runs(sentence):
        if is_cjk:
            pieces = [piece for piece in _CHINESE.split(run) if piece]
            carried = carried or any(len(found) > 1 for found in _CHINESE.findall(run))
            left += pieces
        elif run.casefold() in _CARRIERS:
            carried = True
        elif run.casefold() not in words.GRAMMAR:
            left.append(run)
    return left, carried


def _plate(plate: str) -> str:
    """A plate or its beginning: the province, then letters and digits, the last of them perhaps cut off."""
    parts = re.findall(r"[a-z]+|\d+", plate[1:].casefold())
    return f'"{" ".join((plate[0], *parts))}" *'
