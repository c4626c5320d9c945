"""Every main view of the page: no accessibility fault, nothing wider than a phone, both languages whole."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from browsing import PHONE, serving, watched
from playwright.sync_api import Page

from sensorium.photos.library import Library

pytestmark = pytest.mark.browser

WEB = Path(__file__).parents[2] / "src" / "sensorium" / "server" / "web"
AXE = WEB / "node_modules" / "axe-core" / "axe.min.js"
VIEWS = (
    "/",
    "/search?q=mountains",
    "/people",
    "/people/1",
    "/people/2?faces=1",
    "/map",
    "/albums",
    "/albums/1",
    "/favourites",
    "/hidden",
    "/videos",
    "/duplicates",
    "/health",
    "/settings",
    "/photo/3",
)
GRAVE = ("serious", "critical")
SETTLED = "() => !document.querySelector('.loading')"
LANGUAGES = ("en", "zh")


def settle(page: Page) -> None:
    page.wait_for_function(SETTLED)
    page.wait_for_timeout(400)


_AT_REST = """() => Promise.all(document.getAnimations()
  .filter((animation) => Number.isFinite(animation.effect?.getComputedTiming().endTime))
  .map((animation) => animation.finished.catch(() => {})))"""


def faults(page: Page) -> list[str]:
    """What axe-core finds serious or critical; what a test evaluates is not subject to the page's policy."""
    if not AXE.exists():
        missing = "axe-core is missing: run `npm ci` in src/sensorium/server/web"
        (pytest.fail if os.environ.get("SENSORIUM_BROWSER_TESTS") == "required" else pytest.skip)(missing)
    page.evaluate(_AT_REST)  # what fades in has little contrast on its way
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("() => axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{page.url} {one['id']} ({one['impact']}): {node['html'][:160]} {node['failureSummary'][:200]}"
        for one in found["violations"]
        if one["impact"] in GRAVE
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_view_has_a_serious_accessibility_fault(chromium, server, scheme):
    with watched(chromium, server, color_scheme=scheme) as seen:
        found: list[str] = []
        for view in VIEWS:
            seen.go(view)
            settle(seen.page)
            found += faults(seen.page)
        assert not found, "\n".join(found)


def test_dialogs_have_no_serious_accessibility_fault(window):
    found: list[str] = []
    page = window.go("/people")
    page.get_by_role("button", name="More for Anna").click()
    found += faults(page)
    page.get_by_role("menuitem", name="Merge with …").click()
    page.locator(".merge-choice").first.click()
    page.get_by_role("dialog").wait_for()  # else its fade begins after fades were counted
    found += faults(page)
    page = window.go("/settings")
    page.get_by_role("button", name="New token").click()
    page.get_by_role("dialog").wait_for()
    found += faults(page)
    page = window.go("/map")
    page.locator(".map-marker").first.click()
    page.locator(".spot").wait_for()
    found += faults(page)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("language", ["en-GB", "zh-CN"])
def test_no_view_is_wider_than_a_phone_or_shows_a_missing_text(chromium, server, language):
    with watched(chromium, server, viewport=PHONE, locale=language) as seen:
        for view in VIEWS:
            page = seen.go(view)
            settle(page)
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= PHONE["width"], f"{view} is {width} pixels wide"
            missing = re.findall(r"(?m)^[a-z]+\.[a-z_]+$", page.inner_text("body"))
            assert not missing, f"{view}: {missing}"


def texts_of(name: str, language: str) -> dict:
    return json.loads((WEB / "i18n" / f"{name}{language}.json").read_text("utf-8"))


def test_both_languages_say_the_same_things():
    for name in ("", "rooms."):
        texts = [texts_of(name, language) for language in LANGUAGES]
        assert texts[0].keys() == texts[1].keys()
        for key, english in texts[0].items():
            wanted = set(re.findall(r"\{(\w+)\}", json.dumps(english))) - {"count"}
            assert wanted <= set(re.findall(r"\{(\w+)\}", json.dumps(texts[1][key]))), key


def test_every_text_that_rooms_ask_for_is_there():
    known = texts_of("", "en") | texts_of("rooms.", "en")
    for script in sorted((WEB / "rooms").rglob("*.js")):
        for key in re.findall(r'\bt\("([a-z_.]+)"', script.read_text(encoding="utf-8")):
            assert key in known, f"{script.name} asks for {key}"


def test_every_room_without_photos_says_what_to_do(chromium, tmp_path):
    Library.open(tmp_path / "library", create=True).close()
    with serving(tmp_path / "library") as empty, watched(chromium, empty) as seen:
        for view in ("/", "/people", "/map", "/albums", "/favourites", "/hidden", "/videos", "/duplicates"):
            page = seen.go(view)
            page.locator(".empty").wait_for()
            assert len(page.locator(".empty").inner_text()) > 30, view
        assert not faults(seen.page)
        seen.go("/settings")
        seen.page.get_by_text("Where are your photos?").wait_for()
        seen.go("/health")
