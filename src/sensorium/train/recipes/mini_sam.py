"""``sensorium train mini-sam``: the embedded Segment Anything from nothing but packages, in one command.

Scenes whose every thing is known (``train/data/scenes``) are drawn and looked at once by EfficientNet, which
is not trained at first; the pyramid, the prompt encoder and the mask decoder are: on small pictures, then on
pictures of the final size. Last the whole network learns from pixels of scenes under uneven light, where
colour alone does not tell a thing. Prompts are what a person does: a click or a box, then clicks where it is
wrong.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sensorium.media.image import ImageSpec
from sensorium.models.efficientnet import LITE2
from sensorium.models.sam.config import PyramidConfig, SamConfig
from sensorium.models.sam.prompt_encoder import (
    BACKGROUND,
    BOTTOM_RIGHT,
    FOREGROUND,
    PADDING,
    TOP_LEFT,
)
from sensorium.models.sam.pyramid import Pyramid
from sensorium.models.sam.sam import Sam
from sensorium.runtime.device import choose
from sensorium.train.data.scene_shards import Shape, Shard, make_shard
from sensorium.train.data.scenes import world
from sensorium.train.data.sources import SOURCES, fetch
from sensorium.train.loop import Note, Settings, StepRecord, Task, train
from sensorium.train.mask_losses import mask_loss, overlaps
from sensorium.train.optim import adamw, warmup_cosine
from sensorium.train.order import Place, Shuffled, generator
from sensorium.train.recipes.mini_sam_measure import measure
from sensorium.train.trunk import channels, looking, weights
from sensorium.weights.maps import sam as layout
from sensorium.weights.preprocess import image_fields
from sensorium.weights.rules import original

SIDE = 512  # pixels of the shipped model's square
FOCAL = 5.0
"""Weight of the focal loss. At the paper's 20 a network this small begins by drawing nothing at all."""

SPEC = ImageSpec(SIDE, SIDE, "longest", SIDE, "bilinear", (127 / 255,) * 3, (128 / 255,) * 3)
ARCHITECTURE = SamConfig(
    vision=PyramidConfig(image_size=SIDE, trunk=LITE2, out_channels=128),
    mask_channels=16,
    decoder_depth=2,
    decoder_heads=8,
    decoder_mlp_width=512,
    decoder_norm_eps=1e-5,
    downsample=2,
    candidates=3,
    quality_width=128,
    quality_depth=3,
)


@dataclass(frozen=True)
class Config:
    """The settings; the defaults make the shipped model."""

    out: Path = Path("runs/mini-sam")
    sources: Path = Path("runs/mini-clip-sources")  # where packages are unpacked, or lie already
    scenes: int = 9000  # of small pictures
    fine_scenes: int = 1000  # of pictures of the final size
    lit_scenes: int = 4000  # under uneven light, as pixels
    held_scenes: int = 200  # of cut-outs and photographs that are not trained on
    small: int = 192  # side of the small pictures
    steps: int = 10_000  # on small pictures, of first answers
    correct_steps: int = 1000  # on small pictures, of all rounds
    fine_steps: int = 2400  # on pictures of the final size, of all rounds
    lit: int = 384  # side of the pictures from which the whole network learns
    lit_steps: int = 1200  # of the whole network
    batch: int = 8  # scenes a step
    fine_batch: int = 4  # ... of the final size
    prompts: int = 4  # things asked for in each
    rounds: int = 3  # answers to a prompt, each with one more click
    spread: float = 0.05  # share of the loss that all candidates have, not the best alone
    lr: float = 1e-3
    correct_lr: float = 5e-4
    fine_lr: float = 4e-4
    lit_lr: float = 2e-4
    trunk_rate: float = 0.2  # the trunk's share of it
    fine_quality: float = 5.0  # weight of the loss of predicted qualities, once answers are good
    decay: float = 0.05
    boxes: float = 0.25  # how often the first prompt is a box
    dtype: str = "bfloat16"  # of what is computed; weights and losses stay float32
    seed: int = 0
    save_every: int = 500


def run(config: Config, *, resume: bool = False) -> Iterator[StepRecord | Note]:
    """Rebuild the model; yields notes and records, and writes it to ``config.out / "model"``."""
    config.out.mkdir(parents=True, exist_ok=True)
    config.sources.mkdir(parents=True, exist_ok=True)
    for source in SOURCES:
        fetch(source, config.sources)
    yield Note("have all sources")
    torch.manual_seed(config.seed)
    network = untrained(config.sources)
    assert isinstance(network.image_encoder, Pyramid)
    shards: dict[str, Shard] = {}
    for name, shape, held, seen in (
        ("coarse", Shape(config.scenes, config.small, 0), False, True),
        ("fine", Shape(config.fine_scenes, SIDE, 10_000_000), False, True),
        ("lit", Shape(config.lit_scenes, config.lit, 30_000_000, lit=True), False, False),
        ("held", Shape(config.held_scenes, SIDE, 20_000_000), True, False),
        ("held-lit", Shape(config.held_scenes, SIDE, 20_000_000, lit=True), True, False),
    ):
        folder = config.out / "scenes" / name
        made_of = world(config.sources, held=held)
        look = looking(network.image_encoder.trunk, shape.side) if seen else None
        for done in make_shard(folder, made_of, shape, look):
            yield Note(f"{name}: drew {done} of {shape.count} scenes")
        shards[name] = Shard(folder, shape, channels())
    torch.set_flush_denormal(True)
    for stage in stages(config):
        if not stage.steps:
            continue
        network.train()
        yield Note(f"{stage.name}: {stage.steps} steps of {stage.batch} scenes with {config.prompts} prompts")
        shard = shards[stage.shard]
        network.image_encoder.trunk.requires_grad_(stage.pixels)
        rates = {"image_encoder.trunk.": config.trunk_rate} if stage.pixels else None
        yield from train(
            network,
            task(network, stage.config, shard.shape.side),
            Loader(shard, stage.config, pixels=stage.pixels),
            Shuffled(shard.shape.count, stage.batch, config.seed),
            adamw(network, stage.lr, decay=config.decay, rates=rates),
            warmup_cosine(stage.steps, min(100, stage.steps // 5)),
            Settings(
                folder=config.out / stage.name,
                steps=stage.steps,
                seed=config.seed,
                save_every=config.save_every,
                clip=1.0,
                weights={"quality": stage.quality},
            ),
            placement=choose(dtype=config.dtype),
            resume=resume,
        )
    figures = measure(network.eval(), shards["held"])
    yield Note(json.dumps(figures))
    lit = measure(network, shards["held-lit"])
    yield Note("under uneven light: " + json.dumps(lit))
    minutes = sum(trained(config.out / stage.name / "log.jsonl") for stage in stages(config)) / 60
    write(network, config, figures, lit, minutes, config.out / "model")
    yield Note(
        f"the model and its card are in {config.out / 'model'}, after {minutes:.0f} minutes of training"
    )


def trained(log: Path) -> float:
    """The seconds of a stage's steps, by the median step: however often it was interrupted or paused."""
    if not log.is_file():
        return 0.0
    rows = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    pace = float(np.median([row["items_per_second"] for row in rows]))
    return float(rows[-1]["items"]) / pace


@dataclass(frozen=True)
class Stage:
    """A part of the training: on which scenes, with which settings."""

    name: str
    shard: str
    steps: int
    batch: int
    lr: float
    quality: float
    config: Config
    pixels: bool = False  # the whole network learns, from pixels


def stages(config: Config) -> tuple[Stage, ...]:
    """First answers on small pictures, which are cheap; then corrections; the final size; the whole network.

    As long as answers are poor all candidates learn together, and corrections would only teach their faults.
    """
    first = replace(config, rounds=1, spread=max(config.spread, 0.2))
    return (
        Stage("coarse", "coarse", config.steps, config.batch, config.lr, 1.0, first),
        Stage("corrections", "coarse", config.correct_steps, config.batch, config.correct_lr, 1.0, config),
        Stage(
            "fine",
            "fine",
            config.fine_steps,
            config.fine_batch,
            config.fine_lr,
            config.fine_quality,
            config,
        ),
        Stage(
            "lit",
            "lit",
            config.lit_steps,
            config.fine_batch,
            config.lit_lr,
            config.fine_quality,
            config,
            pixels=True,
        ),
    )


def untrained(sources: Path) -> Sam:
    """The network with EfficientNet's weights, frozen, in its trunk."""
    network = Sam(ARCHITECTURE)
    assert isinstance(network.image_encoder, Pyramid)
    network.image_encoder.trunk.load_state_dict(weights(sources))
    network.image_encoder.trunk.requires_grad_(False)
    return network


@dataclass(frozen=True)
class Loader:
    """Makes the batch of a step: maps of the scenes, masks of the things asked for, and the first prompts."""

    shard: Shard
    config: Config
    pixels: bool = False  # give pixels, not maps; half of the pictures mirrored

    def __call__(self, places: Sequence[Place]) -> dict[str, Any]:
        """``masks`` float32 [b, prompts, side/2, side/2]; the prompts; and what is seen.

        That is ``maps``, four tensors [b, ...], or ``pixels`` uint8 [b, side, side, 3].
        """
        masks, points, labels, pictures = [], [], [], []
        for place in places:
            random = generator(self.config.seed, place)
            found = self.shard.masks_of(place.item)
            if self.pixels:
                step = -1 if random.random() < 0.5 else 1
                found = np.ascontiguousarray(found[..., ::step])
                pictures.append(self.shard.pixels([place.item])[0][:, ::step])
            chosen = random.integers(max(1, len(found)), size=self.config.prompts)
            drawn = (
                found[chosen] if len(found) else np.zeros((self.config.prompts, *found.shape[1:]), np.uint8)
            )
            masks.append(drawn)
            for mask in drawn:
                asked = first_prompt(mask, random, self.config.boxes)
                points.append(asked[0])
                labels.append(asked[1])
        seen: dict[str, Any] = (
            {"pixels": torch.from_numpy(np.stack(pictures))}
            if self.pixels
            else {"maps": self.shard.features([place.item for place in places])}
        )
        return {
            **seen,
            "masks": torch.from_numpy(np.stack(masks).astype(np.float32)),
            "points": torch.from_numpy(np.stack(points)),
            "labels": torch.from_numpy(np.stack(labels)),
        }


def first_prompt(
    mask: NDArray[np.uint8], random: np.random.Generator, boxes: float
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """A click on a mask [h, w] at half resolution, or a box around it: points [2, 2], labels [2]."""
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return np.zeros((2, 2), np.float32), np.array([PADDING, PADDING], np.int64)
    if random.random() < boxes:
        box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float32) * 2
        shaken = box + random.normal(0, 0.04, 4) * np.tile([box[2] - box[0], box[3] - box[1]], 2)
        corners = shaken.clip(0, 2 * mask.shape[0] - 1).astype(np.float32).reshape(2, 2)
        return corners, np.array([TOP_LEFT, BOTTOM_RIGHT], np.int64)
    at = int(random.integers(len(rows)))
    click = np.array([[2 * columns[at] + 0.5, 2 * rows[at] + 0.5], [0, 0]], np.float32)
    return click, np.array([FOREGROUND, PADDING], np.int64)


def correction(logits: Tensor, target: Tensor, *, draw: bool = True) -> tuple[Tensor, Tensor]:
    """One click where an answer is wrong: points [p, 1, 2], labels [p, 1].

    Shapes: logits and target ``[p, h, w]`` at half the picture's resolution. Drawn at random among the wrong
    pixels, or with ``draw`` off the one deepest inside the error; where nothing is wrong, on the thing.
    """
    wanted = target > 0.5
    wrong = (logits > 0) != wanted
    nowhere = ~wrong.flatten(1).any(1)
    wrong = torch.where(nowhere[:, None, None], wanted, wrong)
    if draw:
        weights = wrong.flatten(1).float() + 1e-9
        at = torch.multinomial(weights, 1)[:, 0]
    else:
        at = torch.from_numpy(np.array([_deepest(one) for one in wrong.numpy()]))
    rows, columns = at // target.shape[-1], at % target.shape[-1]
    on = wanted.flatten(1).gather(1, at[:, None])[:, 0]
    points = torch.stack((2 * columns + 0.5, 2 * rows + 0.5), dim=1).float()
    return points[:, None], torch.where(on, FOREGROUND, BACKGROUND)[:, None]


def _deepest(wrong: NDArray[np.bool_]) -> int:
    import cv2

    padded = np.pad(wrong.astype(np.uint8), 1)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    return int(depth.argmax())


def task(network: Sam, config: Config, side: int) -> Task:
    """Losses of all answers to all prompts of a batch: of the masks, of the predicted qualities.

    The first answer trains the three candidates and the single mask; the later ones, which know more, the
    single mask alone, as in the paper.
    """

    def losses(batch: dict[str, Any]) -> tuple[dict[str, Tensor], int]:
        """A batch of ``Loader`` -> sums of the mask and quality losses, and how many answers they are of."""
        encoder, prompt, decoder = network.image_encoder, network.prompt_encoder, network.mask_decoder
        assert isinstance(encoder, Pyramid)
        embedding = (
            encoder((batch["pixels"].permute(0, 3, 1, 2).float() - 127) / 128)
            if "pixels" in batch
            else encoder.joined(*batch["maps"])
        )
        grid = embedding.shape[-1]
        target = batch["masks"].flatten(0, 1)
        points, labels = batch["points"], batch["labels"]
        count = target.shape[0]
        spread = embedding.repeat_interleave(config.prompts, dim=0)
        positions = prompt.positions.grid(grid)
        earlier: Tensor | None = None
        sums: dict[str, Tensor] = {"mask": target.new_zeros(()), "quality": target.new_zeros(())}
        for number in range(config.rounds):
            dense = prompt.no_mask[None, :, None, None] if earlier is None else prompt.mask(earlier)
            looked = decoder.look(spread, dense.expand(count, -1, grid, grid), positions)
            asked = decoder.told(prompt.at(points, labels, side), (points + 0.5) / side, labels, looked)
            logits, quality = decoder(asked, looked, size=grid)
            logits, quality = logits.float(), quality.float()
            wanted = (slice(0, 1), slice(1, None)) if number == 0 else (slice(0, 1),)
            for part in wanted:
                mask, guess, _ = mask_loss(
                    logits[:, part],
                    quality[:, part],
                    target,
                    focal_weight=FOCAL,
                    alpha=0.5,
                    spread=config.spread,
                )
                sums["mask"] = sums["mask"] + mask.sum() / len(wanted)
                sums["quality"] = sums["quality"] + guess.sum() / len(wanted)
            if number + 1 == config.rounds:
                break
            with torch.no_grad():
                best = _best(logits, target) if number == 0 else logits[:, 0]
                earlier = best[:, None].clamp(-32, 32)
                more = correction(best, target)
            points = torch.cat((points, more[0]), dim=1)
            labels = torch.cat((labels, more[1]), dim=1)
        return sums, count * config.rounds

    return losses


def _best(logits: Tensor, target: Tensor) -> Tensor:
    """Of each prompt the candidate nearest to what is wanted: what a person would go on from."""
    reached = overlaps(logits, target[:, None].expand_as(logits))
    return logits[torch.arange(len(logits)), reached.argmax(dim=1)]


def write(
    network: nn.Module,
    config: Config,
    figures: dict[str, float],
    lit: dict[str, float],
    minutes: float,
    folder: Path,
) -> None:
    """The model as a folder: weights in float16, config, preparation and card."""
    from safetensors.torch import save_file

    from sensorium.train.recipes.mini_sam_measure import card

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    state = original(network.state_dict(), layout.ORIGINAL_RULES)
    save_file({key: value.half().contiguous() for key, value in state.items()}, folder / "model.safetensors")
    written = layout.write_original_config(ARCHITECTURE)
    (folder / "config.json").write_text(json.dumps(written, indent=1) + "\n", "utf-8")
    prepared = image_fields(SPEC, "SamImageProcessor")
    (folder / "preprocessor_config.json").write_text(json.dumps(prepared, indent=1) + "\n", "utf-8")
    settings = {name: str(value) for name, value in asdict(config).items() if name not in ("out", "sources")}
    (folder / "README.md").write_text(card(settings, figures, lit, minutes, config.held_scenes), "utf-8")
