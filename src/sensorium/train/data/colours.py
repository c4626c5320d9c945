"""Captions that nobody had to write: the colours of a picture, measured and named in both languages.

People ask for "something red"; few captions say it. What is measured are the colour features that the network
itself is told of a picture (`models.mini_clip.ColourFeatures`), so the words are true of every picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sensorium.train.data.captions import Captioned
from sensorium.train.data.views import Features

NAMES = (
    ("black", "黑色"),
    ("grey", "灰色"),
    ("white", "白色"),
    ("red", "红色"),
    ("orange", "橙色"),
    ("yellow", "黄色"),
    ("green", "绿色"),
    ("green", "绿色"),
    ("turquoise", "青色"),
    ("blue", "蓝色"),
    ("blue", "蓝色"),
    ("purple", "紫色"),
    ("pink", "粉色"),
    ("brown", "棕色"),
    ("beige", "米色"),
    ("blue", "蓝色"),
)
"""English and Chinese name of each of the reference colours, in the order of ``mini_clip_parts.COLOURS``."""
_UNREMARKABLE = frozenset({"grey", "beige"})
_MUCH = 0.22  # of the picture, its middle counted twice
_FADED = 0.03  # mean saturation of a photo without colours
_DARK = 0.22  # mean brightness of a photo that looks dark


def with_colours(pictures: Sequence[Captioned], features: Features) -> list[Captioned]:
    """The pictures with texts about their colours after their own; from the first view of each."""
    numbers, rows = np.unique(features.owner, return_index=True)
    colours = features.colours.numpy()
    out = list(pictures)
    for number, row in zip(numbers.tolist(), rows.tolist(), strict=True):
        picture = pictures[number]
        out[number] = replace(picture, texts=(*picture.texts, *colour_texts(picture, colours[row])))
    return out


def colour_texts(picture: Captioned, colours: NDArray[np.float32]) -> tuple[str, ...]:
    """Texts about one picture from its ``ColourFeatures`` ``[5 * colours + 14]``; none for a dull one."""
    count = len(NAMES)
    mean, saturation = colours[5 * count : 5 * count + 3], colours[5 * count + 6]
    photo = picture.kind == "photo"
    dark = ("a dark picture", "昏暗的画面") if photo and mean.mean() < _DARK else ()
    if photo and saturation < _FADED:
        return ("black and white photo", "黑白照片", *dark)
    shares: dict[tuple[str, str], float] = {}
    for name, share in zip(
        NAMES, (colours[:count] ** 2 + colours[4 * count : 5 * count] ** 2) / 2, strict=True
    ):
        shares[name] = shares.get(name, 0.0) + float(share)
    much = [
        n for n in sorted(shares, key=lambda n: -shares[n]) if shares[n] > _MUCH and n[0] not in _UNREMARKABLE
    ]
    # a drawing lies on white, which says nothing about it
    named = [name for name in much if picture.kind == "photo" or name[0] != "white"][:2]
    if not named:
        return dark
    english, chinese = " and ".join(n[0] for n in named), "和".join(n[1] for n in named)
    own_english, own_chinese = picture.texts[0], picture.texts[len(picture.texts) // 2]
    return (english, chinese, f"{english} {own_english}", f"{chinese}的{own_chinese}", *dark)
