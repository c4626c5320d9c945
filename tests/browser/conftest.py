"""What the tests in a browser share: Debian's Chromium, libraries, real servers, windows that are watched."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import CHROMIUM, NO_BROWSER, Server, Watched, browsing, do_without, serving, watched
from furnished import Furnished, furnish
from playwright.sync_api import Browser

from sensorium.photos.library import Library

EXAMPLES = Path(__file__).parents[2] / "examples" / "photos"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The browser, once for all tests: Playwright runs one loop in a thread."""
    if CHROMIUM is None:
        do_without(NO_BROWSER)
    with browsing() as browser:
        yield browser


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Furnished:
    """A library with something in every room, one for each module of tests."""
    folder: Path = tmp_path_factory.mktemp("furnished")
    return furnish(folder)


@pytest.fixture(scope="module")
def server(furnished: Furnished) -> Iterator[Server]:
    """Its server."""
    with serving(furnished.library) as running:
        yield running


@pytest.fixture
def window(chromium: Browser, server: Server) -> Iterator[Watched]:
    """A desktop window on the furnished library; a fault in it fails the test."""
    with watched(chromium, server) as seen:
        yield seen


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of the example photographs, whose content searches find; indexed once for all tests."""
    folder = tmp_path_factory.mktemp("photographs")
    shutil.copytree(EXAMPLES, folder / "Pictures")
    with Library.open(folder / "library", create=True) as library:
        for _ in library.index([folder / "Pictures"]):
            pass
    return folder / "library"


@pytest.fixture(scope="module")
def gallery(photographs: Path) -> Iterator[Server]:
    """The server of the example photographs."""
    with serving(photographs) as running:
        yield running


@pytest.fixture
def view(chromium: Browser, gallery: Server) -> Iterator[Watched]:
    """A desktop window on the example photographs."""
    with watched(chromium, gallery) as seen:
        yield seen
