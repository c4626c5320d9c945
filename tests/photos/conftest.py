"""Fixtures of the photo tests."""

import pytest
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
