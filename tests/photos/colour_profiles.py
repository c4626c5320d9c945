"""ICC profiles for tests, made of numbers that standards publish: Display P3, Adobe RGB, and a printer."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image, ImageCms

# Primaries adapted to D50, as profiles store them: X, Y, Z of red, green, blue.
_DISPLAY_P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
_ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
_GRID = 9


def display_p3() -> bytes:
    return _matrix_profile(_DISPLAY_P3, "P3", gamma=None)


def adobe_rgb() -> bytes:
    return _matrix_profile(_ADOBE_RGB, "A98", gamma=563 / 256)


def in_profile(image: Image.Image, profile: bytes) -> Image.Image:
    """The same colours, in the numbers of another profile."""
    wide = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return ImageCms.profileToProfile(image, ImageCms.createProfile("sRGB"), wide, outputMode="RGB")


def strange_printer() -> bytes:
    """A CMYK profile of a printer whose cyan and magenta inks are exchanged; else inks are ideal."""
    steps = np.linspace(0, 1, _GRID)
    cyan, magenta, yellow, black = np.meshgrid(steps, steps, steps, steps, indexing="ij")
    inks = np.stack([magenta, cyan, yellow], -1)
    rgb = np.rint(255 * (1 - inks) * (1 - black[..., None])).astype(np.uint8).reshape(1, -1, 3)
    colours = ImageCms.profileToProfile(
        Image.fromarray(rgb), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    # Pillow hands out a and b as signed bytes, a profile wants them shifted.
    lab = np.frombuffer(colours.tobytes(), np.uint8) ^ np.tile(np.uint8([0, 128, 128]), rgb.shape[1])
    ramp = bytes(range(256))
    identity = struct.pack(">9i", *(65536 if i % 4 == 0 else 0 for i in range(9)))
    table = b"mft1\0\0\0\0" + bytes((4, 3, _GRID, 0)) + identity + ramp * 4 + lab.tobytes() + ramp * 3
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": table})


def for_strange_printer(image: Image.Image) -> Image.Image:
    """The picture in that printer's inks."""
    cyan, magenta, yellow, black = image.convert("CMYK").split()
    return Image.merge("CMYK", (magenta, cyan, yellow, black))


def _matrix_profile(primaries: tuple[tuple[float, ...], ...], name: str, *, gamma: float | None) -> bytes:
    curve = b"para\0\0\0\0\0\3\0\0" + struct.pack(
        ">5i", *(round(65536 * v) for v in (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))
    )
    if gamma is not None:
        curve = b"curv\0\0\0\0" + struct.pack(">IHxx", 1, round(gamma * 256))
    tags = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    for tag, xyz in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True):
        tags[tag] = b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(65536 * value) for value in xyz))
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags, name)


def _profile(
    kind: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes], name: str = "test"
) -> bytes:
    text = name.encode() + b"\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(79),
        b"cprt": b"text\0\0\0\0public domain\0",
        b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061),
        **tags,
    }
    entries, body = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for tag, content in tags.items():
        content += bytes(-len(content) % 4)
        entries += tag + struct.pack(">II", start + len(body), len(content))
        body += content
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"\0\0\0\0", 0x02400000, kind, space, connection)
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    head += struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + entries + body
