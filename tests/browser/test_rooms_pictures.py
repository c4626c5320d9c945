"""The pictures of the page for docs/: made by a browser, small. Kept only when asked for:

`SENSORIUM_KEEP_PICTURES=1 pytest tests/browser/test_rooms_pictures.py -m slow`
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from browsing import PHONE, watched
from PIL import Image

pytestmark = [pytest.mark.browser, pytest.mark.slow]

DOCS = Path(__file__).parents[2] / "docs" / "images"
MOST = 150_000
"""Bytes of a picture."""

WINDOW = {"width": 1200, "height": 750}
WIDTHS = (1200, 1000, 840, 720, 600)
PHOTOGRAPHS = {  # of the example photographs: name, address, options of the window
    "photos": ("/", {}),
    "search": ("/search?q=sunset%20over%20the%20hills", {}),
    "search-zh-dark": ("/search?q=%E6%97%A5%E8%90%BD", {"locale": "zh-CN", "color_scheme": "dark"}),
    "viewer": ("/photo/2", {}),
    "phone": ("/", {"viewport": PHONE, "device_scale_factor": 1.5}),
}
FURNISHED = {  # of the furnished library
    "map": ("/map", {}),
    "map-dark": ("/map", {"locale": "zh-CN", "color_scheme": "dark"}),
    "people": ("/people", {}),
    "albums": ("/albums", {}),
    "duplicates": ("/duplicates", {}),
    "health": ("/health", {}),
    "settings": ("/settings", {"locale": "zh-CN"}),
}


DONE = """() => !document.querySelector('.loading, .progress')
  && [...document.images].every((image) => image.complete || image.loading === 'lazy')"""
RENAME = """([from, to]) => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (from !== "." && walker.nextNode()) {
    walker.currentNode.data = walker.currentNode.data.replaceAll(from, to);
  }
}"""
"""Pictures for the documentation show no folder of the machine that they were made on."""


def small(png: bytes) -> bytes:
    """A screenshot as PNG of at most ``MOST`` bytes: fewer colours, then fewer pixels."""
    whole = Image.open(io.BytesIO(png)).convert("RGB")
    for width in WIDTHS:
        if width > whole.width and width != WIDTHS[-1]:
            continue
        size = (min(width, whole.width), round(whole.height * min(width, whole.width) / whole.width))
        for colours in (256, 96):
            target = io.BytesIO()
            reduced = whole.resize(size, Image.Resampling.LANCZOS).quantize(colours, dither=Image.Dither.NONE)
            reduced.save(target, "PNG", optimize=True)
            if target.tell() <= MOST:
                return target.getvalue()
    raise AssertionError("no size of this screenshot is small enough")


def take(chromium, server, name, view, folder, home="") -> Path:
    path, options = view
    with watched(chromium, server, **({"viewport": WINDOW} | options)) as seen:
        page = seen.go(path)
        page.wait_for_function(DONE, timeout=90_000)
        page.wait_for_timeout(1000)  # until pictures have faded in
        page.evaluate(RENAME, [str(Path(home)), "/home/anna"])
        target = folder / f"page-{name}.png"
        target.write_bytes(small(page.screenshot()))
    return target


@pytest.fixture
def folder(tmp_path):
    return DOCS if os.environ.get("SENSORIUM_KEEP_PICTURES") else tmp_path


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_a_view_of_photographs(chromium, gallery, folder, name):
    assert take(chromium, gallery, name, PHOTOGRAPHS[name], folder).stat().st_size <= MOST


@pytest.mark.parametrize("name", FURNISHED)
def test_a_view_of_a_furnished_library(chromium, furnished, server, folder, name):
    home = furnished.pictures.parent
    assert take(chromium, server, name, FURNISHED[name], folder, home).stat().st_size <= MOST
