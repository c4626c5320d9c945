"""What ``sensorium cut`` writes: whole files under new names, and never over a picture that was given."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from sensorium.errors import SensoriumError

if TYPE_CHECKING:
    from PIL import Image

MAKER = "sensorium cut"
"""Stands in every file that was written, which may then be written over."""

SUFFIXES = (".png", ".json")


def check(target: Path, originals: Sequence[Path]) -> None:
    """Refuse a name that nothing may be written under. Raises SensoriumError.

    That is one of the originals, also by a link of either kind, and any other file that ``cut`` did not make.
    """
    from sensorium.photos.files.names import printable

    shown = printable(target)
    if target.suffix.lower() not in SUFFIXES:
        raise SensoriumError(
            f"{shown}: a cut-out has a transparent ground: name a .png file, or a .json file for masks alone"
        )
    if not target.absolute().parent.is_dir():
        raise SensoriumError(f"{shown}: its folder does not exist")
    if not target.exists():
        return
    if target.is_dir():
        raise SensoriumError(f"{shown} is a folder: name a file in it")
    if any(original.exists() and target.samefile(original) for original in originals):
        raise SensoriumError(f"{shown} is the picture itself, which is never changed: give another name")
    if not _is_ours(target):
        raise SensoriumError(f"{shown} is there already and no cut-out: remove it or give another name")


def numbered(target: Path, count: int) -> list[Path]:
    """``cat.png`` for one, ``cat-1.png``, ``cat-2.png``, ... for several."""
    if count == 1:
        return [target]
    return [target.with_name(f"{target.stem}-{i}{target.suffix}") for i in range(1, count + 1)]


def write_png(image: Image.Image, target: Path) -> None:
    """Write a cut-out, whole or not at all. Raises SensoriumError."""
    from PIL.PngImagePlugin import PngInfo

    marked = PngInfo()
    marked.add_text("Software", MAKER)
    _write(target, lambda file: image.save(file, "PNG", pnginfo=marked))


def write_json(document: dict[str, Any], target: Path) -> None:
    """Write a document, whole or not at all. Raises SensoriumError."""
    content = json.dumps(document, ensure_ascii=True, indent=1) + "\n"
    _write(target, lambda file: file.write(content.encode("ascii")))


def coco(source: Path, size: tuple[int, int], masks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """``Mask.document()`` of each mask of a picture as the annotations that COCO writes."""
    names = [mask["label"] or "thing" for mask in masks]
    labels = list(dict.fromkeys(names))
    annotations = []
    for number, (mask, name) in enumerate(zip(masks, names, strict=True), 1):
        left, top, right, bottom = mask["box"]
        annotations.append(
            {
                "id": number,
                "image_id": 1,
                "category_id": 1 + labels.index(name),
                "bbox": [left, top, right - left, bottom - top],
                "area": mask["area"],
                "iscrowd": 0,
                "segmentation": mask["rle"],
                "score": mask["quality"] if mask["score"] is None else mask["score"],
            }
        )
    return {
        "info": {"description": MAKER},
        "images": [{"id": 1, "file_name": source.name, "width": size[0], "height": size[1]}],
        "categories": [{"id": number, "name": label} for number, label in enumerate(labels, 1)],
        "annotations": annotations,
    }


def _is_ours(target: Path) -> bool:
    from PIL import Image

    try:
        if target.suffix.lower() == ".json":
            found = json.loads(target.read_text("utf-8"))
            return isinstance(found, dict) and found.get("info") == {"description": MAKER}
        with Image.open(target, formats=["PNG"]) as image:
            return image.info.get("Software") == MAKER
    except (OSError, ValueError, SyntaxError):
        return False


def _write(target: Path, save: Callable[[BinaryIO], Any]) -> None:
    from sensorium.photos.files.names import printable

    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        try:
            with part.open("xb") as file:
                save(file)
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise SensoriumError(f"cannot write {printable(target)}: {error.strerror or error}") from error
