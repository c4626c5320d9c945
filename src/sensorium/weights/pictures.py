"""How a language model that sees wants its pictures and films, as the checkpoint's own files declare it.

Each published image processor is one way of showing a picture (`sensorium.media.resizing`); the numbers are
in ``preprocessor_config.json``, or nested in ``processor_config.json``. A field that is missing is an error
that names it, and so are numbers that contradict the network: both would give fluent and wrong answers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

from sensorium.errors import CheckpointError
from sensorium.media.image import ImageSpec
from sensorium.media.resized import PictureSpec
from sensorium.media.resizing.policies import (
    AnyresTiles,
    CentreCrop,
    Letterbox,
    Native,
    Policy,
    Squash,
    check,
    grids_from_pinpoints,
)
from sensorium.weights.preprocess import (
    RESAMPLES,
    check_steps,
    image_from_hub,
    need,
    read_json,
    resample_of,
    section,
    triple,
)

OURS = "SensoriumLetterboxImageProcessor"
"""``image_processor_type`` of what `picture_fields` writes."""

_TILES, _NATIVE = "LlavaNextImageProcessor", "Qwen2VLImageProcessor"
_ONE_VIEW = ("CLIPImageProcessor", "SiglipImageProcessor", "BlipImageProcessor", "LlavaImageProcessor")
_BICUBIC = 3  # the only filter of Qwen's, whose published files do not name it
_QWEN_RATIO = 200.0  # to one: beyond it, the authors' code and transformers refuse a picture

Anchor = Literal["centre", "corner"]


@dataclass(frozen=True)
class FilmSpec:
    """How a checkpoint wants films: some frames, each shown as a picture is."""

    frame: PictureSpec
    """For as few frames as do not reach ``most_pixels``; see `shown`."""
    per_second: float
    """Frames taken of a second of film."""
    least_frames: int
    most_frames: int
    frames_in_patch: int
    """Frames that become one token together; their number is a multiple of it."""
    most_pixels: int
    """Of all frames together, each ``frames_in_patch`` of them counted once."""

    def count(self, seconds: float, frames: int) -> int:
        """How many of the ``frames`` of a film of so many seconds are looked at, at least one.

        A multiple of ``frames_in_patch`` unless the film has fewer: its last frame is then shown again.
        """
        part = self.frames_in_patch
        most = min(self.most_frames, frames) // part * part
        wanted = min(max(seconds * self.per_second, self.least_frames), most)
        return max(min(frames, part), math.floor(wanted / part) * part)

    def shown(self, frames: int) -> PictureSpec:
        """How each of so many frames is shown: many frames share the pixels that there are."""
        policy = cast(Native, self.frame.policy)
        share = self.most_pixels * self.frames_in_patch // frames
        most = max(min(policy.most_pixels, share), int(policy.least_pixels * 1.05))
        return replace(self.frame, policy=replace(policy, most_pixels=most))


def read_picture_spec(folder: Path, family: str, config: Any) -> PictureSpec:
    """How the checkpoint in ``folder`` wants its pictures.

    Args:
        folder: Where it lies.
        family: As in `sensorium.weights.files.ModelFiles`: one of those that see and speak.
        config: The network's, as the reader of its family gives it (``LlavaConfig``, ``Blip2Config``,
            ``QwenVlConfig``, ``MiniVlmConfig``).

    Returns:
        The plan's ``tokens`` are the places of the language model, without a class token where the network
        keeps one; of BLIP-2 they are what its Q-Former looks at, and its queries are the places.

    Raises:
        CheckpointError: No such file, a field that is missing or cannot be carried out, or numbers that
            contradict the network's, named.
    """
    raw, where = _declared(folder)
    kind = _kind(raw, where)
    check_steps(raw, where)
    match family:
        case "qwen_vl":
            _expect(kind, (_NATIVE,), where)
            return _native(raw, where, config.vision)
        case "mini_vlm":
            _expect(kind, (OURS,), where)
            return _ours(raw, where, config)
        case "llava" if config.newline:
            _expect(kind, (_TILES,), where)
            return _tiles(raw, where, config.vision)
        case "llava" | "blip2" | "blip2_matcher":
            _expect(kind, _ONE_VIEW, where)
            return _one_view(raw, where, config.vision, kind)
    raise CheckpointError(f"{folder}: a model of the family {family!r} is shown no pictures by a plan")


def read_film_spec(folder: Path, config: Any) -> FilmSpec:
    """How the Qwen2.5-VL in ``folder`` wants its films; ``config`` is its ``QwenVlConfig``.

    The file is ``video_preprocessor_config.json``, or the ``video_processor`` of ``processor_config.json``.
    The first checkpoints have neither: theirs are the numbers of their authors' qwen-vl-utils, 2 frames a
    second, from 4 to 768 of them, 128 to 768 tokens each, 90 % of 128,000 tokens in all.

    Raises:
        CheckpointError: As `read_picture_spec`.
    """
    spec = read_picture_spec(folder, "qwen_vl", config)
    side = config.vision.patch * config.vision.merge
    found, where = _declared_films(folder)
    raw = found or {}
    if found is None:
        policy = replace(cast(Native, spec.policy), least_pixels=128 * side**2, most_pixels=768 * side**2)
        spec = replace(spec, policy=policy)
    else:
        check_steps(raw, where)
        spec = _native(raw, where, config.vision)
    return FilmSpec(
        frame=spec,
        per_second=float(_number(raw, "fps", 2, where)),
        least_frames=int(_number(raw, "min_frames", 4, where)),
        most_frames=int(_number(raw, "max_frames", 768, where)),
        frames_in_patch=config.vision.frames,
        most_pixels=int(_number(raw, "max_video_tokens", 128_000, where) * side**2 * 0.9),
    )


def picture_fields(spec: PictureSpec) -> dict[str, Any]:
    """The content of a ``preprocessor_config.json`` that `read_picture_spec` reads back identically.

    Raises:
        ValueError: The policy is no `Letterbox`: only our own models are written.
    """
    policy = spec.policy
    if not isinstance(policy, Letterbox):
        raise ValueError(f"only a letterbox is written, not {policy}")
    return {
        "anchor": policy.anchor,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "fill": list(spec.fill),
        "image_mean": list(spec.mean),
        "image_processor_type": OURS,
        "image_std": list(spec.std),
        "pad_first": policy.pad_first,
        "resample": RESAMPLES.index(spec.resample),
        "rescale_factor": 1 / 255,
        "size": {"height": policy.height, "width": policy.width},
        "token_side": policy.token_side,
    }


def _declared(folder: Path) -> tuple[Mapping[str, Any], str]:
    """What the folder says of pictures, and in which file."""
    path = folder / "preprocessor_config.json"
    raw = read_json(path)
    if raw is not None:
        return raw, f"{path}"
    path = folder / "processor_config.json"
    raw = read_json(path)
    if raw is not None and "image_processor" in raw:  # one without it only names its class
        return section(raw, "image_processor", f"{path}"), f"{path}"
    raise CheckpointError(
        f"{folder} does not say how pictures are prepared: put preprocessor_config.json there"
    )


def _declared_films(folder: Path) -> tuple[Mapping[str, Any] | None, str]:
    path = folder / "video_preprocessor_config.json"
    raw = read_json(path)
    if raw is not None:
        return raw, f"{path}"
    path = folder / "processor_config.json"
    raw = read_json(path) or {}
    return (section(raw, "video_processor", f"{path}") if "video_processor" in raw else None), f"{path}"


def _kind(raw: Mapping[str, Any], where: str) -> str:
    """The processor's class as it was first called: not by its speed, nor by its name of the first years."""
    field = "feature_extractor_type" if "feature_extractor_type" in raw else "image_processor_type"
    name = str(need(raw, field, where)).replace("FeatureExtractor", "ImageProcessor")
    return name.removesuffix("Fast").removesuffix("Pil")


def _expect(kind: str, known: tuple[str, ...], where: str) -> None:
    if kind not in known:
        raise CheckpointError(
            f"{where}: image_processor_type is {kind}, where this network needs {' or '.join(known)}"
        )


def _one_view(raw: Mapping[str, Any], where: str, vision: Any, kind: str) -> PictureSpec:
    """CLIP's middle square (LLaVA-1.5 on the hub), a stretched one (BLIP-2), or the authors' letterbox."""
    spec = image_from_hub(raw, where)
    _fits(spec, vision, where)
    policy: Policy
    fill = (0, 0, 0)
    if kind == "LlavaImageProcessor" and need(raw, "do_pad", where):
        if spec.height != spec.width:
            raise CheckpointError(f"{where}: do_pad needs a square, not {spec.height} x {spec.width}")
        policy = Letterbox(spec.width, spec.height, vision.patch, "centre", True)
        red, green, blue = (int(value * 255) for value in spec.mean)
        fill = (red, green, blue)
    elif spec.fit == "squash":
        policy = Squash(spec.width, spec.height, vision.patch)
    else:
        policy = CentreCrop(spec.width, vision.patch)
    return _checked(policy, spec, fill, where)


def _tiles(raw: Mapping[str, Any], where: str, vision: Any) -> PictureSpec:
    """LLaVA-NeXT's tiles, whose pairs of sides transformers reads as height and width."""
    spec = image_from_hub(raw, where)
    _fits(spec, vision, where)
    if spec.height != spec.width:
        raise CheckpointError(f"{where}: tiles must be square, not {spec.height} x {spec.width}")
    pairs = need(raw, "image_grid_pinpoints", where)
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(side, int) for side in pair)
        for pair in pairs
    ):
        raise CheckpointError(f"{where}: image_grid_pinpoints is {pairs!r}; pairs of sides are needed")
    try:
        grids = grids_from_pinpoints(pairs, spec.height, "height_width")
    except ValueError as error:
        raise CheckpointError(f"{where}: {error}") from error
    policy = AnyresTiles(spec.height, vision.patch, grids, "transformers", None)
    return _checked(policy, spec, (0, 0, 0), where)


def _native(raw: Mapping[str, Any], where: str, vision: Any) -> PictureSpec:
    """Qwen2-VL's own sizes. The cap and the rounding are those of transformers, which counts with them."""
    for field, own in (
        ("patch_size", vision.patch),
        ("merge_size", vision.merge),
        ("temporal_patch_size", vision.frames),
    ):
        if need(raw, field, where) != own:
            raise CheckpointError(f"{where}: {field} is {raw[field]!r}, the network has {own}")
    policy = Native(
        token_side=vision.patch * vision.merge,
        least_pixels=_edge(raw, "min_pixels", "shortest_edge", where),
        most_pixels=_edge(raw, "max_pixels", "longest_edge", where),
        longest_ratio=_QWEN_RATIO,
        cap="soft",
        rounding="transformers",
    )
    resample = resample_of(raw.get("resample", _BICUBIC), where)
    mean, std = triple(raw, "image_mean", where), triple(raw, "image_std", where)
    return PictureSpec(_possible(policy, where), resample, mean, std, (0, 0, 0))


def _edge(raw: Mapping[str, Any], first: str, today: str, where: str) -> int:
    """A number of pixels under its name of the first years, which wins, or that of today."""
    size = raw.get("size") or {}
    stated = (raw.get(first), size.get(today), size.get(first))
    found = next((value for value in stated if value is not None), None)
    if found is None:
        raise CheckpointError(f"{where}: the field {first} (or size.{today}) is missing")
    if not isinstance(found, int) or isinstance(found, bool):
        raise CheckpointError(f"{where}: {first} is {found!r}; a number of pixels is needed")
    return found


def _ours(raw: Mapping[str, Any], where: str, config: Any) -> PictureSpec:
    size = section(raw, "size", where)
    width, height = need(size, "width", f"{where}: size"), need(size, "height", f"{where}: size")
    side, anchor, pad_first = (need(raw, name, where) for name in ("token_side", "anchor", "pad_first"))
    fill = need(raw, "fill", where)
    if (width, height) != (config.side, config.side) or side * config.rows != config.side:
        raise CheckpointError(
            f"{where}: {width} x {height} pixels in tokens of {side!r} are declared, the network takes "
            f"{config.side} x {config.side} in {config.rows} rows"
        )
    if anchor not in get_args(Anchor) or not isinstance(pad_first, bool):
        raise CheckpointError(f"{where}: anchor is {anchor!r} and pad_first {pad_first!r}")
    if not (isinstance(fill, list) and len(fill) == 3 and all(value in range(256) for value in fill)):
        raise CheckpointError(f"{where}: fill is {fill!r}; red, green and blue from 0 to 255 are needed")
    policy = Letterbox(width, height, side, cast(Anchor, anchor), pad_first)
    resample = resample_of(need(raw, "resample", where), where)
    mean, std = triple(raw, "image_mean", where), triple(raw, "image_std", where)
    red, green, blue = fill
    return PictureSpec(_possible(policy, where), resample, mean, std, (red, green, blue))


def _fits(spec: ImageSpec, vision: Any, where: str) -> None:
    """The processor gives pictures of the tower's size, and shows no less than the middle square."""
    if (spec.height, spec.width) != tuple(vision.image_size):
        raise CheckpointError(
            f"{where}: pictures of {spec.height} x {spec.width} pixels are declared, "
            f"the network takes {vision.image_size[0]} x {vision.image_size[1]}"
        )
    if spec.fit == "longest" or (spec.fit == "crop" and not spec.resize == spec.height == spec.width):
        raise CheckpointError(
            f"{where}: size is {spec.resize} and the crop {spec.height} x {spec.width}: only the middle "
            "square of a picture whose shorter side has its size is supported"
        )


def _checked(policy: Policy, spec: ImageSpec, fill: tuple[int, int, int], where: str) -> PictureSpec:
    return PictureSpec(_possible(policy, where), spec.resample, spec.mean, spec.std, fill)


def _possible(policy: Policy, where: str) -> Policy:
    try:
        check(policy)
    except ValueError as error:
        raise CheckpointError(f"{where}: {error}") from error
    return policy


def _number(raw: Mapping[str, Any], name: str, default: float, where: str) -> float:
    value = raw.get(name)
    if value is None:
        return default
    if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
        raise CheckpointError(f"{where}: {name} is {value!r}; a number above zero is needed")
    return value
