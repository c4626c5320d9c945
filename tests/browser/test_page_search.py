"""Searching in a real browser: words, chips, reasons, pictures, sums, history, Chinese input."""

from __future__ import annotations

import json
import re
from urllib.parse import parse_qs, urlsplit

import pytest
from browsing import PHONE, watched
from playwright.sync_api import Page, Route, expect

pytestmark = pytest.mark.browser

BOATS = ("IMG_0016.jpg", "IMG_0023.jpg")

DROP = """async ([selector, url]) => {
  const picture = await (await fetch(url)).blob();
  const carried = new DataTransfer();
  carried.items.add(new File([picture], "found.webp", { type: "image/webp" }));
  const target = document.querySelector(selector);
  for (const kind of ["dragenter", "dragover", "drop"])
    target.dispatchEvent(new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: carried }));
}"""


def box(page: Page):
    return page.get_by_role("searchbox", name="Search your photos")


def search(page: Page, words: str) -> None:
    box(page).fill(words)
    box(page).press("Enter")


def chips(page: Page):
    return page.get_by_role("list", name="Understood as").locator(".chip:not(.add)")


def names(page: Page) -> list[str]:
    """The file names of the photos that are shown, in their order."""
    page.wait_for_selector(".photo img.ready")
    page.wait_for_selector(".stale", state="detached")
    labels = page.locator(".cell .photo").evaluate_all(
        "all => all.map(one => one.getAttribute('aria-label'))"
    )
    return [re.search(r"IMG_\d+\.\w+", label)[0] for label in labels]


def scrolled_to(page: Page, height: int) -> None:
    """Wait until the window is there. (Playwright's own wait needs eval, which the page forbids.)"""
    for _ in range(100):
        if page.evaluate("scrollY") == height:
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"the window stands at {page.evaluate('scrollY')}, not at {height}")


def asked(page: Page) -> dict[str, list[str]]:
    """What the address asks for."""
    return parse_qs(urlsplit(page.url).query)


def identity(page: Page, name: str) -> int:
    """The id of a photo by its file name."""
    return page.evaluate(
        "async name => { const { ids } = await (await fetch('/api/v1/grid')).json();"
        " const { photos } = await (await fetch('/api/v1/photos?ids=' + ids)).json();"
        " return photos.find(photo => photo.name === name).id }",
        name,
    )


def test_words_find_photos_and_each_says_why(view):
    page = view.go("/")
    search(page, "boats")
    expect(page.get_by_role("status").filter(has_text="2 photos found")).to_be_visible()
    assert sorted(names(page)) == list(BOATS)
    for place in range(2):
        expect(page.locator(".cell .why").nth(place)).to_have_text("looks like “boats”")
    expect(chips(page)).to_have_count(1)


def test_slash_goes_to_the_box_which_offers_examples_of_this_library(view):
    page = view.go("/")
    page.keyboard.press("/")
    expect(box(page)).to_be_focused()
    example = page.locator(".suggestion").first
    words = example.inner_text().strip()
    box(page).press("ArrowDown")
    expect(example).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/search\?q="))
    expect(box(page)).to_have_value(words)
    assert names(page)


def test_while_typing_the_box_shows_how_it_understands(view):
    page = view.go("/")
    box(page).press_sequentially("flowers in 2006 without people")
    panel = page.locator(".search-panel")
    for piece in ("flowers", "2006", "without people"):
        expect(panel.locator(".chip").filter(has_text=piece)).to_be_visible()


def test_a_chip_that_is_taken_out_widens_the_search(view):
    page = view.go("/search?q=" + "photos from 2006")
    expect(page.get_by_role("status").filter(has_text="2 photos found")).to_be_visible()
    search(page, "snow from 2006")
    expect(chips(page)).to_have_count(2)
    page.get_by_role("button", name=re.compile("^Remove .*snow")).click()
    expect(chips(page)).to_have_count(1)
    expect(chips(page).first).to_contain_text("2006")
    assert sorted(names(page)) == ["IMG_0004.jpg", "IMG_0008.jpg"]
    page.go_back()
    expect(chips(page)).to_have_count(2)
    page.reload()
    expect(chips(page)).to_have_count(2)


def test_nothing_found_is_said_and_what_comes_closest_stands_apart(view):
    page = view.go("/search?q=xyzzy%20quux")
    expect(page.get_by_role("heading", name="Nothing found")).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="Nothing found")).to_have_count(1)
    expect(
        page.get_by_role("region", name="Closest, though they do not fit").locator(".cell").first
    ).to_be_visible()
    expect(page.get_by_text("photos found")).to_have_count(0)


def test_order_by_date_stands_under_months_and_in_the_address(view):
    page = view.go("/search?q=" + "photos from 2005 to 2015")
    page.get_by_role("button", name="Newest first").click()
    expect(page).to_have_url(re.compile("sort=date"))
    expect(page.get_by_role("button", name="Newest first")).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".month h2").first).to_have_text("October 2015")
    assert names(page)[0] == "IMG_0015.jpg"


def fewer(route: Route) -> None:
    """The same question for ten photos at a time."""
    request = route.request
    if request.method == "POST":
        route.continue_(post_data=json.dumps(request.post_data_json | {"k": 10}))
    else:
        route.continue_(url=request.url.replace("k=100", "k=10"))


def test_pages_follow_by_themselves_and_the_total_is_true_from_the_start(view):
    view.page.route(re.compile(r"/api/v1/search(\?|$)"), fewer)
    page = view.go("/search?q=outdoors&all=1")
    total = page.get_by_role("status").filter(has_text="26 photos found")
    expect(total).to_be_visible()
    for _ in range(12):
        page.mouse.wheel(0, 900)
        page.wait_for_timeout(60)
    expect(page.get_by_text("That is all.")).to_be_visible()
    page.locator(".cell .photo").last.focus()
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.parentElement.getAttribute('aria-posinset')") == "26"
    expect(total).to_be_visible()


def test_more_of_an_answer_that_comes_late_is_not_shown_under_the_next_search(view):
    page = view.page
    page.route(re.compile(r"/api/v1/search\?"), fewer)
    late: list[Route] = []
    page.route(re.compile(r"/api/v1/search$"), lambda route: late.append(route))
    view.go("/search?q=outdoors&all=1")
    for _ in range(12):
        page.mouse.wheel(0, 900)
        page.wait_for_timeout(60)
    assert len(late) == 1
    answer = late[0].fetch()
    search(page, "boats")
    page.wait_for_url(re.compile("q=boats"))
    boats = names(page)
    late[0].fulfill(response=answer)
    page.wait_for_timeout(300)
    assert names(page) == boats


def test_back_and_forward_return_to_each_search_and_where_it_was_scrolled_to(view):
    page = view.go("/search?q=outdoors&all=1")
    expect(page.locator(".photo img.ready").first).to_be_visible()
    page.evaluate("scrollTo(0, 700)")
    page.wait_for_timeout(100)
    search(page, "boats")
    expect(page.get_by_text("2 photos found")).to_be_visible()
    assert page.evaluate("scrollY") == 0
    page.go_back()
    expect(box(page)).to_have_value("outdoors")
    expect(page.get_by_text("26 photos found")).to_be_visible()
    scrolled_to(page, 700)
    page.go_forward()
    expect(box(page)).to_have_value("boats")
    expect(page.get_by_text("2 photos found")).to_be_visible()


def test_a_second_tab_shows_the_same_search_and_goes_its_own_way(view):
    page = view.go("/search?q=boats")
    names(page)
    with page.context.expect_page() as opened:
        page.locator(".cell .photo").first.click(modifiers=["Control"])
    other = opened.value
    expect(other).to_have_url(re.compile(r"/photo/\d+$"))
    expect(other.get_by_role("dialog", name="Photo")).to_be_visible()
    expect(page).to_have_url(re.compile(r"/search\?q=boats$"))
    second = page.context.new_page()
    second.goto(page.url)
    assert sorted(names(second)) == list(BOATS)
    search(second, "coffee")
    expect(second.locator(".cell").first).to_be_visible()
    expect(box(page)).to_have_value("boats")


def test_a_picture_from_the_disk_finds_itself(view):
    page = view.go("/")
    wanted = identity(page, "IMG_0013.png")
    page.evaluate(DROP, ["#main", f"/api/v1/photos/{wanted}/thumbnail?size=720"])
    expect(page).to_have_url(re.compile(r"/search\?term=1\*upload"))
    assert names(page)[0] == "IMG_0013.png"
    expect(chips(page).locator("img")).to_have_js_property("complete", True)
    assert page.evaluate("document.querySelector('.chip img').naturalWidth") > 0


def test_what_is_no_picture_is_refused_in_one_line(view):
    page = view.go("/")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Search by a picture").click()
    chooser.value.set_files({"name": "notes.jpg", "mimeType": "image/jpeg", "buffer": b"no picture at all"})
    expect(page.locator(".toast-error")).to_contain_text("This file is not a picture that can be read.")
    assert urlsplit(page.url).path == "/"


def test_a_photo_of_the_page_is_dragged_into_the_box(view):
    page = view.go("/")
    wanted = identity(page, "IMG_0015.jpg")
    page.locator(f'.cell[data-id="{wanted}"] a').drag_to(page.locator(".search-box"))
    expect(page).to_have_url(re.compile(r"/search\?term="))
    assert asked(page)["term"] == [f"1*photo:{wanted}"]
    assert names(page)[0] == "IMG_0015.jpg"


def test_a_word_is_added_weighed_turned_round_and_taken_out(view):
    page = view.go("/search?q=flower")
    first = names(page)
    page.get_by_role("button", name="Add or subtract").click()
    page.get_by_label("A word, e.g. snow").fill("bee")
    page.get_by_role("button", name="Less of it").click()
    expect(chips(page)).to_have_count(2)
    minus = chips(page).filter(has_text="bee")
    expect(minus).to_have_class(re.compile("minus"))
    page.get_by_label("Weight of bee").select_option("2")
    page.wait_for_selector(".stale", state="detached")
    assert json.loads(asked(page)["query"][0])["terms"][1]["weight"] == -2
    page.get_by_role("button", name="bee: more or less of it").click()
    expect(minus).not_to_have_class(re.compile("minus"))
    assert json.loads(asked(page)["query"][0])["terms"][1]["weight"] == 2
    assert "IMG_0008.jpg" in names(page)[:2]
    page.get_by_role("button", name="Remove bee").click()
    expect(chips(page)).to_have_count(1)
    expect(page.locator(".cell .photo").first).to_have_attribute(
        "aria-label", re.compile(re.escape(first[0]))
    )
    assert names(page) == first


def test_a_photo_is_subtracted_from_a_search(view):
    page = view.go("/search?q=flower&all=1")
    bee = identity(page, "IMG_0008.jpg")
    before = names(page).index("IMG_0008.jpg")
    page.locator(f'.cell[data-id="{bee}"] a').click()
    page.get_by_role("dialog", name="Photo").get_by_role("button", name="More", exact=True).click()
    page.get_by_role("menuitem", name="Less like this").click()
    expect(chips(page).filter(has=page.locator("img"))).to_have_class(re.compile("minus"))
    after = names(page)
    assert "IMG_0008.jpg" not in after or after.index("IMG_0008.jpg") > before


def test_enter_belongs_to_the_input_method_while_a_chinese_word_is_composed(view):
    page = view.go("/")
    box(page).focus()
    keyboard = page.context.new_cdp_session(page)
    keyboard.send("Input.imeSetComposition", {"text": "chuan", "selectionStart": 5, "selectionEnd": 5})
    box(page).evaluate(
        "input => input.dispatchEvent(new KeyboardEvent('keydown',"
        " { key: 'Enter', isComposing: true, bubbles: true, cancelable: true }))"
    )
    assert urlsplit(page.url).path == "/"
    keyboard.send("Input.insertText", {"text": "船"})
    expect(box(page)).to_have_value("船")
    box(page).press("Enter")
    expect(page).to_have_url(re.compile("/search"))
    assert asked(page)["q"] == ["船"]
    assert set(BOATS) & set(names(page)[:3])


def test_an_empty_search_invites_with_examples(view):
    page = view.go("/search")
    expect(page.get_by_text("Say what you see, when, where")).to_be_visible()
    page.locator(".examples a.chip").first.click()
    expect(page.locator(".cell").first).to_be_visible()


def test_searching_on_a_phone_in_chinese(chromium, gallery):
    with watched(chromium, gallery, viewport=PHONE, locale="zh-CN", has_touch=True, is_mobile=True) as phone:
        page = phone.go("/")
        search_box = page.get_by_role("searchbox", name="搜索照片")
        search_box.fill("没有人的花")
        search_box.press("Enter")
        expect(page.get_by_role("status").filter(has_text=re.compile(r"找到 \d+ 张照片"))).to_be_visible()
        expect(page.locator(".chips .chip").filter(has_text="不要人")).to_be_visible()
        expect(page.locator(".cell .why").first).to_have_text(re.compile("花"))
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
