"""Films in a real browser: in the grid, playing by ranges, starting at the moment that was found."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest
from browsing import Server, serving, watched
from PIL import Image
from playwright.sync_api import expect

from sensorium.photos.library import Library

sys.path.insert(0, str(Path(__file__).parents[1] / "photos"))
from film_fakes import film

pytestmark = pytest.mark.browser

EXAMPLES = Path(__file__).parents[2] / "examples" / "photos"
SCENES = ("IMG_0003.jpg", "IMG_0008.jpg", "IMG_0022.jpg")  # coffee, a bee, a rocket


@pytest.fixture(scope="module")
def cinema(tmp_path_factory):
    """The server of a library with a film between some photographs."""
    folder = tmp_path_factory.mktemp("cinema")
    pictures = folder / "Pictures"
    pictures.mkdir()
    for number in (1, 5, 9):
        shutil.copy(EXAMPLES / f"IMG_{number:04}.jpg", pictures)
    film(pictures / "film.webm", [Image.open(EXAMPLES / name) for name in SCENES], size=(320, 240))
    with Library.open(folder / "library", create=True) as library:
        for _ in library.index([pictures]):
            pass
    with serving(folder / "library") as running:
        yield running


@pytest.fixture
def screen(chromium, cinema: Server):
    with watched(chromium, cinema) as seen:
        yield seen


def test_a_film_says_how_long_it_is_and_plays_from_ranges(screen):
    answers: list[int] = []
    screen.page.on("response", lambda answer: "/media" in answer.url and answers.append(answer.status))
    page = screen.go("/videos")
    expect(page.get_by_role("link", name=re.compile(r"^Video, .*film\.webm"))).to_be_visible()
    expect(page.locator(".length")).to_have_text(re.compile(r"0:0\d"))
    page.locator(".cell .photo").click()
    player = page.locator("video.film")
    expect(player).to_be_visible()
    for _ in range(100):
        if player.evaluate("video => video.currentTime > 0.2"):
            break
        page.wait_for_timeout(50)
    assert player.evaluate("video => video.error") is None
    assert player.evaluate("video => video.duration") == pytest.approx(6, abs=0.5)
    assert 206 in answers


def test_a_found_film_starts_at_its_moment(screen):
    page = screen.go("/search?q=rocket&all=1")
    hits = page.evaluate("fetch('/api/v1/search?q=rocket&all=1').then(answer => answer.json())")["hits"]
    moment = next(hit["moment"] for hit in hits if hit["name"] == "film.webm")
    assert moment == pytest.approx(4, abs=1)
    page.get_by_role("link", name=re.compile(r"film\.webm")).click()
    player = page.locator("video.film")
    expect(player).to_be_visible()
    for _ in range(100):
        if player.evaluate("video => video.readyState > 1"):
            break
        page.wait_for_timeout(50)
    assert moment <= player.evaluate("video => video.currentTime") < moment + 3
