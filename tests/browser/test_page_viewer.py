"""One photo, large, in a real browser: opening, moving, zooming, details, similar ones, closing."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from browsing import PHONE, watched
from playwright.sync_api import Page, expect
from test_page_search import identity, names, search

pytestmark = pytest.mark.browser


def viewer(page: Page):
    return page.get_by_role("dialog", name="Photo")


def open_first(page: Page) -> None:
    page.wait_for_selector(".photo img.ready")
    page.locator(".cell .photo").first.click()
    expect(viewer(page)).to_be_visible()
    page.wait_for_selector(
        ".pswp--open .pswp__item:not([aria-hidden=true]) img.pswp__img:not(.pswp__img--placeholder)"
    )


def shown(page: Page) -> int:
    """The photo of the address."""
    return int(re.search(r"/photo/(\d+)$", page.url)[1])


def zoom(page: Page) -> float:
    """How large the picture is drawn, pixels across."""
    return page.locator(".pswp__item[aria-hidden=false] .pswp__zoom-wrap > img").last.bounding_box()["width"]


def test_a_photo_opens_moves_with_arrows_and_closes_where_it_was(view):
    page = view.go("/")
    open_first(page)
    first = shown(page)
    expect(page.get_by_role("status").filter(has_text="1 of 26")).to_have_count(1)
    page.keyboard.press("ArrowRight")
    expect(page).not_to_have_url(re.compile(rf"/photo/{first}$"))
    second = shown(page)
    page.keyboard.press("Escape")
    expect(viewer(page)).to_have_count(0)
    assert urlsplit(page.url).path == "/"
    assert page.evaluate("document.activeElement.parentElement.dataset.id") == str(second)
    page.go_forward()
    expect(viewer(page)).to_be_visible()
    page.go_back()
    expect(viewer(page)).to_have_count(0)


def test_what_is_behind_an_open_photo_cannot_be_reached(view):
    page = view.go("/")
    open_first(page)
    for _ in range(12):
        page.keyboard.press("Tab")
        inside = page.evaluate(
            "document.activeElement === document.body || !!document.activeElement.closest('.pswp')"
        )
        assert inside
    page.keyboard.press("/")
    expect(viewer(page)).to_be_visible()


def test_zoom_shows_the_picture_larger(view):
    page = view.go("/")
    open_first(page)
    page.wait_for_timeout(400)
    before = zoom(page)
    page.keyboard.press("z")
    page.wait_for_timeout(500)
    assert zoom(page) > before * 1.05


def test_details_are_shown_and_stay_open_from_photo_to_photo(view):
    page = view.go("/")
    open_first(page)
    page.keyboard.press("i")
    details = page.get_by_role("complementary", name="Details")
    expect(details).to_contain_text("Thu, 29 October 2015 at 15:44")
    expect(details).to_contain_text("Canon EOS 70D")
    expect(details).to_contain_text("IMG_0015.jpg")
    expect(details).to_contain_text("1,024 × 640")
    page.keyboard.press("ArrowRight")
    expect(details).not_to_contain_text("IMG_0015.jpg")
    expect(details).to_be_visible()
    page.reload()
    expect(details).to_be_visible()
    details.get_by_role("button", name="Close").click()
    expect(details).to_have_count(0)


def similar_photo(view, *, found: bool) -> tuple[Page, str]:
    """A flower is open among the hits; the address of a photo like it that is a hit too, or is none."""
    page = view.go("/search?q=flower")
    names(page)
    hits = page.locator(".cell a").evaluate_all("all => all.map(one => one.getAttribute('href'))")
    page.locator(".cell a").first.click()
    expect(viewer(page)).to_be_visible()
    page.keyboard.press("i")
    expect(page.locator(".similar a").first).to_be_visible()
    similar = page.locator(".similar a").evaluate_all("all => all.map(one => one.getAttribute('href'))")
    return page, next(address for address in similar if (address in hits) == found)


def test_one_photo_at_a_time_however_fast_one_goes_from_one_to_another(view):
    page, other = similar_photo(view, found=False)
    most = page.evaluate(
        """async other => {
        const stages = () => [...document.querySelectorAll(".pswp")];
        let most = stages().length;
        new MutationObserver(() => { most = Math.max(most, stages().length); })
            .observe(document.body, { childList: true });
        const open = () => document.querySelector(`.similar a[href="${other}"]`).click();
        const [back, forward] = [() => history.back(), () => history.forward()];
        for (const step of [open, back, forward, back, forward]) {
            const before = stages();
            step();
            // As soon as the next photo opens, and before it is open, the next step is taken.
            const until = performance.now() + 5000;
            while (!stages().some(stage => !before.includes(stage))) {
                if (performance.now() > until) throw new Error(`nothing opened after ${step}`);
                await new Promise(requestAnimationFrame);
            }
        }
        return most;
    }""",
        other,
    )
    assert most == 1
    expect(page).to_have_url(re.compile(rf"{other}$"))


def test_going_back_and_forward_at_once_ends_where_it_began(view):
    page, other = similar_photo(view, found=True)
    page.locator(f'.similar a[href="{other}"]').click()
    place = page.locator(".viewer-chrome").get_by_role("status").filter(has_text=" of ")
    expect(place).not_to_have_text(re.compile(r"^1 of"))
    before = place.inner_text()
    for _ in range(5):
        page.evaluate("""() => new Promise(arrived => {
            addEventListener("popstate", () => {
                addEventListener("popstate", arrived, { once: true });
                history.forward();
            }, { once: true });
            history.back();
        })""")
        page.wait_for_timeout(200)  # nothing is to change any more, and nothing tells when it has not
        assert page.url.endswith(other)
        expect(place).to_have_text(before)


def test_escape_closes_while_the_next_photo_is_still_to_come(view):
    page, other = similar_photo(view, found=False)
    page.evaluate(
        """other => {
        document.querySelector(`.similar a[href="${other}"]`).click();
        document.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", keyCode: 27, bubbles: true }));
    }""",
        other,
    )
    expect(page).to_have_url(re.compile(r"/search\?q=flower$"))
    expect(viewer(page)).to_have_count(0)


def test_similar_photos_open_and_closing_leads_back_to_the_room(view):
    page = view.go("/search?q=flower")
    names(page)
    found = page.locator(".cell").first
    flower = found.get_attribute("data-id")
    found.locator("a").click()
    expect(viewer(page)).to_be_visible()
    page.keyboard.press("i")
    similar = page.locator(".similar a")
    expect(similar.first).to_be_visible()
    other = similar.nth(3).get_attribute("href")
    similar.nth(3).click()
    expect(page).to_have_url(re.compile(rf"{other}$"))
    page.go_back()
    expect(page).to_have_url(re.compile(rf"/photo/{flower}$"))
    page.go_forward()
    expect(page).to_have_url(re.compile(rf"{other}$"))
    expect(viewer(page)).to_be_visible()
    page.keyboard.press("Escape")
    expect(page).to_have_url(re.compile(r"/search\?q=flower$"))
    expect(viewer(page)).to_have_count(0)


def test_more_like_this_searches_by_the_photo(view):
    page = view.go("/")
    open_first(page)
    photo = shown(page)
    viewer(page).get_by_role("button", name="More", exact=True).click()
    page.get_by_role("menuitem", name="More like this").click()
    expect(viewer(page)).to_have_count(0)
    expect(page).to_have_url(re.compile(r"/search\?term="))
    assert page.locator(".cell").first.get_attribute("data-id") == str(photo)


def test_a_link_to_a_photo_opens_it_over_the_library(view):
    page = view.go("/")
    photo = identity(page, "IMG_0020.jpg")
    page.goto(f"{view.server.url}/photo/{photo}")
    expect(viewer(page)).to_be_visible()
    page.reload()
    expect(viewer(page)).to_be_visible()
    page.keyboard.press("Escape")
    expect(viewer(page)).to_have_count(0)
    assert urlsplit(page.url).path == "/"
    expect(page.locator(f'.cell[data-id="{photo}"]')).to_be_visible()


def test_a_link_to_a_photo_that_is_gone_says_so(view):
    page = view.go("/photo/987654")
    expect(page.locator(".toast-error")).to_contain_text("This photo is not in the library any more.")
    expect(page.locator(".cell").first).to_be_visible()


def test_heart_hide_and_download_by_key_and_menu(view):
    page = view.go("/")
    open_first(page)
    name = shown(page)
    page.keyboard.press("f")
    expect(page.get_by_role("button", name="No longer a favourite")).to_be_visible()
    page.keyboard.press("f")
    expect(page.get_by_role("button", name="Favourite", exact=True)).to_be_visible()
    viewer(page).get_by_role("button", name="More", exact=True).click()
    with page.expect_download() as saved:
        page.get_by_role("menuitem", name="Download").click()
    assert saved.value.suggested_filename == "IMG_0015.jpg"
    page.keyboard.press("h")
    undo = page.locator(".toasts").get_by_role("button", name="Undo")
    expect(undo).to_be_visible()
    undo.click()
    page.keyboard.press("Escape")
    expect(page.locator(f'.cell[data-id="{name}"]')).to_be_visible()


def test_walking_through_an_answer_stays_in_its_order(view):
    page = view.go("/")
    search(page, "boats")
    order = page.locator(".cell")
    expect(order).to_have_count(2)
    ids = order.evaluate_all("all => all.map(one => Number(one.dataset.id))")
    open_first(page)
    assert shown(page) == ids[0]
    page.keyboard.press("ArrowRight")
    expect(page).to_have_url(re.compile(rf"/photo/{ids[1]}$"))
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(300)
    assert shown(page) == ids[1]


def test_details_are_a_sheet_below_the_photo_on_a_phone(chromium, gallery):
    with watched(chromium, gallery, viewport=PHONE, has_touch=True, is_mobile=True) as phone:
        page = phone.go("/")
        page.wait_for_selector(".photo img.ready")
        page.locator(".cell .photo").first.tap()
        expect(viewer(page)).to_be_visible()
        page.get_by_role("button", name="Details").tap()
        sheet = page.get_by_role("complementary", name="Details")
        expect(sheet).to_be_visible()
        page.wait_for_timeout(400)
        top = sheet.bounding_box()["y"]
        picture = page.locator(".pswp__item[aria-hidden=false] .pswp__zoom-wrap > img").last.bounding_box()
        assert picture["y"] + picture["height"] <= top + 1


def test_faces_are_framed_and_named(window):
    page = window.go("/people/1")
    open_first(page)
    page.keyboard.press("i")
    page.get_by_role("button", name="Show faces").click()
    face = page.get_by_role("link", name="Anna").filter(has=page.locator("span")).and_(page.locator(".face"))
    expect(face).to_be_visible()
    frame, picture = (
        face.bounding_box(),
        page.locator(".pswp__item[aria-hidden=false] .pswp__zoom-wrap > img").last.bounding_box(),
    )
    assert picture["x"] < frame["x"] < picture["x"] + picture["width"]
    assert picture["y"] < frame["y"] < picture["y"] + picture["height"]


def test_a_photo_on_a_disk_that_is_away_says_that_this_is_the_preview(window):
    page = window.go("/")
    page.wait_for_selector(".photo img.ready")
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    page.locator(".cell.offline .photo").first.click()
    expect(page.get_by_text("Its disk is not connected: this is the preview.")).to_be_visible()
    viewer(page).get_by_role("button", name="More", exact=True).click()
    expect(page.get_by_role("menuitem", name="Download")).to_have_count(0)
    # Pictures of which no thumbnail was made while their disk was there are refused, and that is right.
    window.faults = [fault for fault in window.faults if not re.match(r"503: \S+/thumbnail", fault)]
