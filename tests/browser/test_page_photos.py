"""The grid of photos in a real browser: months, selection, keys, marks, albums, export, a large library."""

from __future__ import annotations

import json
import re
import zipfile

import pytest
from browsing import PHONE, watched
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

MANY = 100_000
ROOM = "Rooms"


def cells(page: Page):
    return page.locator(".cell")


def tick(page: Page, place: int) -> None:
    cells(page).nth(place).hover()
    cells(page).nth(place).get_by_role("checkbox").click()


def focused(page: Page) -> int:
    """Which photo has the focus, counted from 1."""
    return int(page.evaluate("document.activeElement.parentElement.getAttribute('aria-posinset')"))


def test_photos_stand_under_their_months_and_fill_rows(view):
    page = view.go("/")
    expect(page.get_by_role("heading", name="September – October 2015")).to_be_visible()
    expect(page.locator(".photo img.ready").first).to_be_visible()
    rows: dict[int, list[dict[str, float]]] = {}
    for box in cells(page).evaluate_all("all => all.map(one => one.getBoundingClientRect().toJSON())"):
        rows.setdefault(round(box["top"]), []).append(box)
    full = [row for row in rows.values() if len(row) > 2]
    assert full
    for row in full[:-1]:
        assert max(box["right"] for box in row) == pytest.approx(
            page.locator(".grid").bounding_box()["x"] + page.locator(".grid").bounding_box()["width"], abs=2
        )
        assert max(box["height"] for box in row) - min(box["height"] for box in row) < 1


def test_each_photo_says_what_it_is_to_those_who_do_not_see_it(view):
    page = view.go("/")
    link = page.get_by_role("link", name=re.compile(r"^Photo, .*29 October 2015.*, IMG_0015\.jpg$"))
    expect(link).to_be_visible()
    expect(page.get_by_role("list", name="September – October 2015").get_by_role("listitem")).to_have_count(2)


def test_selection_by_click_by_range_and_by_keys(view):
    page = view.go("/")
    bar = page.get_by_role("toolbar", name="What to do with the selection")
    tick(page, 0)
    expect(bar).to_contain_text("1 selected")
    cells(page).nth(3).locator("a").click(modifiers=["Shift"])
    expect(bar).to_contain_text("4 selected")
    cells(page).nth(1).locator("a").click()
    expect(bar).to_contain_text("3 selected")
    page.keyboard.press("Escape")
    expect(bar).to_have_count(0)
    cells(page).first.locator("a").focus()
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    expect(bar).to_contain_text("3 selected")
    page.keyboard.press("Control+a")
    expect(bar).to_contain_text("26 selected")


def test_arrows_move_between_photos_and_enter_opens_one(view):
    page = view.go("/")
    cells(page).first.locator("a").focus()
    page.keyboard.press("ArrowRight")
    assert focused(page) == 2
    page.keyboard.press("ArrowDown")
    below = focused(page)
    assert below > 2
    page.keyboard.press("End")
    assert focused(page) == 26
    page.keyboard.press("Home")
    assert focused(page) == 1
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/photo/\d+$"))


def test_hearts_appear_at_once_and_in_the_favourites(view):
    page = view.go("/")
    expect(page.locator(".photo img.ready").first).to_be_visible()
    tick(page, 0)
    tick(page, 1)
    page.get_by_role("button", name="Favourite", exact=True).click()
    expect(page.locator(".badges .icon-filled")).to_have_count(2)
    page.get_by_role("navigation", name=ROOM).get_by_role("link", name="Favourites").click()
    expect(cells(page)).to_have_count(2)
    page.keyboard.press("Escape")
    tick(page, 0)
    tick(page, 1)
    page.get_by_role("button", name="No longer a favourite").click()
    expect(page.get_by_role("heading", name="No favourites yet")).to_be_visible()


def test_a_hidden_photo_leaves_every_room_but_its_own_and_comes_back(view):
    page = view.go("/")
    name = cells(page).first.get_attribute("data-id")
    tick(page, 0)
    page.get_by_role("button", name="Hide", exact=True).click()
    expect(page.locator(f'.cell[data-id="{name}"]')).to_have_count(0)
    page.get_by_role("navigation", name=ROOM).get_by_role("link", name="Hidden").click()
    expect(page.locator(f'.cell[data-id="{name}"]')).to_be_visible()
    page.get_by_role("navigation", name=ROOM).get_by_role("link", name="Photos").click()
    page.wait_for_selector(".cell")
    page.get_by_role("status").filter(has_text="1 photo hidden").get_by_role("button", name="Undo").click()
    expect(page.locator(f'.cell[data-id="{name}"]')).to_be_visible()


def test_a_selection_goes_into_a_new_album(view):
    page = view.go("/")
    tick(page, 0)
    tick(page, 2)
    page.get_by_role("button", name="Add to album").click()
    dialog = page.get_by_role("dialog", name="Add 2 photos to an album")
    dialog.get_by_label("Name of a new album").fill("Autumn 秋")
    dialog.get_by_role("button", name="Create").click()
    expect(page.get_by_text("2 photos added to Autumn 秋")).to_be_visible()
    albums = page.evaluate("fetch('/api/v1/albums').then(answer => answer.json())")["albums"]
    assert [(album["name"], album["photos"]) for album in albums] == [("Autumn 秋", 2)]
    page.goto(f"{view.server.url}/albums/{albums[0]['id']}")
    expect(cells(page)).to_have_count(2)


def test_a_selection_is_taken_along_as_a_zip(view, tmp_path):
    page = view.go("/")
    tick(page, 0)
    tick(page, 1)
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as saved:
        page.get_by_role("menuitem", name="Originals (zip)").click()
    saved.value.save_as(tmp_path / "photos.zip")
    with zipfile.ZipFile(tmp_path / "photos.zip") as packed:
        assert len(packed.namelist()) == 2
        assert packed.testzip() is None


def many(count: int = MANY) -> str:
    """The grid document of a library that is larger than any test would make."""
    ratios = [(1.5, 0.67, 1.33, 0.75, 1.78, 1.0)[(number * 7919) % 6] for number in range(count)]
    months, start = [], 0
    for number in range(240):
        size = count // 240 + (number < count % 240)
        months.append(
            {"month": f"{2025 - number // 12}-{12 - number % 12:02}", "start": start, "count": size}
        )
        start += size
    ids = list(range(10 * count, 9 * count, -1))
    return json.dumps(
        {"generation": 1, "ids": ids, "ratios": ratios, "versions": "aaaa" * count, "months": months}
    )


def test_a_hundred_thousand_photos_have_few_nodes_and_exact_places(view):
    view.page.route(
        "**/api/v1/grid*", lambda route: route.fulfill(body=many(), content_type="application/json")
    )
    page = view.go("/")
    expect(cells(page).first).to_be_visible()
    height = page.evaluate("document.querySelector('.grid').clientHeight")
    assert height > 1_000_000
    seen = 0
    for part in (0.1, 0.35, 0.999, 0.5):
        page.evaluate("part => scrollTo(0, document.documentElement.scrollHeight * part)", part)
        page.wait_for_timeout(120)
        boxes = cells(page).evaluate_all("all => all.map(one => one.getBoundingClientRect().toJSON())")
        assert sum(box["bottom"] > 64 and box["top"] < page.viewport_size["height"] for box in boxes) > 4
        seen = max(seen, cells(page).count())
    assert seen < 200
    assert page.evaluate("document.querySelector('.grid').clientHeight") == height
    cells(page).nth(8).locator("a").focus()
    page.keyboard.press("End")
    assert focused(page) == MANY


def test_the_timeline_says_where_one_is_and_leads_anywhere(view):
    view.page.route(
        "**/api/v1/grid*", lambda route: route.fulfill(body=many(), content_type="application/json")
    )
    page = view.go("/")
    timeline = page.get_by_role("slider", name="Timeline")
    expect(timeline).to_have_attribute("aria-valuetext", "December 2025")
    box = timeline.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(timeline).to_have_attribute("aria-valuetext", re.compile(r" 201[56]$"))
    expect(page.locator(".scrubber .date")).to_have_text(re.compile(r" 201[56]$"))
    timeline.focus()
    page.keyboard.press("End")
    expect(timeline).to_have_attribute("aria-valuetext", "January 2006")


def test_nothing_moves_while_photos_arrive(view):
    view.page.add_init_script(
        "window.moved = 0; new PerformanceObserver(all => all.getEntries()"
        ".forEach(one => { window.moved += one.value })).observe({ type: 'layout-shift', buffered: true })"
    )
    page = view.go("/")
    expect(page.locator(".photo img.ready").nth(4)).to_be_visible()
    assert page.evaluate("window.moved") < 0.01


def test_the_first_paint_comes_within_a_second(view):
    view.go("/")
    view.page.reload()
    view.page.wait_for_selector(".cell")
    painted = view.page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    assert painted < 1000


def test_a_finger_that_rests_selects_on_a_phone(chromium, gallery):
    with watched(chromium, gallery, viewport=PHONE, has_touch=True, is_mobile=True) as phone:
        page = phone.go("/")
        expect(page.locator(".photo img.ready").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        cells(page).first.locator("a").dispatch_event(
            "pointerdown", {"pointerType": "touch", "bubbles": True}
        )
        expect(page.get_by_role("toolbar", name="What to do with the selection")).to_contain_text(
            "1 selected"
        )
        page.get_by_role("button", name="Clear the selection").tap()
        page.get_by_role("button", name="More", exact=True).tap()
        page.get_by_role("dialog").get_by_role("link", name="Videos").tap()
        expect(page.get_by_role("heading", name="No films")).to_be_visible()
