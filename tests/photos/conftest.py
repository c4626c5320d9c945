"""Fixtures of the photo tests."""

from pathlib import Path

import pytest
from filled_library import COUNT, copy_of, fill
from photo_fakes import Models

from sensorium.photos.library import Library


@pytest.fixture
def models():
    return Models()


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    return folder


@pytest.fixture
def library(tmp_path, models):
    with Library.open(tmp_path / "library", create=True, loader=models) as opened:
        yield opened


@pytest.fixture(scope="session")
def sound(tmp_path_factory) -> Path:
    """A library of ``COUNT`` made-up photos in which nothing is wrong. Look, and change nothing."""
    return fill(tmp_path_factory.mktemp("sound") / "library", COUNT)


@pytest.fixture
def filled(sound, tmp_path) -> Path:
    """A copy of the sound library, to be changed."""
    return copy_of(sound, tmp_path / "filled")
