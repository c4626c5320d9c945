"""Cutting in the page: pointing with mouse, keys and words, what is painted, and what is saved."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
from browsing import PHONE, serving, watched
from PIL import ExifTags, Image
from playwright.sync_api import Page, expect
from test_rooms_look import faults
from test_rooms_pictures import DOCS, WINDOW, small

from sensorium.photos.library import Library
from sensorium.weights import CUT_MODEL
from sensorium.weights.files import folder_of

sys.path.insert(0, str(Path(__file__).parents[1] / "skills"))

pytestmark = pytest.mark.browser

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples" / "photos"
FLOWER, TURNED = "IMG_0018.jpg", "turned.jpg"
MIDDLE = (0.48, 0.55)
"""Where the flower is, as shares of the photo."""

SHIPPED = folder_of(CUT_MODEL).is_dir()
READY = re.compile("^Click what you want")
PAINTED = """([x, y]) => {
  const path = document.querySelector(".cut-edge"), { width, height } = path.ownerSVGElement.viewBox.baseVal;
  return path.isPointInFill(new DOMPoint(x * width, y * height));
}"""


COUNT = """() => {
  const asked = window.fetch, counted = window.counted = { now: 0, most: 0, sent: 0 };
  window.fetch = async (...what) => {
    if (!what[0].endsWith("/cut")) return asked(...what);
    counted.sent += 1; counted.now += 1; counted.most = Math.max(counted.most, counted.now);
    try { return await asked(...what); } finally { counted.now -= 1; }
  };
}"""
SWEEP = """() => {
  const picture = document.querySelector(".cut-picture");
  const { left, top, width, height } = picture.getBoundingClientRect();
  for (let step = 0; step <= 200; step++) {
    picture.dispatchEvent(new PointerEvent("pointermove", { bubbles: true, pointerType: "mouse",
      clientX: left + (0.2 + step / 400) * width, clientY: top + 0.5 * height }));
  }
}"""
"""A mouse that moves faster than any answer comes, from 0.2 to 0.7 of the photo's width."""


@pytest.fixture(scope="module")
def indexed(tmp_path_factory):
    """A library of a flower, and of the same one as a camera stores it that was held on its side."""
    folder = tmp_path_factory.mktemp("flowers")
    pictures = folder / "Pictures"
    pictures.mkdir()
    shutil.copy(EXAMPLES / FLOWER, pictures)
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    with Image.open(EXAMPLES / FLOWER) as flower:
        flower.transpose(Image.Transpose.ROTATE_90).save(pictures / TURNED, exif=turned)
    with Library.open(folder / "library", create=True) as library:
        for _ in library.index([pictures]):
            pass
    return folder / "library"


@pytest.fixture(scope="module")
def discs(indexed):
    """A server whose model cuts discs."""
    with serving(indexed, program=(str(HERE / "disc_program.py"),)) as running:
        yield running


@pytest.fixture
def seen(chromium, discs):
    """A desktop window on it."""
    with watched(chromium, discs, permissions=["clipboard-read", "clipboard-write"]) as window:
        yield window


@pytest.fixture(scope="module")
def real(indexed, tmp_path_factory):
    """A server with the packaged model; where there is none yet, with a tiny one that learned nothing."""
    library = tmp_path_factory.mktemp("real") / "library"
    shutil.copytree(indexed, library, ignore=shutil.ignore_patterns("*.lock"))
    chosen = ()
    if not SHIPPED:
        from test_segment import folder_of as tiny

        chosen = ("--cut-model", str(tiny(tmp_path_factory.mktemp("sam"))[0]))
    with serving(library, *chosen) as running:
        yield running


def identity(url: str, name: str) -> int:
    with urlopen(f"{url}/api/v1/grid") as answer:
        ids = json.load(answer)["ids"]
    with urlopen(f"{url}/api/v1/photos?ids={','.join(map(str, ids))}") as answer:
        return next(card["id"] for card in json.load(answer)["photos"] if card["name"] == name)


def said(page: Page):
    return page.locator(".cut-line")


def open_cut(seen, name: str = FLOWER) -> Page:
    page = seen.go(f"/photo/{identity(seen.server.url, name)}/cut")
    expect(said(page)).to_have_text(READY, timeout=120_000)
    page.wait_for_function("() => document.querySelector('.cut-image')?.naturalWidth > 0")
    return page


def place(page: Page, share: tuple[float, float]) -> tuple[float, float]:
    box = page.locator(".cut-picture").bounding_box()
    return box["x"] + share[0] * box["width"], box["y"] + share[1] * box["height"]


def click(page: Page, share: tuple[float, float], *keys: str) -> None:
    x, y = place(page, share)
    for key in keys:
        page.keyboard.down(key)
    page.mouse.click(x, y)
    for key in keys:
        page.keyboard.up(key)


def painted(page: Page, share: tuple[float, float]) -> bool:
    return page.evaluate(PAINTED, share)


def save(page: Page) -> np.ndarray:
    with page.expect_download() as download:
        page.get_by_role("button", name="Save").click()
    assert download.value.suggested_filename.endswith("-cut.png")
    with Image.open(download.value.path()) as image:
        assert image.mode == "RGBA"
        return np.array(image)


def test_an_object_of_a_real_photo_is_clicked_painted_and_saved(chromium, real):
    with watched(chromium, real) as seen:
        page = seen.go("/")
        number = identity(real.url, FLOWER)
        page.locator(f'.cell[data-id="{number}"] .photo').click()
        page.get_by_role("dialog", name="Photo").get_by_role("button", name="Cut out").click()
        expect(page).to_have_url(re.compile(rf"/photo/{number}/cut$"))
        expect(said(page)).to_have_text(READY, timeout=180_000)
        click(page, MIDDLE)
        expect(said(page)).to_contain_text("Selected:")
        picture = save(page)
        with Image.open(EXAMPLES / FLOWER) as original:
            assert picture.shape == (original.height, original.width, 4)
            colours = np.array(original.convert("RGB"))
        alpha = picture[..., 3]
        opaque = alpha == 255
        assert np.array_equal(picture[opaque][:, :3], colours[opaque])
        assert not picture[alpha == 0].any()
        shares = [((x + 0.5) / 24, (y + 0.5) / 16) for x in range(24) for y in range(16)]
        agree = sum(
            painted(page, (x, y)) == (alpha[int(y * alpha.shape[0]), int(x * alpha.shape[1])] > 127)
            for x, y in [MIDDLE, *shares]
        )
        assert agree >= 0.97 * len(shares)
        assert 0 < (alpha > 127).mean() < 1
        if SHIPPED:
            assert alpha[int(MIDDLE[1] * alpha.shape[0]), int(MIDDLE[0] * alpha.shape[1])] == 255
            assert painted(page, MIDDLE)
            assert 0.005 < (alpha > 127).mean() < 0.6
        page.get_by_role("button", name="Back to the photo").click()
        expect(page).to_have_url(re.compile(rf"/photo/{number}$"))
        expect(page.get_by_role("dialog", name="Photo")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog", name="Photo")).to_have_count(0)


def test_clicks_select_add_and_remove_and_are_undone(seen):
    page = open_cut(seen)
    first, second = (0.3, 0.5), (0.7, 0.5)
    click(page, second, "Alt")
    expect(said(page)).to_have_text("Nothing is selected yet: click something first.")
    click(page, first)
    expect(said(page)).to_contain_text("Selected: Object")
    assert (painted(page, first), painted(page, second)) == (True, False)
    click(page, second, "Shift")
    expect(page.locator(".cut-point")).to_have_count(2)
    assert (painted(page, first), painted(page, second)) == (True, True)
    click(page, first, "Alt")
    expect(page.locator(".cut-point-off")).to_have_count(1)
    assert (painted(page, first), painted(page, second)) == (False, True)
    page.keyboard.press("Control+z")
    expect(page.locator(".cut-point")).to_have_count(2)
    assert (painted(page, first), painted(page, second)) == (True, True)
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("button", name="Redo").click()
    assert painted(page, second)
    click(page, second)
    expect(page.locator(".cut-point")).to_have_count(1)
    assert (painted(page, first), painted(page, second)) == (False, True)
    page.keyboard.press("Escape")
    expect(page.locator(".cut-edge")).to_have_count(0)
    expect(page.get_by_role("button", name="Save")).to_be_disabled()
    page.keyboard.press("Control+z")
    expect(page.locator(".cut-edge")).to_have_count(2)


def test_the_tools_do_what_the_keys_do(seen):
    page = open_cut(seen)
    first, second = (0.3, 0.5), (0.7, 0.5)
    click(page, first)
    page.locator(".cut-option", has_text="Add").click()
    click(page, second)
    expect(page.locator(".cut-point")).to_have_count(2)
    page.locator(".cut-option", has_text="Remove").click()
    click(page, first)
    expect(page.locator(".cut-point-off")).to_have_count(1)
    assert (painted(page, first), painted(page, second)) == (False, True)


def test_part_object_and_whole_of_one_click_can_be_chosen_and_refined(seen):
    page = open_cut(seen)
    centre, near = (0.5, 0.5), (0.68, 0.5)
    click(page, centre)
    answers = page.get_by_role("radiogroup", name="What is meant")
    expect(answers.get_by_role("radio", name="Object")).to_be_checked()
    assert not painted(page, near)
    answers.get_by_text("Whole").click()
    expect(said(page)).to_contain_text("Selected: Whole")
    assert painted(page, near)
    page.keyboard.press("ArrowLeft")  # radio buttons, walked through by arrows
    expect(answers.get_by_role("radio", name="Object")).to_be_checked()
    answers.get_by_text("Whole").click()
    click(page, (0.05, 0.1), "Shift")
    expect(answers).to_have_count(0)
    assert painted(page, near)
    assert painted(page, (0.05, 0.1))
    whole = save(page)
    assert whole[whole.shape[0] // 2, int(0.68 * whole.shape[1]), 3] == 255


def test_a_box_is_dragged(seen):
    page = open_cut(seen)
    page.mouse.move(*place(page, (0.2, 0.3)))
    page.mouse.down()
    page.mouse.move(*place(page, (0.4, 0.5)))
    expect(page.locator(".cut-box")).to_be_visible()
    page.mouse.move(*place(page, (0.6, 0.7)))
    page.mouse.up()
    expect(said(page)).to_contain_text("Selected:")
    assert painted(page, (0.25, 0.35))
    assert painted(page, (0.55, 0.65))
    assert not painted(page, (0.7, 0.5))


def test_a_cross_hair_does_all_of_it_with_keys_alone(seen):
    page = open_cut(seen)
    assert page.evaluate("document.activeElement.className") == "cut-stage"
    page.keyboard.press("Enter")
    expect(said(page)).to_contain_text("Selected:")
    assert painted(page, (0.5, 0.5))
    for _ in range(15):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+Enter")
    expect(page.locator(".cut-point")).to_have_count(2)
    assert painted(page, (0.8, 0.5))
    page.keyboard.press("Alt+Enter")
    expect(page.locator(".cut-point-off")).to_have_count(1)
    assert (painted(page, (0.5, 0.5)), painted(page, (0.8, 0.5))) == (True, False)
    page.keyboard.press("b")
    for _ in range(10):
        page.keyboard.press("ArrowUp")
        page.keyboard.press("ArrowLeft")
    page.keyboard.press("b")
    expect(page.locator(".cut-point")).to_have_count(0)
    assert (painted(page, (0.75, 0.45)), painted(page, (0.5, 0.5))) == (True, False)
    with page.expect_download():
        page.keyboard.press("Control+s")


def test_pointing_shows_what_a_click_would_select_one_request_at_a_time(seen):
    page = open_cut(seen)
    page.evaluate(COUNT)
    page.evaluate(SWEEP)
    expect(page.locator(".cut-hover")).to_have_count(1)
    page.wait_for_function("x => (" + PAINTED.replace(".cut-edge", ".cut-hover") + ")([x, 0.5])", arg=0.7)
    assert page.evaluate("counted") == {"now": 0, "most": 1, "sent": 2}  # the first place and the last one
    assert page.evaluate(PAINTED.replace(".cut-edge", ".cut-hover"), (0.2, 0.5)) is False
    page.mouse.move(*place(page, (0.5, 0.5)))
    page.mouse.move(5, 5)
    expect(page.locator(".cut-hover")).to_have_count(0)


def test_words_find_something_or_say_in_a_line_that_there_is_nothing(seen):
    page = open_cut(seen)
    box = page.get_by_role("searchbox", name="Words for what to cut out")
    box.fill("a purple whale")
    box.press("Enter")
    expect(said(page)).to_have_text("Nothing found for “a purple whale”.")
    expect(page.locator(".cut-edge")).to_have_count(0)
    box.fill("the square")
    box.press("Enter")
    expect(said(page)).to_contain_text("Selected:")
    expect(page.locator(".cut-edge")).to_have_count(2)
    page.get_by_label("All of them").check()
    box.press("Enter")
    expect(said(page)).to_contain_text("Selected: 2 things")
    page.get_by_role("radiogroup", name="What is meant").get_by_text("2", exact=True).click()
    expect(said(page)).to_contain_text("Selected: a thing")


def test_a_turned_photo_is_cut_upright(seen):
    page = open_cut(seen, TURNED)
    click(page, (0.2, 0.3))
    expect(said(page)).to_contain_text("Selected:")
    picture = save(page)
    with Image.open(EXAMPLES / FLOWER) as upright:
        assert picture.shape[:2] == (upright.height, upright.width)
    height, width = picture.shape[:2]
    assert picture[int(0.3 * height), int(0.2 * width), 3] == 255
    assert picture[int(0.8 * height), int(0.7 * width), 3] == 0


def test_the_cut_out_is_trimmed_and_copied(seen):
    page = open_cut(seen)
    click(page, (0.5, 0.5))
    page.get_by_label("Trim").check()
    whole = (640, 427)
    trimmed = save(page)
    assert trimmed.shape[0] < whole[1]
    assert trimmed.shape[0] == pytest.approx(trimmed.shape[1], abs=4)
    page.get_by_role("button", name="Copy").click()
    expect(said(page)).to_have_text("The cut-out is copied.")
    copied = page.evaluate("""async () => {
      const [item] = await navigator.clipboard.read();
      return [...new Uint8Array(await (await item.getType("image/png")).arrayBuffer())];
    }""")
    with Image.open(io.BytesIO(bytes(copied))) as image:
        assert image.size == trimmed.shape[1::-1]


def test_a_photo_that_cannot_be_cut_says_so_in_a_line(seen):
    page = seen.go("/photo/987654/cut")
    expect(said(page)).to_contain_text("This photo is not in the library any more.")
    page.get_by_role("button", name="Back to the photo").click()
    expect(page).not_to_have_url(re.compile("cut$"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_view_has_no_serious_accessibility_fault(chromium, discs, scheme):
    with watched(chromium, discs, color_scheme=scheme) as seen:
        page = open_cut(seen)
        click(page, (0.5, 0.5))
        expect(said(page)).to_contain_text("Selected:")
        click(page, (0.7, 0.5), "Shift")
        page.keyboard.press("Control+z")  # so that every button can be pressed
        words = page.get_by_role("searchbox", name="Words for what to cut out")
        words.fill("nothing")
        words.press("Enter")
        expect(said(page)).to_contain_text("Nothing found")
        found = faults(page)
        assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("locale", "hint", "selected"),
    [("en-GB", "Click what you want", "Selected: Object"), ("zh-CN", "点击要抠出的东西", "已选中：物体")],
)
def test_it_fits_a_phone_in_both_languages(chromium, discs, locale, hint, selected):
    options = {"viewport": PHONE, "has_touch": True, "is_mobile": True, "locale": locale}
    with watched(chromium, discs, **options) as seen:
        page = seen.go(f"/photo/{identity(discs.url, FLOWER)}/cut")
        expect(said(page)).to_contain_text(hint, timeout=60_000)
        page.touchscreen.tap(*place(page, (0.5, 0.5)))
        expect(said(page)).to_contain_text(selected)
        for part in (".cut-top", ".cut-controls", ".cut-choice >> nth=0", ".cut-words"):
            box = page.locator(part).bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= PHONE["width"]
            inner = page.locator(part).evaluate("one => one.scrollWidth - one.clientWidth")
            assert inner <= 1, part
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        missing = re.findall(r"(?m)^[a-z]+\.[a-z_]+$", page.inner_text(".cut"))
        assert not missing


def test_a_cut_out_is_sent_to_the_editor(chromium, indexed, tmp_path):
    library = tmp_path / "library"
    shutil.copytree(indexed, library, ignore=shutil.ignore_patterns("*.lock"))
    painter = tmp_path / "painter.py"
    painter.write_text("import sys; assert sys.argv[1].endswith('.png')")
    editor = f"{shlex.quote(sys.executable)} {shlex.quote(str(painter))}"
    program = (str(HERE / "disc_program.py"),)
    with serving(library, "--editor", editor, program=program) as server, watched(chromium, server) as seen:
        page = open_cut(seen)
        send = page.get_by_role("button", name="Send to painter")
        expect(send).to_be_disabled()
        click(page, MIDDLE)
        expect(page.locator(".cut-edge")).to_have_count(2)
        send.click()
        expect(said(page)).to_have_text(
            "Opened in painter; kept in the library's folder cut-outs as IMG_0018-cut.png."
        )
        with (
            Image.open(library / "cut-outs" / "IMG_0018-cut.png") as image,
            Image.open(EXAMPLES / FLOWER) as whole,
        ):
            assert image.size == whole.size
            alpha = np.array(image.getchannel("A"))
        assert alpha[round(MIDDLE[1] * image.height), round(MIDDLE[0] * image.width)] == 255
        assert alpha[0, 0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cut", "cut-zh-dark"])
def test_a_picture_of_it_for_the_documentation(chromium, real, tmp_path, name):
    """As in test_rooms_pictures: kept with SENSORIUM_KEEP_PICTURES=1, which takes the packaged model."""
    options = {"locale": "zh-CN", "color_scheme": "dark"} if name.endswith("dark") else {}
    keep = bool(os.environ.get("SENSORIUM_KEEP_PICTURES")) and SHIPPED
    with watched(chromium, real, viewport=WINDOW, **options) as seen:
        page = seen.go(f"/photo/{identity(real.url, FLOWER)}/cut")
        expect(page.locator(".cut-busy")).to_have_count(0, timeout=180_000)
        click(page, MIDDLE)
        expect(page.locator(".cut-edge")).to_have_count(2)
        page.mouse.move(2, 400)  # the preview lies over what is selected
        page.wait_for_timeout(500)
        target = (DOCS if keep else tmp_path) / f"page-{name}.png"
        target.write_bytes(small(page.screenshot()))
        assert target.stat().st_size > 10_000
