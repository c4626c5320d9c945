"""Health and settings in a real browser: a lost disk, bad files, backups, checks, folders, tokens."""

from __future__ import annotations

import re
import shutil

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

JOB = 60_000
"""Milliseconds that a job may take."""


def test_a_lost_disk_is_named_with_its_photos_and_what_to_do(window, furnished):
    page = window.go("/health")
    note = page.locator("#offline .note")
    expect(note).to_contain_text(str(furnished.away))
    expect(note).to_contain_text("4 photos are safe")
    expect(note).to_contain_text("Connect the disk")
    expect(note.get_by_role("button", name="Look again")).to_be_enabled()


def test_a_failed_file_says_why_and_is_taken_once_it_was_mended(window, furnished):
    page = window.go("/health")
    failures = page.locator("#failures")
    expect(failures).to_contain_text("the picture is cut off")
    expect(failures).to_contain_text("the content is text")
    shutil.copy(furnished.pictures / "Lisbon" / "IMG_0107.jpg", furnished.broken)
    failures.get_by_role("button", name="Try 2019/IMG_0666.jpg again").click()
    expect(page.get_by_role("region", name="Work under way")).to_be_visible()
    expect(failures).not_to_contain_text("IMG_0666.jpg", timeout=JOB)
    expect(failures).to_contain_text("the content is text")


def test_failures_are_told_in_chinese(window):
    page = window.go("/health")
    page.get_by_role("button", name="中文").click()
    expect(page.locator("#failures")).to_contain_text("不是图片：内容是文字")
    expect(page.locator("#offline")).to_contain_text("文件夹不存在")


def test_a_backup_is_made_and_brings_an_album_back(window):
    page = window.go("/health")
    page.get_by_role("button", name="Back up now").click()
    restore = page.locator("#backups").get_by_role("button", name=re.compile("^Restore the backup"))
    expect(restore).to_have_count(1, timeout=JOB)
    with page.expect_download() as saved:
        page.get_by_role("link", name=re.compile("^Save the backup")).click()
    with open(saved.value.path(), "rb") as file:  # noqa: PTH123 - playwright gives the path
        assert file.read(15) == b"SQLite format 3"
    page.goto(window.server.url + "/albums")
    page.get_by_role("button", name="More for Kyoto").click()
    page.get_by_role("menuitem", name="Delete album").click()
    page.get_by_role("button", name="Delete album").click()
    expect(page.get_by_role("link", name=re.compile("^Kyoto"))).to_have_count(0)
    page.goto(window.server.url + "/health")
    restore.first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Your photos are not touched")
    confirm = dialog.get_by_role("button", name="Restore")
    expect(confirm).to_be_disabled()
    dialog.get_by_role("textbox").fill("restore")
    confirm.click()
    expect(page.get_by_text("The backup is restored")).to_be_visible(timeout=JOB)
    expect(page.get_by_text("is kept as a backup, too")).to_be_visible()
    page.goto(window.server.url + "/albums")
    expect(page.get_by_role("link", name="Kyoto, 5 photos")).to_be_visible()


def test_a_check_finds_the_library_sound(window):
    page = window.go("/health")
    page.get_by_role("button", name="Check now").click()
    expect(page.get_by_text("The library is sound")).to_be_visible(timeout=JOB)
    expect(page.locator(".findings")).to_contain_text("is offline")


def test_work_is_seen_in_every_room_and_can_be_cancelled(window):
    page = window.go("/settings")
    page.get_by_role("button", name="Look for changes").click()
    bar = page.get_by_role("region", name="Work under way")
    expect(bar).to_be_visible()
    page.get_by_role("navigation").get_by_role("link", name="Albums").click()
    expect(page.get_by_role("heading", name="Albums")).to_be_visible()
    expect(bar).to_have_count(0, timeout=JOB)


def test_a_folder_that_is_not_there_is_refused_in_one_line(window):
    page = window.go("/settings")
    page.get_by_label("Path of a folder").fill("/no/such/folder")
    page.get_by_role("button", name="Add folder").click()
    alert = page.locator("#folder-fault")
    expect(alert).to_be_visible()
    assert "\n" not in alert.inner_text()


def test_language_and_colours_are_kept(window):
    page = window.go("/settings")
    page.get_by_role("radio", name="中文").check()
    expect(page.get_by_role("heading", name="设置")).to_be_visible()
    page.get_by_role("radio", name="深色").check()
    page.reload()
    expect(page.get_by_role("heading", name="设置")).to_be_visible()
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_watching_is_switched_and_remembered(window):
    page = window.go("/settings")
    switch = page.get_by_role("switch")
    expect(switch).to_be_checked()
    switch.click()
    expect(switch).not_to_be_checked()
    page.reload()
    expect(switch).not_to_be_checked()
    switch.click()
    expect(switch).to_be_checked()


def test_a_token_is_shown_once_and_taken_back(window):
    page = window.go("/settings")
    page.get_by_role("button", name="New token").click()
    page.get_by_label("Whose, or which device").fill("phone")
    page.get_by_role("radio", name=re.compile("^Arrange")).check()
    page.get_by_role("button", name="Make token").click()
    shown = page.get_by_role("dialog").locator("code").inner_text()
    assert len(shown) >= 20
    page.get_by_role("button", name="Done").click()
    page.reload()
    expect(page.locator("#access")).to_contain_text("phone")
    expect(page.locator("body")).not_to_contain_text(shown)
    page.get_by_role("button", name="Take back the token of phone").click()
    page.get_by_role("button", name="Take back", exact=True).click()
    expect(page.locator("#access")).to_contain_text("There are no tokens")


def test_the_models_say_what_a_switch_needs(window):
    page = window.go("/settings")
    part = page.locator("#model")
    expect(part).to_contain_text("sensorium/mini-clip")
    expect(part).to_contain_text("in use")
    part.locator("summary").click()
    expect(part.get_by_text("sensorium models pull openai/clip-vit-base-patch32", exact=True)).to_be_visible()
