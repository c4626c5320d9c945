"""What is around the rooms, in a real browser: language, colours, phone, keyboard, a server that is gone."""

from __future__ import annotations

import re
import urllib.request

import pytest
from browsing import PHONE, watched
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


def background(page) -> str:
    return page.evaluate("getComputedStyle(document.documentElement).backgroundColor")


def test_the_language_is_switched_at_once_and_remembered(view):
    page = view.go("/search?q=boats")
    expect(page.get_by_text("2 photos found")).to_be_visible()
    page.get_by_role("button", name="中文").click()
    expect(page.get_by_text("找到 2 张照片")).to_be_visible()
    expect(page.locator(".cell .why").first).to_have_text("看起来像“boats”")
    assert page.evaluate("document.documentElement.lang").startswith("zh")
    page.reload()
    expect(page.get_by_role("searchbox", name="搜索照片")).to_be_visible()
    page.get_by_role("button", name="English").click()
    expect(page.get_by_text("2 photos found")).to_be_visible()


def test_the_browsers_language_is_the_first_one(chromium, gallery):
    with watched(chromium, gallery, locale="zh-CN") as window:
        page = window.go("/")
        expect(page.get_by_role("heading", name="2015年9月至10月")).to_be_visible()
        expect(page.get_by_role("link", name="收藏")).to_be_visible()


def test_colours_follow_the_system_and_the_switch(chromium, gallery):
    with watched(chromium, gallery, color_scheme="dark") as window:
        page = window.go("/")
        dark = background(page)
        page.get_by_role("button", name="Colours: like the system").click()
        expect(page.locator("html")).to_have_attribute("data-theme", "light")
        light = background(page)
        assert sum(map(int, re.findall(r"\d+", light)[:3])) > sum(map(int, re.findall(r"\d+", dark)[:3]))
        page.reload()
        page.wait_for_selector(".cell")
        assert background(page) == light
        page.get_by_role("button", name="Colours: light").click()
        assert background(page) == dark


def test_a_phone_has_its_rooms_at_the_lower_edge(chromium, gallery):
    with watched(chromium, gallery, viewport=PHONE, has_touch=True, is_mobile=True) as phone:
        page = phone.go("/")
        bar = page.get_by_role("navigation", name="Rooms")
        expect(bar).to_have_count(1)
        assert bar.bounding_box()["y"] + bar.bounding_box()["height"] == PHONE["height"]
        for name in ("Photos", "People", "Map", "Albums"):
            expect(bar.get_by_role("link", name=name)).to_be_visible()
        bar.get_by_role("button", name="More", exact=True).tap()
        page.get_by_role("dialog").get_by_role("link", name="Favourites").tap()
        expect(page.get_by_role("heading", name="No favourites yet")).to_be_visible()
        expect(page.get_by_role("dialog")).to_have_count(0)


def test_the_keyboard_reaches_the_photos_past_the_navigation(view):
    page = view.go("/")
    page.wait_for_selector(".cell")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the photos")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.classList.contains('photo')")


def test_an_unknown_address_says_so(view):
    page = view.page
    page.goto(view.server.url + "/")
    page.wait_for_selector(".cell")
    page.evaluate("history.pushState(null, '', '/nowhere'); dispatchEvent(new PopStateEvent('popstate'))")
    expect(page.get_by_text("There is no such page.")).to_be_visible()


def test_a_server_that_is_gone_is_named_and_comes_back(view):
    page = view.go("/search")
    page.wait_for_selector(".examples a.chip")
    page.context.set_offline(True)
    page.get_by_role("searchbox").fill("boats")
    page.get_by_role("searchbox").press("Enter")
    expect(page.get_by_text("The server does not answer. Is Sensorium still running?")).to_be_visible()
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("2 photos found")).to_be_visible()


def test_the_page_asks_for_nothing_that_its_policy_forbids(gallery):
    with urllib.request.urlopen(gallery.url + "/") as answer:
        policy = answer.headers["Content-Security-Policy"]
        text = answer.read().decode()
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert not re.search(r"\son\w+=|style=|<script>(?!</script>)", text)


def test_motion_is_left_out_for_those_who_asked(chromium, gallery):
    with watched(chromium, gallery, reduced_motion="reduce") as window:
        page = window.go("/")
        page.wait_for_selector(".photo img.ready")
        assert (
            page.evaluate(
                "parseFloat(getComputedStyle(document.querySelector('.photo img')).transitionDuration)"
            )
            < 0.001
        )
