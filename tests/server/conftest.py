"""Fixtures of the server tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme
from PIL import ExifTags, Image
from serving import application, index, local_client, make_library

from sensorium.photos.library import Library


@pytest.fixture(scope="session")
def certificate(tmp_path_factory) -> tuple[Path, Path, Path]:
    """A certificate for photos.example and *.wild.example, its key, and another key."""
    folder = tmp_path_factory.mktemp("certificate")
    authority = trustme.CA()
    issued = authority.issue_cert("photos.example", "*.wild.example", "127.0.0.1")
    other = authority.issue_cert("photos.example")
    chain, key, other_key = (folder / name for name in ("chain.pem", "key.pem", "other.pem"))
    chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(key))
    other.private_key_pem.write_to_path(str(other_key))
    return chain, key, other_key


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_library(tmp_path_factory.mktemp("made") / "library")


@pytest.fixture
def folder(tmp_path):
    """An empty library: enough for everything that is decided before a photo is looked at."""
    folder = tmp_path / "library"
    Library.open(folder, create=True).close()
    return folder


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The owner at this machine, before an empty library that the tests of a module share."""
    with local_client(application(tmp_path_factory.mktemp("local") / "library")) as asking:
        yield asking


@pytest.fixture
def trip(tmp_path):
    """A library with a photo that says where it was taken, by whom, and on what."""
    folder = make_library(tmp_path / "library", ("red", "green"))
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "Ann Author"
    exif[ExifTags.Base.Make] = "Camera Works"
    exif[ExifTags.Base.DateTime] = "2021:05:01 10:00:00"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2021:05:01 10:00:00"
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps.update({1: "N", 2: (35.0, 0.0, 41.0), 3: "E", 4: (135.0, 46.0, 5.0)})
    picture = Image.new("RGB", (64, 48), (20, 40, 220))
    picture.save(tmp_path / "pictures" / "kyoto with ann.jpg", exif=exif, comment=b"Camera Works, Kyoto")
    index(folder)
    with Library.open(folder) as library:
        ids = {row.path: row.id for row in library.store.photos(list(range(1, 9))).values()}
    return folder, ids
