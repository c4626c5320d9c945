"""Doors of the page: signing in and out, roles, and links for others, in a real browser."""

from __future__ import annotations

import re

import pytest
from browsing import serving, watched
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def guarded(furnished):
    with serving(furnished.library, "--sign-in") as running:
        assert running.token
        yield running


def sign_in(page, token):
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()


def test_the_door_refuses_a_wrong_token_and_opens_where_one_wanted_to_go(chromium, guarded):
    with watched(chromium, guarded) as seen:
        page = seen.go("/albums")
        expect(page).to_have_url(re.compile("/sign-in"))
        sign_in(page, "wrong")
        expect(page.get_by_role("alert")).to_contain_text("This token is not known")
        sign_in(page, guarded.token)
        expect(page).to_have_url(re.compile("/albums$"))
        expect(page.get_by_role("link", name="Kyoto, 5 photos")).to_be_visible()
        page.goto(guarded.url + "/settings")
        page.get_by_role("button", name="Sign out").click()
        expect(page).to_have_url(re.compile("/sign-in"))


def test_who_may_only_see_is_offered_nothing_else(chromium, guarded):
    with watched(chromium, guarded) as seen:
        page = seen.go("/settings")
        sign_in(page, guarded.token)
        page.get_by_role("button", name="New token").click()
        page.get_by_label("Whose, or which device").fill("guest")
        page.get_by_role("button", name="Make token").click()
        token = page.get_by_role("dialog").locator("code").inner_text()
    with watched(chromium, guarded) as seen:
        page = seen.go("/albums")
        sign_in(page, token)
        expect(page.get_by_role("link", name="Kyoto, 5 photos")).to_be_visible()
        expect(page.get_by_role("button", name="New album")).to_have_count(0)
        page.goto(guarded.url + "/health")
        expect(page.get_by_role("heading", name="Health")).to_be_visible()
        expect(page.get_by_role("button", name="Back up now")).to_have_count(0)
        page.goto(guarded.url + "/settings")
        expect(page.get_by_role("heading", name="Settings")).to_be_visible()
        expect(page.get_by_label("Path of a folder")).to_have_count(0)


def test_a_link_shows_its_photos_and_nothing_else_until_it_is_ended(chromium, guarded):
    with watched(chromium, guarded) as owner:
        page = owner.go("/albums")
        sign_in(page, guarded.token)
        page.get_by_role("button", name="More for Kyoto").click()
        page.get_by_role("menuitem", name="Share").click()
        page.get_by_role("button", name="Make a link").click()
        link = page.get_by_role("dialog").locator("code").inner_text()
        page.get_by_role("button", name="Done").click()
        with watched(chromium, guarded) as guest:
            asked: list[str] = []
            guest.page.on("request", lambda request: asked.append(request.url))
            guest.page.goto(link)
            photos = guest.page.get_by_role("button", name=re.compile(r"^Photo \d of 5"))
            expect(photos).to_have_count(5)
            photos.first.click()
            large = guest.page.get_by_role("dialog")
            expect(large).to_have_attribute("aria-label", re.compile("^Photo 1 of 5"))
            guest.page.keyboard.press("ArrowRight")
            expect(large).to_have_attribute("aria-label", re.compile("^Photo 2 of 5"))
            guest.page.keyboard.press("Escape")
            expect(large).to_have_count(0)
            allowed = re.compile(r"/api/v1/(shared/|session$)")
            beyond = [url for url in asked if "/api/" in url and not allowed.search(url)]
            assert not beyond, beyond
        page.goto(guarded.url + "/settings")
        page.get_by_role("button", name="End the link “Kyoto”").click()
        page.get_by_role("button", name="End the link", exact=True).click()
        expect(page.locator("#shares")).to_contain_text("Nothing is shared")
        with watched(chromium, guarded) as guest:
            guest.page.goto(link)
            expect(guest.page.get_by_text("This link has ended")).to_be_visible()
