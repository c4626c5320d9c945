"""A person as the oracle of a data engine: proposals go out as COCO's JSON, corrections come back as it.

Whatever draws on COCO files can be used between: masks are confirmed by being left as they are, removed,
changed or added, as run lengths or polygons, in pixels of the upright original.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter

from sensorium.errors import BadImageError, SensoriumError
from sensorium.media.image import ImageSpec, fit_image, placement, read_image
from sensorium.skills.segment.masks import Geometry, from_rle, mask_of
from sensorium.train.data.gathered import Bits, Kept, Yield
from sensorium.train.data.scene_shards import MOST

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".heic", ".tif", ".tiff", ".bmp"))
_POLYGONS = TypeAdapter(Annotated[list[Annotated[list[float], Field(min_length=6)]], Field(min_length=1)])
_NOWHERE = 127  # the byte that normalising makes zero, beside the picture


@dataclass(frozen=True)
class Picture:
    """One picture of a round: its file, relative to the folder, and its upright size in pixels."""

    name: str
    width: int
    height: int

    def geometry(self, side: int) -> Geometry:
        """How it lies in a square of ``side`` pixels, whose masks have half that side."""
        place = placement(self.width, self.height, _spec(side))
        return Geometry((self.width, self.height), (place.width, place.height), side, side // 2)


def _spec(side: int) -> ImageSpec:
    return ImageSpec(side, side, "longest", side, "bilinear", (127 / 255,) * 3, (128 / 255,) * 3)


def names_of(folder: Path) -> list[str]:
    """The pictures of a folder and those within it, sorted. Raises SensoriumError when there is none."""
    found = sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES
    )
    if not found:
        raise SensoriumError(f"{folder} holds no pictures")
    return found


def make_picture_shard(
    folder: Path,
    pictures: Path,
    names: Sequence[str],
    side: int,
    look: Any,
) -> Iterator[int]:
    """Look at pictures into ``folder``, as `make_shard` does at scenes; nothing is known of what they show.

    What cannot be read is left out. ``pictures.json`` lists the others. Yields how many are done.
    """
    mark = folder / "pictures.json"
    if mark.is_file():
        yield len(names)
        return
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[NDArray[np.float16]] = []
    known: list[dict[str, Any]] = []
    for number, name in enumerate(names):
        try:
            image = read_image(pictures / name)
        except (BadImageError, OSError):
            continue
        one = Picture(name, image.width, image.height)
        pixels = fit_image(image, _spec(side))
        across, down = one.geometry(side).scaled
        pixels[down:], pixels[:, across:] = _NOWHERE, _NOWHERE
        rows.append(look(pixels[None])[0].astype(np.float16))
        known.append({"name": name, "width": image.width, "height": image.height})
        yield number + 1
    if not rows:
        raise SensoriumError(f"none of the pictures {names[0]} to {names[-1]} in {pictures} can be read")
    np.save(folder / "maps.npy", np.stack(rows))
    np.save(folder / "masks.npy", np.zeros((len(rows), MOST, -(-((side // 2) ** 2) // 8)), np.uint8))
    (folder / "things.json").write_text(json.dumps([[] for _ in rows]), "utf-8")
    mark.write_text(json.dumps(known), "utf-8")


def pictures_of(folder: Path) -> list[Picture]:
    """The pictures that a shard was made of, by place."""
    return [Picture(**one) for one in json.loads((folder / "pictures.json").read_text("utf-8"))]


def write_proposals(
    path: Path, pictures: Sequence[Picture], found: Sequence[Sequence[tuple[Bits, float]]], side: int
) -> None:
    """Proposed masks [side/2, side/2] with their qualities, of each picture, in the originals' pixels."""
    annotations: list[dict[str, Any]] = []
    for place, (picture, masks) in enumerate(zip(pictures, found, strict=True)):
        geometry = picture.geometry(side)
        for bits, quality in masks:
            mask = mask_of(geometry.spread(bits.astype(np.float32) - np.float32(0.5)) > 0, quality, 1.0)
            annotation = mask.annotation(len(annotations) + 1, place + 1)
            annotations.append(annotation | {"score": round(quality, 4)})
    images = [
        {"id": place + 1, "file_name": one.name, "width": one.width, "height": one.height}
        for place, one in enumerate(pictures)
    ]
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "thing"}]}
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(document), "utf-8")
    fresh.replace(path)


def read_corrections(
    path: Path, proposed: Path, pictures: Sequence[Picture], side: int
) -> tuple[list[Yield], dict[str, int]]:
    """What a person made of the proposals, by picture, and how many were confirmed, changed, removed, added.

    Raises SensoriumError naming the annotation that cannot be read.
    """
    before = {one["id"]: one for one in json.loads(proposed.read_text("utf-8"))["annotations"]}
    try:
        document = json.loads(path.read_text("utf-8"))
        names = {image["id"]: image["file_name"] for image in document["images"]}
        annotations = [
            (one["id"], names[one["image_id"]], one["segmentation"]) for one in document["annotations"]
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SensoriumError(f"{path} is not COCO's JSON of the proposals: {error!r}") from None
    places = {picture.name: place for place, picture in enumerate(pictures)}
    kept: list[list[Kept]] = [[] for _ in pictures]
    told = {"confirmed": 0, "changed": 0, "removed": 0, "added": 0}
    for number, name, segmentation in annotations:
        if name not in places:
            raise SensoriumError(f"{path}: annotation {number} is of {name}, which is none of the pictures")
        picture = pictures[places[name]]
        bitmap = _drawn(segmentation, picture, f"{path}: annotation {number}")
        bits = picture.geometry(side).narrowed(bitmap) >= 0.5
        old = before.pop(number, None)
        if old is None:
            told["added"] += 1
        else:
            told["confirmed" if np.array_equal(from_rle(old["segmentation"]), bitmap) else "changed"] += 1
        if bits.any():
            kept[places[name]].append(Kept(np.asarray(bits, bool), "oracle"))
    told["removed"] = len(before)
    return [Yield(place, tuple(masks)) for place, masks in enumerate(kept)], told


def _drawn(segmentation: Any, picture: Picture, where: str) -> Bits:
    from pycocotools import mask as coco

    height, width = picture.height, picture.width
    try:
        if isinstance(segmentation, dict) and isinstance(segmentation["counts"], str):
            bitmap = from_rle(segmentation)
        elif isinstance(segmentation, dict):
            written = coco.frPyObjects(
                {"size": segmentation["size"], "counts": segmentation["counts"]}, height, width
            )
            bitmap = np.asarray(coco.decode(written), bool)
        else:
            outlines = _POLYGONS.validate_python(segmentation)
            bitmap = np.asarray(coco.decode(coco.merge(coco.frPyObjects(outlines, height, width))), bool)
    except (SensoriumError, KeyError, TypeError, ValueError, IndexError) as error:
        reason = str(error).splitlines()[0]
        raise SensoriumError(f"{where} has a segmentation that cannot be read: {reason}") from None
    if bitmap.shape != (height, width):
        raise SensoriumError(
            f"{where} has {bitmap.shape[1]} x {bitmap.shape[0]} pixels, {picture.name} has {width} x {height}"
        )
    return bitmap
