"""Cutting things out: ours against transformers and segment_anything, in one process, in turns.

    python benchmarks/segment_speed.py [--parts look click everything mini-sam] [--rounds 3] [--clicks 60]

``look`` and ``click`` run a SAM of ViT-B's size at 1024 pixels, against eager float32 in transformers; the
goals are 3 times its speed for both, and clicks within 40 ms at the 95th percentile. ``everything`` runs the
same weights on the same picture as segment_anything's generator (goal: 2 times); ``mini-sam`` our own model
(400 ms to look, 25 ms a click; with random weights where it is not installed).

Weights are random: time depends on shapes, not on what was learned. Their masks mean nothing, so everything
mode is given what makes both sides draw alike: the quality that the best tenth of the masks reach, no demand
on stability (it is worked out all the same), and boxes may overlap fully, so that no mask is left out as a
double. Both sides then keep about 300 masks, as a trained SAM does of a rich picture. segment_anything needs
torchvision, which has no build beside the torch here: its four functions that play a part are written below.
Preparation of the picture is part of both sides. ``--small`` tries the script with a small image encoder.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import SamConfig, SamImageProcessorPil, SamModel
from transformers.utils.logging import disable_progress_bar

from peer import describe_machine, interleaved
from sensorium.errors import ModelNotFoundError
from sensorium.media.image import read_image
from sensorium.skills.segment import Prompt, Segmenter, load
from sensorium.skills.segment.everything import Settings, everything, grid
from sensorium.skills.segment.masks import overlap
from sensorium.skills.segment.segmenter import scattered
from sensorium.weights.maps import sam as layouts
from sensorium.weights.rules import original

PHOTO = Path(__file__).parent.parent / "examples" / "photos" / "IMG_0007.jpg"
PARTS = ("look", "click", "everything", "mini-sam")
PREPARATION = {
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_pad": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_processor_type": "SamImageProcessor",
    "image_std": [0.229, 0.224, 0.225],
    "mask_pad_size": {"height": 256, "width": 256},
    "mask_size": {"longest_edge": 256},
    "pad_size": {"height": 1024, "width": 1024},
    "resample": 2,
    "rescale_factor": 1 / 255,
    "size": {"longest_edge": 1024},
}


def main() -> None:
    """Write the checkpoint, measure the parts, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--rounds", type=int, default=3, help="of looking, and of everything mode")
    parser.add_argument("--clicks", type=int, default=60)
    parser.add_argument("--side", type=int, default=32, help="clicks a row of everything mode")
    parser.add_argument("--small", action="store_true", help="an image encoder of two narrow blocks")
    options = parser.parse_args()
    disable_progress_bar()
    print(describe_machine())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(cores)
    photo = read_image(PHOTO)
    photo = photo.resize((1024, round(1024 * photo.height / photo.width)), Image.Resampling.LANCZOS)
    print(f"a picture of {photo.width} x {photo.height} pixels")
    with tempfile.TemporaryDirectory() as scratch:
        os.environ.setdefault("SENSORIUM_HOME", str(Path(scratch, "home")))
        if {"look", "click", "everything"} & set(options.parts):
            folder = Path(scratch, "vit-b")
            write_random_sam(folder, small=options.small)
            ours, theirs = load(str(folder)), Transformers(folder)
            if "look" in options.parts:
                compare_looks(ours, theirs, photo, options.rounds)
            if "click" in options.parts:
                compare_clicks(ours, theirs, photo, options.clicks)
            if "everything" in options.parts:
                compare_everything(ours, photo, options.side, options.rounds)
            print_engines(ours)
        if "mini-sam" in options.parts:
            measure_mini_sam(Path(scratch, "mini-sam"), photo, max(5, options.rounds), options.clicks)
    if hasattr(os, "getloadavg"):
        print(f"load of the machine at the end: {os.getloadavg()[0]:.1f}")


def write_random_sam(folder: Path, *, small: bool) -> None:
    """A SAM of ViT-B's size in the hub's layout, with weights that keep the signal alive in every layer."""
    torch.manual_seed(0)
    vision = {"hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 3} if small else {}
    blocks = {"global_attn_indexes": [1]} if small else {}
    decoder = {"layer_norm_eps": 1e-5}  # as the published networks were trained
    network = SamModel(SamConfig(vision_config=vision | blocks, mask_decoder_config=decoder))
    spread(network)
    network.tie_weights()
    network.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPARATION))


@torch.no_grad()
def spread(network: torch.nn.Module) -> None:
    """Weights as large as their inputs are many; as libraries initialise them, all answers are alike."""
    for name, parameter in network.named_parameters():
        if name.endswith("positional_embedding"):
            parameter.normal_()  # as in the published networks; here it begins 128 times as large
        elif parameter.ndim > 1 and "embed" not in name and "token" not in name:
            parameter.normal_(std=parameter[0].numel() ** -0.5)


class Transformers:
    """The peer of looking and clicking: eager, float32, as its documentation shows it."""

    def __init__(self, folder: Path) -> None:
        self.network = SamModel.from_pretrained(folder, attn_implementation="eager").eval()
        self.processor = SamImageProcessorPil.from_pretrained(folder)

    @torch.inference_mode()
    def look(self, picture: Image.Image) -> tuple[Any, torch.Tensor]:
        """The prepared picture and its embedding."""
        inputs = self.processor(picture, return_tensors="pt")
        return inputs, self.network.get_image_embeddings(inputs["pixel_values"])

    @torch.inference_mode()
    def decode(self, embedding: torch.Tensor, x: float, y: float) -> Any:
        """Three candidates for a click, whose place is in the network's square."""
        points = torch.tensor([[[[x, y]]]])
        return self.network(image_embeddings=embedding, input_points=points, multimask_output=True)

    def cut(self, looked: tuple[Any, torch.Tensor], x: float, y: float) -> np.ndarray:
        """The same as masks of the picture, bool [3, height, width]; the place is in its pixels."""
        inputs, embedding = looked
        (height, width), (down, across) = (
            inputs[key][0].tolist() for key in ("original_sizes", "reshaped_input_sizes")
        )
        answer = self.decode(embedding, x * across / width, y * down / height)
        sizes = inputs["original_sizes"], inputs["reshaped_input_sizes"]
        return self.processor.post_process_masks(answer.pred_masks, *sizes)[0][0].numpy()


def compare_looks(ours: Segmenter, theirs: Transformers, photo: Image.Image, rounds: int) -> None:
    """A picture that was not seen before to its embedding."""
    a, b = ours.embed(photo).content.ravel(), theirs.look(photo)[1].numpy().ravel()
    cosine = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    print(f"\nlooking at a picture; cosine of the embeddings {cosine:.5f}")
    fresh = unseen(photo)
    seconds = interleaved(
        {
            "transformers": lambda: theirs.look(next(fresh)),
            "sensorium": lambda: ours.embed(next(fresh), keep=False),
        },
        rounds,
        warmup=1,
    )
    report(seconds, ratio_goal=3.0)


def compare_clicks(ours: Segmenter, theirs: Transformers, photo: Image.Image, clicks: int) -> None:
    """Clicks on a picture that was looked at: the decoder alone, then to masks of the picture's size."""
    embedding, looked = ours.embed(photo), theirs.look(photo)
    overlaps = [
        max(overlap(mask.bitmap, expected) for mask in ours.cut(embedding, Prompt(points=((x, y, 1),))).masks)
        for x, y in grid(3, *photo.size)
        for expected in theirs.cut(looked, x, y)
    ]
    print(
        f"\na click; overlap of 27 masks with the peer's: least {min(overlaps):.4f}, "
        f"mean {statistics.mean(overlaps):.4f}"
    )
    place = iter_places(photo)
    print("the decoder")
    seconds = interleaved(
        {
            "transformers": lambda: theirs.decode(looked[1], *next(place)),
            "sensorium": lambda: ours.decode(embedding, *scattered([next(place)])),
        },
        clicks,
    )
    report(seconds, ratio_goal=3.0, p95_goal=40.0)
    print("to masks of the picture")
    seconds = interleaved(
        {
            "transformers": lambda: theirs.cut(looked, *next(place)),
            "sensorium": lambda: ours.cut(embedding, click(next(place))),
        },
        clicks,
    )
    report(seconds, ratio_goal=None, p95_goal=None)
    large = photo.resize((4000, round(4000 * photo.height / photo.width)))
    seen = ours.embed(large)
    places = iter_places(large)
    print("to masks of a picture of 12 megapixels")
    report(
        interleaved({"sensorium": lambda: ours.cut(seen, click(next(places)))}, clicks),
        ratio_goal=None,
        p95_goal=None,
    )


def compare_everything(ours: Segmenter, photo: Image.Image, side: int, rounds: int) -> None:
    """Everything in a picture that was not seen before, by a grid of clicks."""
    embedding = ours.embed(photo)
    points, labels = scattered(grid(side, *embedding.geometry.scaled))
    qualities = [
        ours.decode(embedding, points[i : i + 64], labels[i : i + 64])[1][:, 1:]
        for i in range(0, len(points), 64)
    ]
    quality = float(np.quantile(np.concatenate(qualities), 0.9))
    generator = original_generator(ours, side, quality)
    settings = Settings(side=side, quality=quality, stability=0.0, same=1.0)
    fresh = unseen(photo)
    kept: dict[str, int] = {}

    def peer() -> None:
        kept["segment_anything"] = len(generator(np.asarray(next(fresh))))

    def own() -> None:
        kept["sensorium"] = len(everything(ours, next(fresh), settings))

    print(f"\neverything, {side} x {side} clicks, quality from {quality:.3f} (the best tenth of masks)")
    report(interleaved({"segment_anything": peer, "sensorium": own}, rounds, warmup=1), ratio_goal=2.0)
    print("masks kept: " + ", ".join(f"{name} {number}" for name, number in kept.items()))


def original_generator(ours: Segmenter, side: int, quality: float) -> Callable[[np.ndarray], list[Any]]:
    """segment_anything's automatic mode with the weights of ours and its own defaults for all else."""
    import_segment_anything()
    from segment_anything import SamAutomaticMaskGenerator
    from segment_anything.build_sam import _build_sam

    vision = ours.network.config.vision
    assert hasattr(vision, "global_blocks")
    network = _build_sam(vision.width, vision.depth, vision.heads, list(vision.global_blocks))
    network.load_state_dict(original(ours.network.state_dict(), layouts.ORIGINAL_RULES))
    return SamAutomaticMaskGenerator(
        network.eval(),
        points_per_side=side,
        pred_iou_thresh=quality,
        stability_score_thresh=0.0,
        box_nms_thresh=1.0,
    ).generate


def import_segment_anything() -> None:
    """Make it importable: stand-ins for the functions of torchvision that it calls."""

    def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
        return image.resize(size[::-1], Image.Resampling.BILINEAR)

    def box_area(boxes: torch.Tensor) -> torch.Tensor:
        return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])

    def batched_nms(
        boxes: torch.Tensor, scores: torch.Tensor, groups: torch.Tensor, iou_threshold: float
    ) -> torch.Tensor:
        """Numbers of the boxes that stay, best first; boxes of different groups do not meet."""
        order = scores.argsort(descending=True)
        boxes, groups = boxes[order], groups[order]
        least = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
        most = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
        both = (most - least).clamp(min=0).prod(2)
        areas = box_area(boxes)
        same = (both / (areas[:, None] + areas[None, :] - both)) > iou_threshold
        same &= groups[:, None] == groups[None, :]
        gone = np.zeros(len(boxes), bool)
        for i, row in enumerate(same.numpy()):
            if not gone[i]:
                gone[i + 1 :] |= row[i + 1 :]
        return order[torch.from_numpy(~gone)]

    functions = {
        "torchvision.transforms.functional": {"resize": resize, "to_pil_image": Image.fromarray},
        "torchvision.ops.boxes": {"batched_nms": batched_nms, "box_area": box_area},
    }
    for name in ("torchvision", "torchvision.transforms", "torchvision.ops", *functions):
        module = ModuleType(name)
        vars(module).update(functions.get(name, {}))
        sys.modules.setdefault(name, module)


def measure_mini_sam(folder: Path, photo: Image.Image, rounds: int, clicks: int) -> None:
    """Our own small model, looking and clicking."""
    try:
        mini = load("sensorium/mini-sam")
        print(f"\n{mini.name}")
    except ModelNotFoundError:
        write_random_mini_sam(folder)
        mini = load(str(folder))
        print("\nsensorium/mini-sam is not installed: its network with random weights")
    fresh, place = unseen(photo), iter_places(photo)
    print("looking at a picture")
    report(
        interleaved({"sensorium": lambda: mini.embed(next(fresh), keep=False)}, rounds),
        ratio_goal=None,
        median_goal=400.0,
    )
    embedding = mini.embed(photo)
    print("a click, to masks of the picture")
    report(
        interleaved({"sensorium": lambda: mini.cut(embedding, click(next(place)))}, clicks),
        ratio_goal=None,
        p95_goal=25.0,
    )
    memory = mini.cut(embedding, click(next(place))).memory
    print("a click that corrects an answer")
    report(
        interleaved(
            {"sensorium": lambda: mini.cut(embedding, replace(click(next(place)), memory=memory))}, clicks
        ),
        ratio_goal=None,
        p95_goal=25.0,
    )
    print_engines(mini)


def write_random_mini_sam(folder: Path) -> None:
    """The network that the recipe trains, as a folder."""
    from safetensors.torch import save_file

    from sensorium.models.sam.sam import Sam
    from sensorium.train.recipes.mini_sam import ARCHITECTURE, SPEC
    from sensorium.weights.preprocess import image_fields

    torch.manual_seed(0)
    network = Sam(ARCHITECTURE)
    spread(network)
    folder.mkdir()
    state = original(network.state_dict(), layouts.ORIGINAL_RULES)
    save_file({key: value.contiguous() for key, value in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(layouts.write_original_config(ARCHITECTURE)))
    (folder / "preprocessor_config.json").write_text(json.dumps(image_fields(SPEC, "SamImageProcessor")))


def unseen(photo: Image.Image) -> Any:
    """The picture again and again, each time with another corner: embeddings are remembered by content."""
    for number in count():
        other = photo.copy()
        other.paste((number % 256, number // 256 % 256, 99), (0, 0, 8, 8))
        yield other


def iter_places(photo: Image.Image) -> Any:
    """Places in a picture, spread evenly and none soon again."""
    golden = np.array([0.7548776662, 0.5698402910])
    for number in count(1):
        yield tuple((number * golden % 1 * (np.array(photo.size) - 1)).tolist())


def click(place: tuple[float, float]) -> Prompt:
    """One click on the thing at a place."""
    return Prompt(points=((*place, 1),))


def report(
    seconds: Mapping[str, list[float]],
    *,
    ratio_goal: float | None,
    p95_goal: float | None = None,
    median_goal: float | None = None,
) -> None:
    """Median and 95th percentile of each side; ours against the goals, in milliseconds and times."""
    for name, values in seconds.items():
        print(
            f"  {name:20s} median {1000 * statistics.median(values):9.1f} ms, "
            f"p95 {1000 * float(np.quantile(values, 0.95)):9.1f} ms, {len(values)} times"
        )
    own = seconds["sensorium"]
    for name, values in seconds.items():
        if name != "sensorium":
            ratio = statistics.median(values) / statistics.median(own)
            print(f"  speed-up over {name}: {ratio:.2f}x{judged(ratio_goal, ratio, at_least=True)}")
    for name, goal, value in (
        ("median", median_goal, statistics.median(own)),
        ("p95", p95_goal, float(np.quantile(own, 0.95))),
    ):
        if goal is not None:
            print(f"  {name} {1000 * value:.1f} ms{judged(goal, 1000 * value, at_least=False)}")


def judged(goal: float | None, value: float, *, at_least: bool) -> str:
    """What is to be said of a goal."""
    if goal is None:
        return ""
    reached = value >= goal if at_least else value <= goal
    return (
        f" (goal {'at least' if at_least else 'at most'} {goal:g}: {'reached' if reached else 'NOT reached'})"
    )


def print_engines(segmenter: Segmenter) -> None:
    """Which engine ran each part, and what it was compared with."""
    for part, reason in segmenter.engines().items():
        print(f"  engine of {part}: {reason}")


if __name__ == "__main__":
    main()
