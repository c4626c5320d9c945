"""People, albums, duplicates and the map in a real browser, on a real library."""

from __future__ import annotations

import re

import pytest
from browsing import PHONE, watched
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser


def toast(page: Page):
    return page.locator(".toasts")


def menu(page: Page, label: str, item: str) -> None:
    page.get_by_role("button", name=label, exact=True).click()
    page.get_by_role("menuitem", name=item, exact=True).click()


def test_people_are_listed_and_absent_models_are_named_with_their_command(window):
    page = window.go("/people")
    for name in ("Anna", "小明", "Mochi"):
        expect(page.get_by_role("link", name=re.compile(rf"^{name}, \d photos$"))).to_be_visible()
    expect(page.get_by_text("the face models are not on this computer")).to_be_visible()
    assert "sensorium models pull" in page.locator(".note code").first.inner_text()


def test_a_cluster_gets_a_name_and_the_same_name_twice_shows_both_before_they_merge(window):
    page = window.go("/people")
    field = page.get_by_role("combobox", name=re.compile("^Name of this person"))
    field.fill("Ben")
    field.press("Enter")
    expect(page.get_by_role("link", name="Ben, 2 photos")).to_be_visible()
    menu(page, "More for Ben", "Rename")
    page.get_by_label("Name", exact=True).fill("anna")
    page.get_by_role("button", name="Save").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("Is this the same person?")).to_be_visible()
    expect(dialog.locator(".merge-half")).to_have_count(2)
    dialog.get_by_role("button", name="Merge", exact=True).click()
    expect(page.get_by_role("link", name="Anna, 5 photos")).to_be_visible()
    expect(page.get_by_role("link", name=re.compile("^Ben"))).to_have_count(0)


def test_a_wrong_face_is_taken_out_and_comes_back_by_undo(window):
    page = window.go("/people/2?faces=1")
    faces = page.locator(".seen-face")
    expect(faces).to_have_count(3)
    page.get_by_role("button", name="Face 1 is not 小明").click()
    expect(faces).to_have_count(2)
    toast(page).get_by_role("button", name="Undo").click()
    expect(faces).to_have_count(3)
    page.get_by_role("link", name="All photos").click()
    expect(page.locator(".cell")).to_have_count(3)


def test_a_hidden_person_leaves_the_list_and_can_be_shown_again(window):
    page = window.go("/people")
    menu(page, "More for Mochi", "Hide")
    card = page.get_by_role("link", name=re.compile("^Mochi"))
    expect(card).to_have_count(0)
    page.get_by_role("button", name="Hidden: 1").click()
    expect(card).to_be_visible()
    menu(page, "More for Mochi", "Show again")
    expect(page.get_by_role("button", name=re.compile("^Hidden"))).to_have_count(0)
    expect(card).to_be_visible()


def test_an_album_is_made_renamed_and_deleted_and_its_photos_stay(window):
    page = window.go("/albums")
    page.get_by_role("button", name="New album").click()
    page.get_by_label("Name of the album").fill("A & <b>")
    page.keyboard.press("Enter")
    expect(page.get_by_text("This album is empty")).to_be_visible()
    menu(page, "More for A & <b>", "Rename")
    page.get_by_label("Name of the album").fill("夏天")
    page.keyboard.press("Enter")
    expect(page.get_by_text("夏天").first).to_be_visible()
    menu(page, "More for 夏天", "Delete album")
    page.get_by_role("button", name="Delete album").click()
    expect(page).to_have_url(re.compile("/albums$"))
    expect(page.get_by_role("link", name=re.compile("^夏天"))).to_have_count(0)
    page.get_by_role("link", name="Kyoto, 5 photos").click()
    expect(page.locator(".cell")).to_have_count(5)


def test_photos_leave_an_album_by_selection_and_come_back_by_undo(window):
    page = window.go("/albums/1")
    cells = page.locator(".cell")
    expect(cells).to_have_count(5)
    cells.first.hover()
    cells.first.get_by_role("checkbox").click()
    menu(page, "More", "Remove from album")
    expect(cells).to_have_count(4)
    toast(page).get_by_role("button", name="Undo").click()
    expect(cells).to_have_count(5)


def test_duplicates_stand_side_by_side_and_all_but_one_are_hidden_with_undo(window):
    page = window.go("/duplicates")
    group = page.get_by_role("region", name=re.compile(r"^Group 1, 2 photos"))
    expect(group.get_by_text("The same file, more than once")).to_be_visible()
    expect(group.get_by_role("radio", checked=True)).to_have_count(1)
    group.get_by_role("button", name="Hide the other").click()
    expect(page.get_by_text("The same file, more than once")).to_have_count(0)
    toast(page).get_by_role("button", name="Undo").click()
    expect(page.get_by_text("The same file, more than once")).to_be_visible()


def test_the_map_shows_the_photos_of_a_spot_by_mouse_and_by_keyboard(window):
    page = window.go("/map")
    markers = page.locator(".map-marker")
    expect(markers.first).to_be_visible()
    spot = page.get_by_role("button", name=re.compile(r"photos? near Lisbon"))
    spot.focus()
    page.keyboard.press("Enter")
    panel = page.get_by_role("complementary", name=re.compile("near Lisbon"))
    expect(panel.get_by_role("link")).not_to_have_count(0)
    page.keyboard.press("Escape")
    expect(panel).to_have_count(0)
    expect(spot).to_be_focused()
    spot.click()
    panel.get_by_role("link").first.click()
    expect(page).to_have_url(re.compile(r"/photo/\d+$"))
    page.go_back()
    expect(panel.get_by_role("link")).not_to_have_count(0)
    page.get_by_role("button", name="Zoom in here").click()
    expect(markers).not_to_have_count(0)


def test_the_map_names_places_in_chinese_on_a_phone(chromium, server):
    with watched(chromium, server, viewport=PHONE, locale="zh-CN", color_scheme="dark") as seen:
        page = seen.go("/map")
        expect(page.get_by_role("button", name=re.compile("^里斯本"))).to_be_attached()
        page.get_by_role("button", name="放大").click()
        expect(page.locator(".map-marker").first).to_be_visible()
