"""The files of a matrix copy: segments, which never change once they have their name, and a manifest.

A segment holds up to ``SEGMENT_ROWS`` vectors twice: as codes of one byte a number behind the few bytes by
which Faiss knows its own index, and as the library's float16 rows. It is mapped, not read. Nothing is
trusted: the length, the description and the small arrays are checked when it is opened, and so are the
codes, which every search reads anyway; a float16 row is checked whenever it is used, because reading all of
them would cost more than the search. The manifest names the segments, which rows of them are no longer
valid, and up to which generation of the library they are complete.

Files are written beside and renamed, so that a reader finds the old or the new one; who has the old one
mapped keeps it although its name is gone.
"""

from __future__ import annotations

import base64
import json
import mmap
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.photos.vectors.index import Rows
from sensorium.photos.vectors.sieve import (
    Coding,
    FaissSieve,
    Halves,
    Ids,
    Mask,
    encode,
    faiss_module,
    index_of,
)

SEGMENT_ROWS = 131_072

_MAGIC = b"SensMtx1"
_HEAD = struct.Struct("<8sII")  # magic, length and CRC-32 of the description that follows
_DESCRIPTION_AT = 64
_FIRST_SECTION = 4096
_BLOCK = 1024  # rows of codes under one check

Blocks = Callable[[Callable[[int], bool], Iterable[int]], Iterable[bool]]
"""``map``, or an executor's."""


class DamagedError(Exception):
    """A file of the copy is not what was written, or belongs to something else."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a folder holds of one pipeline: see the module.

    ``key`` names library, pipeline and format; ``removed`` [n] marks rows by the name of their segment.
    """

    key: str
    generation: int
    names: tuple[str, ...]
    removed: dict[str, Mask]


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Put a manifest in place of the one before. Raises OSError."""
    removed = {
        name: base64.b64encode(zlib.compress(np.packbits(mask).tobytes())).decode("ascii")
        for name, mask in manifest.removed.items()
    }
    content = {"key": manifest.key, "generation": manifest.generation, "names": manifest.names}
    text = json.dumps({**content, "removed": removed}).encode("ascii")
    _replace(path, [(0, b"%08x\n" % zlib.crc32(text)), (9, text)])


def read_manifest(path: Path) -> Manifest:
    """The manifest at a path. Raises DamagedError, and OSError when it cannot be read."""
    check, _, text = path.read_bytes().partition(b"\n")
    if check != b"%08x" % zlib.crc32(text):
        raise DamagedError(path)
    content = json.loads(text)  # its check says that we wrote it
    removed = {
        name: np.unpackbits(np.frombuffer(zlib.decompress(base64.b64decode(bits)), np.uint8)).astype(bool)
        for name, bits in content["removed"].items()
    }
    return Manifest(content["key"], content["generation"], tuple(content["names"]), removed)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the arrays of a segment lie. ``prefix`` bytes that Faiss wants come before the codes."""

    rows: int
    dim: int
    prefix: int

    def sections(self) -> dict[str, slice]:
        sizes = {
            "ids": 8 * self.rows,
            "row_checks": 8 * self.rows,
            "block_checks": 8 * -(-self.rows // _BLOCK),
            "centre": 4 * self.dim,
            "step": 4 * self.dim,
            "prefix": self.prefix,
            "codes": self.rows * self.dim,
            "halves": 2 * self.rows * self.dim,
        }
        found, at = {}, _FIRST_SECTION
        for name, size in sizes.items():
            if name == "prefix":  # directly before the codes, which begin on a line of the cache
                at = _aligned(at + size, 64) - size
            elif name != "codes":
                at = _aligned(at, mmap.PAGESIZE if name == "halves" else 64)
            found[name] = slice(at, at + size)
            at += size
        return found


_SMALL = ("ids", "row_checks", "block_checks", "centre", "step", "prefix")


def write_segment(path: Path, key: str, ids: Ids, halves: Halves) -> None:
    """Write a segment for ids [n], ascending, and halves [n, d]. Raises OSError; leaves nothing half done."""
    coding, codes = encode(halves)
    index = faiss_module().serialize_index(index_of(codes))
    layout = _Layout(len(ids), halves.shape[1], len(index) - codes.size)
    if not np.array_equal(index[layout.prefix :], codes.reshape(-1)):
        raise OSError("this version of faiss writes an index in another way: the copy stays in memory")
    halves = np.ascontiguousarray(halves, "<f2")
    arrays: dict[str, NDArray[Any]] = {
        "ids": ids.astype("<i8"),
        "row_checks": _row_checks(halves),
        "block_checks": _block_checks(codes),
        "centre": coding.centre.astype("<f4"),
        "step": coding.step.astype("<f4"),
        "prefix": index[: layout.prefix],
        "codes": codes,
        "halves": halves,
    }
    sections = layout.sections()
    description = {
        "key": key,
        "rows": layout.rows,
        "dim": layout.dim,
        "prefix": layout.prefix,
        "reach": coding.reach,
        "length": coding.length,
        "small": _crc(arrays[name] for name in _SMALL),
        "size": sections["halves"].stop,
    }
    text = json.dumps(description).encode("ascii")
    parts = [(0, _HEAD.pack(_MAGIC, len(text), zlib.crc32(text))), (_DESCRIPTION_AT, text)]
    _replace(path, [*parts, *((sections[name].start, array.data) for name, array in arrays.items())])


def open_segment(path: Path, key: str, dim: int, each: Blocks = map) -> Rows:
    """Map a segment. ``each`` may check several blocks of codes at the same time.

    Raises:
        DamagedError: It is not what ``write_segment`` wrote, or was written for another key.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_FIRST_SECTION)
        description = _description(head, path)
        size = os.fstat(file.fileno()).st_size
        if description["key"] != key or description["dim"] != dim or description["size"] != size:
            raise DamagedError(path)
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    layout = _Layout(description["rows"], dim, description["prefix"])
    sections = layout.sections()
    raw = np.frombuffer(mapped, np.uint8)
    if _crc(raw[sections[name]] for name in _SMALL) != description["small"]:
        raise DamagedError(path)
    codes = raw[sections["codes"]].reshape(layout.rows, dim)
    checks = raw[sections["block_checks"]].view("<u8")
    blocks = range(len(checks))
    if not all(each(lambda i: bool(_block_check(codes, i) == checks[i]), blocks)):
        raise DamagedError(path)
    centre, step = (raw[sections[name]].view("<f4") for name in ("centre", "step"))
    index = _index_over(raw[sections["prefix"].start : sections["codes"].stop])
    sieve = FaissSieve(index, Coding(centre, step, description["reach"], description["length"]), codes)
    halves = raw[sections["halves"]].view("<f2").reshape(layout.rows, dim)
    watch = _Watch(path, mapped, sections["halves"], raw[sections["row_checks"]].view("<u8"))
    return Rows(raw[sections["ids"]].view("<i8"), halves, sieve, check=watch)


def _description(head: bytes, path: Path) -> dict[str, Any]:
    if len(head) < _FIRST_SECTION:
        raise DamagedError(path)
    magic, length, check = _HEAD.unpack_from(head)
    text = head[_DESCRIPTION_AT : _DESCRIPTION_AT + length]
    if magic != _MAGIC or zlib.crc32(text) != check:
        raise DamagedError(path)
    description: dict[str, Any] = json.loads(text)
    return description


def _index_over(memory: NDArray[np.uint8]) -> Any:
    """Faiss' index over memory that it neither copies nor owns."""
    faiss = faiss_module()
    reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(memory), memory.size)
    return faiss.read_index(reader, faiss.IO_FLAG_MMAP_IFC)


class _Watch:
    """Checks float16 rows that are about to be used, and gives their pages back.

    A page once touched counts as memory of this process although the system may take it back at any
    time, and with one row the system may map as much as 2 MB around it.
    """

    def __init__(self, path: Path, mapped: mmap.mmap, section: slice, checks: NDArray[np.uint64]) -> None:
        self._path, self._mapped, self._section, self._checks = path, mapped, section, checks

    def __call__(self, positions: Ids, halves: Halves) -> None:
        if not np.array_equal(_row_checks(halves), self._checks[positions]):
            raise DamagedError(self._path)
        if hasattr(mmap, "MADV_DONTNEED"):
            start = self._section.start
            self._mapped.madvise(mmap.MADV_DONTNEED, start, self._section.stop - start)


def _words(rows: NDArray[Any]) -> NDArray[Any]:
    """Rows [n, ...] as the widest unsigned numbers that divide them: [n, words]."""
    raw = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), -1)
    width = next(width for width in (8, 4, 2, 1) if raw.shape[1] % width == 0)
    return raw.view(f"<u{width}")


def _row_checks(rows: Halves) -> NDArray[np.uint64]:
    sums: NDArray[np.uint64] = _words(rows).sum(axis=1, dtype=np.uint64)
    return sums


def _block_check(codes: NDArray[np.uint8], block: int) -> int:
    """The sum, modulo 2**64, of the words of a block: as fast as memory, and any one wrong word shows."""
    return int(_words(codes[block * _BLOCK : (block + 1) * _BLOCK]).sum(dtype=np.uint64))


def _block_checks(codes: NDArray[np.uint8]) -> NDArray[np.uint64]:
    return np.array([_block_check(codes, i) for i in range(-(-len(codes) // _BLOCK))], "<u8")


def _crc(arrays: Iterable[NDArray[Any]]) -> int:
    value = 0
    for array in arrays:
        value = zlib.crc32(np.ascontiguousarray(array).view(np.uint8).data, value)
    return value


def _aligned(position: int, to: int) -> int:
    return -(-position // to) * to


def _replace(path: Path, parts: Sequence[tuple[int, Any]]) -> None:
    """Write pieces at their places into a new file, which then takes the name ``path``."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            for start, content in parts:
                file.seek(start)
                file.write(content)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
