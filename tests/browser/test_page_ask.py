"""Asking in the page: words as they come, boxes and maps on the photo, refusals, phones, both languages."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from browsing import PHONE, serving, watched
from playwright.sync_api import Page, expect
from test_rooms_look import faults
from test_rooms_pictures import DOCS, WINDOW, small

from sensorium.photos.library import Library

sys.path.insert(0, str(Path(__file__).parents[1]))

pytestmark = pytest.mark.browser

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples" / "photos"
FLOWER, OTHERS = "IMG_0018.jpg", ("IMG_0001.jpg", "IMG_0002.jpg")
WORDS = "The flower is in the middle, <b>I think</b>."
PLACE = """(box) => {
  const frame = document.querySelector(".ask-picture").getBoundingClientRect();
  const one = box.getBoundingClientRect();
  return [(one.left - frame.left) / frame.width, (one.top - frame.top) / frame.height,
    (one.right - frame.left) / frame.width, (one.bottom - frame.top) / frame.height];
}"""
WARMEST = """() => {
  const canvas = document.querySelector(".ask-look"), { width, height } = canvas;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  let best = 0, at = 0;
  for (let i = 0; i < width * height; i++) {
    if (data[i * 4] - data[i * 4 + 2] > best) { best = data[i * 4] - data[i * 4 + 2]; at = i; }
  }
  return [(at % width + 0.5) / width, (Math.floor(at / width) + 0.5) / height];
}"""


@pytest.fixture(scope="module")
def indexed(tmp_path_factory):
    """A library of a few photos and a film."""
    import av
    from PIL import Image

    folder = tmp_path_factory.mktemp("asked")
    pictures = folder / "Pictures"
    pictures.mkdir()
    for name in (FLOWER, *OTHERS, "IMG_0003.jpg"):
        shutil.copy(EXAMPLES / name, pictures)
    with av.open(str(pictures / "film.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=4)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for number in range(16):
            container.mux(
                stream.encode(av.VideoFrame.from_image(Image.new("RGB", (320, 240), (15 * number, 90, 40))))
            )
        container.mux(stream.encode(None))
    with Library.open(folder / "library", create=True) as library:
        for _ in library.index([pictures]):
            pass
    return folder / "library"


@pytest.fixture(scope="module")
def known(indexed):
    """A server whose model answers what is known."""
    with serving(indexed, program=(str(HERE / "asking_program.py"),)) as running:
        yield running


@pytest.fixture
def seen(chromium, known):
    """A desktop window on it."""
    with watched(chromium, known) as window:
        yield window


def identity(url: str, name: str) -> int:
    with urlopen(f"{url}/api/v1/grid") as answer:
        ids = json.load(answer)["ids"]
    with urlopen(f"{url}/api/v1/photos?ids={','.join(map(str, ids))}") as answer:
        return next(card["id"] for card in json.load(answer)["photos"] if card["name"] == name)


def open_ask(seen, name: str = FLOWER) -> Page:
    page = seen.go(f"/photo/{identity(seen.server.url, name)}/ask")
    expect(page.locator(".ask-welcome, .ask-exchange").first).to_be_visible()
    page.wait_for_function(
        "() => document.querySelector('.ask-image')?.naturalWidth > 0 || document.querySelector('video')"
    )
    return page


def field(page: Page):
    return page.get_by_role("textbox", name="Your question")


def put(page: Page, question: str) -> None:
    field(page).fill(question)
    field(page).press("Enter")


def reply(page: Page, number: int = -1):
    return page.locator(".ask-reply").nth(number)


def done(page: Page) -> None:
    expect(page.locator(".ask-reply-done, .ask-reply-failed, .ask-reply-stopped").last).to_be_visible(
        timeout=60_000
    )
    expect(page.get_by_role("button", name="Stop")).to_have_count(0, timeout=60_000)


def test_from_the_viewer_a_question_is_answered_and_the_way_leads_back(seen):
    page = seen.go("/")
    number = identity(seen.server.url, FLOWER)
    page.locator(f'.cell[data-id="{number}"] .photo').click()
    page.get_by_role("dialog", name="Photo").get_by_role("button", name="Ask about this photo").click()
    expect(page).to_have_url(re.compile(rf"/photo/{number}/ask$"))
    expect(page.locator(".ask-welcome")).to_contain_text(
        "test/stand-in answers, on this computer.", timeout=60_000
    )
    expect(page.locator(".ask-welcome")).to_contain_text("It understands: English, Chinese.")
    put(page, "What is it?")
    done(page)
    expect(reply(page).locator(".ask-text")).to_have_text(WORDS)
    expect(page.locator(".ask b")).to_have_count(0)  # words of a model are words
    facts = reply(page).locator(".ask-facts")
    for part in (
        "test/stand-in",
        "224 × 224",
        "196 tokens",
        "the model's own budget",
        "216 tokens of 2,048 read",
        "12 written",
        "1.3s",
    ):
        expect(facts).to_contain_text(part)
    page.get_by_role("button", name="Back").click()
    expect(page).to_have_url(re.compile(rf"/photo/{number}$"))
    expect(page.get_by_role("dialog", name="Photo")).to_be_visible()


def test_words_appear_as_they_come_and_can_be_stopped(seen):
    page = open_ask(seen)
    put(page, "Please count")
    expect(reply(page).locator(".ask-text")).to_contain_text("0 1 2", timeout=60_000)
    early = reply(page).locator(".ask-text").inner_text()
    expect(reply(page).locator(".ask-text")).to_contain_text("10 11 12")
    assert "12" not in early
    page.get_by_role("button", name="Stop").click()
    expect(reply(page)).to_contain_text("Stopped.")
    written = reply(page).locator(".ask-text").inner_text()
    page.wait_for_timeout(400)
    assert reply(page).locator(".ask-text").inner_text() == written
    put(page, "Please count")
    expect(reply(page).locator(".ask-text")).to_contain_text("0 1 2")
    page.keyboard.press("Escape")  # first the answer, then the room
    expect(reply(page)).to_contain_text("Stopped.")
    put(page, "What is it?")
    done(page)
    expect(reply(page).locator(".ask-text")).to_have_text(WORDS)
    page.keyboard.press("Escape")
    expect(page).not_to_have_url(re.compile("ask$"))


def test_a_conversation_goes_on_and_begins_anew(seen):
    page = open_ask(seen)
    for _ in range(2):
        put(page, "What is it?")
        done(page)
    put(page, "And again?")
    done(page)
    expect(reply(page).locator(".ask-text")).to_have_text("You asked 3 times.")
    expect(reply(page).locator(".ask-facts")).to_contain_text("200 known already")
    page.get_by_role("button", name="Begin anew").click()
    expect(page.locator(".ask-exchange")).to_have_count(0)
    put(page, "Once again?")
    done(page)
    expect(reply(page).locator(".ask-text")).to_have_text("You asked 1 times.")


def test_boxes_are_drawn_where_they_belong_and_come_back_with_their_answer(seen):
    page = open_ask(seen)
    put(page, "Where is the flower?")
    done(page)
    boxes = page.locator(".ask-box")
    expect(boxes).to_have_count(2)
    assert boxes.first.evaluate(PLACE) == pytest.approx([0.4, 0.3, 0.6, 0.8], abs=0.01)
    assert boxes.nth(1).evaluate(PLACE) == pytest.approx([0.05, 0, 0.2, 0.2], abs=0.01)
    expect(boxes.first).to_have_text("the <i>flower</i>")
    expect(boxes.nth(1)).to_have_text("2")
    put(page, "What is it?")
    done(page)
    expect(boxes).to_have_count(0)
    page.get_by_role("button", name="2 places on the photo").click()
    expect(boxes).to_have_count(2)


def test_where_it_looked_is_drawn_by_layers(seen):
    page = open_ask(seen)
    put(page, "What is it?")
    done(page)
    switch = page.get_by_role("button", name="Where it looked")
    switch.click()  # asked for afterwards
    layers = page.get_by_role("radiogroup", name="Which part of the model")
    expect(layers.get_by_role("radio")).to_have_count(3)
    expect(layers.get_by_role("radio", name="Answer, layer 3")).to_be_checked()
    assert page.evaluate(WARMEST) == pytest.approx([0.5, 0.55], abs=0.08)
    frame, drawn = (page.locator(one).bounding_box() for one in (".ask-picture", ".ask-look"))
    assert drawn["width"] == pytest.approx(frame["width"], abs=1)
    last = page.locator(".ask-look").evaluate("one => one.toDataURL()")
    layers.get_by_text("Eye, layer 1").click()
    page.wait_for_function("last => document.querySelector('.ask-look').toDataURL() !== last", arg=last)
    expect(page.locator(".ask-exchange")).to_have_count(1)
    put(page, "Where is it?")  # asked for beforehand, and remembered for the next visit
    done(page)
    expect(page.locator(".ask-look")).to_have_count(1)
    page.reload()
    expect(switch).to_have_attribute("aria-pressed", "true")
    switch.click()
    expect(switch).to_have_attribute("aria-pressed", "false")


def test_suggestions_ask_or_leave_a_gap_to_fill(seen):
    page = open_ask(seen)
    page.get_by_role("button", name="How many … are there?").click()
    expect(field(page)).to_be_focused()
    page.keyboard.type("petals")
    expect(field(page)).to_have_value("How many petals are there?")
    page.keyboard.press("End")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("And leaves?")
    expect(field(page)).to_have_value("How many petals are there?\nAnd leaves?")
    page.keyboard.press("Enter")
    done(page)
    expect(page.locator(".ask-question")).to_have_text("How many petals are there?\nAnd leaves?")
    page.get_by_role("button", name="What is this?").click()
    done(page)
    expect(page.locator(".ask-question").last).to_have_text("What is this?")


def test_several_photos_are_selected_and_asked_about_together(seen):
    page = seen.go("/")
    ids = [identity(seen.server.url, name) for name in (FLOWER, *OTHERS)]
    for number in ids:
        cell = page.locator(f'.cell[data-id="{number}"]')
        cell.hover()
        cell.locator(".pick, .check, [aria-label*=elect]").first.click()
    page.get_by_role("toolbar").get_by_role("button", name="Ask about them").click()
    expect(page).to_have_url(re.compile(rf"/photo/{ids[0]}/ask\?with={ids[1]},{ids[2]}$"))
    expect(page.get_by_role("heading", name="Ask about 3 photos")).to_be_visible()
    put(page, "Where is it?")
    done(page)
    expect(reply(page).locator(".ask-facts")).to_contain_text("3 × whole, with edges")
    expect(page.get_by_role("button", name="Photo 3 of 3")).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".ask-box")).to_have_count(2)
    page.get_by_role("button", name="Photo 1 of 3").click()
    expect(page.locator(".ask-box")).to_have_count(0)
    page.go_back()
    expect(page.locator(".ask")).to_have_count(0)
    four = identity(seen.server.url, "IMG_0003.jpg")
    seen.go(f"/photo/{ids[0]}/ask?with={ids[1]},{ids[2]},{four}")
    expect(page.get_by_role("alert")).to_contain_text("sees at most 3 photos at once, not 4")
    expect(field(page)).to_be_disabled()


def test_a_film_is_asked_about_and_the_frame_is_shown(seen):
    page = open_ask(seen, "film.mp4")
    expect(page.locator("video.ask-image")).to_have_count(1)
    put(page, "Where is it?")
    done(page)
    expect(reply(page).locator(".ask-facts")).to_contain_text("frames")
    expect(page.locator("img.ask-image")).to_have_attribute("src", re.compile("^data:image/jpeg"))
    expect(page.locator(".ask-box")).to_have_count(2)
    expect(page.locator(".ask-below")).to_contain_text("film.mp4 at ")


def test_what_cannot_be_answered_is_said_in_a_line_and_the_next_question_is_possible(seen):
    page = open_ask(seen)
    for question, line in {
        "язык?": "was not made for Cyrillic letters: ask in one of its languages (en, zh)",
        "a long one": "530 places of a context of 512, 18 too many",
        "an elephant": "The model's process ended before the answer did. Ask again.",
    }.items():
        put(page, question)
        done(page)
        expect(reply(page).get_by_role("alert")).to_contain_text(line)
    put(page, "What is it?")
    done(page)
    expect(reply(page).locator(".ask-text")).to_have_text(WORDS)
    expect(reply(page).locator(".ask-facts")).not_to_contain_text("known already")
    field(page).fill("x" * 4003)
    expect(page.locator(".ask-over")).to_have_text("3 letters too many: a question has at most 4,000.")
    expect(page.get_by_role("button", name="Send")).to_be_disabled()


def test_without_a_model_the_page_says_how_to_get_one(chromium, indexed, tmp_path):
    library = tmp_path / "library"
    shutil.copytree(indexed, library, ignore=shutil.ignore_patterns("*.lock"))
    with (
        serving(library, "--ask-model", "Qwen/Qwen2.5-VL-3B-Instruct") as server,
        watched(chromium, server) as seen,
    ):
        page = open_ask(seen)
        expect(page.get_by_role("heading", name="No model that answers is on this computer")).to_be_visible(
            timeout=60_000
        )
        expect(page.locator(".ask-welcome")).to_contain_text("Qwen/Qwen2.5-VL-3B-Instruct")
        expect(field(page)).to_be_disabled()


def test_a_real_network_answers_in_the_page(chromium, indexed, tmp_path):
    """A tiny one that learned nothing: its words mean nothing, but everything around them is real."""
    import tiny_answerers

    library = tmp_path / "library"
    shutil.copytree(indexed, library, ignore=shutil.ignore_patterns("*.lock"))
    model = tiny_answerers.folder_of("llava", tmp_path, card="language: en")
    with serving(library, "--ask-model", str(model)) as server, watched(chromium, server) as seen:
        page = open_ask(seen)
        page.get_by_role("button", name="Where it looked").click()
        put(page, "What is this?")
        done(page)
        facts = reply(page).locator(".ask-facts").first
        expect(facts).to_contain_text("tiny-llava")
        expect(facts).to_contain_text("of 512 read")
        expect(
            page.get_by_role("radiogroup", name="Which part of the model").get_by_role("radio")
        ).not_to_have_count(0)
        expect(page.locator(".ask-look")).to_have_count(1)
        put(page, "What is this?")
        done(page)
        expect(reply(page).locator(".ask-facts").first).to_contain_text("known already")
        put(page, "Что это такое?")
        done(page)
        expect(reply(page).get_by_role("alert")).to_contain_text("Cyrillic letters")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A server of the drawn scenes, as it is without any settings."""
    folder = tmp_path_factory.mktemp("drawn")
    shutil.copytree(HERE.parents[1] / "examples" / "drawn", folder / "Pictures")
    with Library.open(folder / "library", create=True) as library:
        for _ in library.index([folder / "Pictures"]):
            pass
    with serving(folder / "library") as running:
        yield running


@pytest.mark.parametrize(
    ("locale", "questions"),
    [
        (
            "en-GB",
            (
                ("How many signs are there?", "number of signs: 2"),
                ("What is the weather tomorrow?", "I cannot tell"),
            ),
        ),
        ("zh-CN", (("有几个牌子？", "牌子：2个"), ("明天天气怎么样？", "我不知道"))),
    ],
)
def test_the_packaged_model_answers_in_the_page(chromium, drawn, locale, questions):
    with watched(chromium, drawn, locale=locale) as seen:
        page = open_ask(seen, "signs.jpg")
        expect(page.locator(".ask-welcome")).to_contain_text("sensorium/mini-vlm", timeout=60_000)
        for question, answer in questions:
            page.locator("textarea").fill(question)
            page.locator("textarea").press("Enter")
            expect(reply(page).locator(".ask-text")).to_contain_text(answer, timeout=60_000)
        expect(page.locator(".ask-facts").last).to_contain_text("sensorium/mini-vlm")


def test_the_packaged_model_points_and_shows_where_it_looked(chromium, drawn):
    with watched(chromium, drawn) as seen:
        page = open_ask(seen, "butterfly.jpg")
        page.get_by_role("button", name="Where it looked").click()
        put(page, "Where is the boat?")
        done(page)
        left, top, right, bottom = page.locator(".ask-box").evaluate(PLACE)
        assert left < 535 / 640 < right  # the middle of the boat
        assert top < 229 / 640 < bottom
        layers = page.get_by_role("radiogroup", name="Which part of the model")
        expect(layers.get_by_role("radio")).to_have_count(6)
        expect(layers.get_by_role("radio", name="Answer, layer 4")).to_be_checked()
        last = page.locator(".ask-look").evaluate("one => one.toDataURL()")
        layers.get_by_text("Answer, layer 1").click()
        page.wait_for_function("last => document.querySelector('.ask-look').toDataURL() !== last", arg=last)
        across, down = page.locator(".ask-look").evaluate(WARMEST)
        assert left < across < right
        assert top < down < bottom


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_chat_has_no_serious_accessibility_fault(chromium, known, scheme):
    with watched(chromium, known, color_scheme=scheme) as seen:
        page = open_ask(seen)
        page.get_by_role("button", name="Where it looked").click()
        put(page, "Where is the flower?")
        done(page)
        put(page, "a long one")
        done(page)
        page.get_by_role("button", name="2 places on the photo").click()
        expect(page.locator(".ask-look")).to_have_count(1)
        found = faults(page)
        assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("locale", "label", "question"),
    [("en-GB", "Your question", "Where?"), ("zh-CN", "您的问题", "你好，在哪里？")],
)
def test_it_fits_a_phone_in_both_languages(chromium, known, locale, label, question):
    options = {"viewport": PHONE, "has_touch": True, "is_mobile": True, "locale": locale}
    with watched(chromium, known, **options) as seen:
        page = open_ask(seen)
        page.get_by_role("textbox", name=label).fill(question)
        page.get_by_role("textbox", name=label).press("Enter")
        expect(page.locator(".ask-reply-done")).to_be_visible(timeout=60_000)
        page.locator(".ask-actions button").first.click()
        expect(page.locator(".ask-look")).to_have_count(1)
        for part in (".ask-top", ".ask-below", ".ask-words", ".ask-composer", ".ask-field"):
            box = page.locator(part).bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= PHONE["width"]
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        missing = re.findall(r"(?m)\b(?:ask|action|error)\.[a-zA-Z_]+", page.inner_text(".ask"))
        assert not missing
        assert ("词元" in page.inner_text(".ask-facts")) == (locale == "zh-CN")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ask", "ask-zh-dark"])
def test_a_picture_of_it_for_the_documentation(chromium, drawn, tmp_path, name):
    """As in test_rooms_pictures: kept with SENSORIUM_KEEP_PICTURES=1."""
    options = {"locale": "zh-CN", "color_scheme": "dark"} if name.endswith("dark") else {}
    keep = bool(os.environ.get("SENSORIUM_KEEP_PICTURES"))
    english = ("What do you see?", "Where is the boat?")
    with watched(chromium, drawn, viewport=WINDOW, **options) as seen:
        page = open_ask(seen, "butterfly.jpg")
        for question in ("蝴蝶在船的左边吗？", "船在哪里？") if options else english:
            page.locator("textarea").fill(question)
            page.locator("textarea").press("Enter")
            done(page)
        expect(page.locator(".ask-box")).to_have_count(1, timeout=60_000)
        page.wait_for_timeout(500)
        target = (DOCS if keep else tmp_path) / f"page-{name}.png"
        target.write_bytes(small(page.screenshot()))
        assert target.stat().st_size > 10_000
