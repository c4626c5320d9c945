"""``sensorium train mini-clip``: the embedded model from nothing but packages, in one command.

Fetch the sources; join the two published networks into one (nothing of them is trained); let the image side
describe every view of every picture once; train the joint half on those descriptions with the project's one
loop; write the model folder with its card. Every step is kept in ``out``, so an interrupted run goes on.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from sensorium.media.image import ImageSpec
from sensorium.models.mini_clip import JointHead, MiniClip
from sensorium.runtime import machine, signal_stack
from sensorium.train.data import mini_clip_parts as parts
from sensorium.train.data.captions import (
    Captioned,
    drawings,
    emoji,
    photos,
    stamps,
)
from sensorium.train.data.colours import with_colours
from sensorium.train.data.sources import SOURCES, fetch
from sensorium.train.data.views import Describe, Features, describe_views
from sensorium.train.loop import Note, Settings, StepRecord, Task, train
from sensorium.train.losses import info_nce, limit_scale
from sensorium.train.optim import adamw, warmup_cosine
from sensorium.train.order import Place, generator
from sensorium.train.recipes.mini_clip_card import card
from sensorium.train.recipes.mini_clip_development import figures, held_out

logger = logging.getLogger(__name__)

SPEC = ImageSpec(
    height=288,
    width=288,
    fit="squash",
    resize=288,
    resample="bicubic",
    mean=(127 / 255,) * 3,
    std=(128 / 255,) * 3,
)


@dataclass(frozen=True)
class Config:
    """The settings; the defaults make the shipped model."""

    out: Path = Path("runs/mini-clip")
    sources: Path = Path("runs/mini-clip-sources")  # where packages are unpacked, or lie already
    steps: int = 400
    batch: int = 128
    lr: float = 2e-3
    decay: float = 0.1
    photo_share: float = 0.5  # of a batch; the rest is stamps, emoji and drawings
    distill: float = 1.0  # weight of the losses that teach the joint half ImageNet's classes and groups
    joint_weight: float = 1.1  # length of the trained half where the untrained one has length one
    hold_out: int = 0  # leave out every n-th block of photos, and say how well they are found
    seed: int = 0
    save_every: int = 200


@dataclass(frozen=True)
class Examples:
    """All that training sees: views described, texts embedded."""

    features: Tensor
    """``[views, features]``, roots of pooled features and colours."""
    probabilities: Tensor
    owner: np.ndarray
    """The picture of each view."""
    texts: Tensor
    """``[texts, width]``, centred."""
    captions: list[list[int]]
    """Of each picture, rows of ``texts``."""
    share: np.ndarray
    """Of each view, how often it is drawn; sums to one."""


def run(config: Config, *, resume: bool = False) -> Iterator[StepRecord | Note]:
    """Rebuild the model; yields notes and records, and writes it to ``config.out / "model"``."""
    start = time.monotonic()
    config.out.mkdir(parents=True, exist_ok=True)
    config.sources.mkdir(parents=True, exist_ok=True)
    for source in SOURCES:
        fetch(source, config.sources)
        yield Note(f"have {source.name} ({source.licence})")
    built = parts.joined_networks(config.sources, config.joint_weight)
    yield Note(
        f"the two networks are joined; the vocabulary keeps {built.network.config.text.vocabulary} pieces"
    )
    of_folder = (photos, stamps, emoji, drawings)
    pictures = [picture for kind in of_folder for picture in kind(config.sources)]
    features = yield from described(config, built.network, pictures)
    built.network.projection.data = concept_projection(built.network, features)
    pictures = with_colours(pictures, features)
    held = held_out(pictures, config.hold_out)
    examples = gather(config, built, pictures, features, held)
    yield Note(f"{len(pictures)} pictures in {len(examples.owner)} views, {len(examples.texts)} texts")
    network = Trained(built.network, examples)
    network.train()
    torch.set_flush_denormal(True)  # numbers near zero would make steps forty times slower
    yield from train(
        network,
        task(network, config, examples, teaching(built)),
        lambda places: chosen(examples, config.seed, places),
        Weighted(examples.share, config.batch, config.seed),
        adamw(network, config.lr, decay=config.decay),
        warmup_cosine(config.steps, config.steps // 10),
        Settings(folder=config.out, steps=config.steps, seed=config.seed, save_every=config.save_every),
        resume=resume,
    )
    built.network.joint.load_state_dict(network.joint.state_dict())
    built.network.logit_scale.data.copy_(network.logit_scale.data)
    if len(held):
        yield Note(str(development(built, pictures, examples, held)))
    folder = config.out / "model"
    shutil.rmtree(folder, ignore_errors=True)
    parts.write(built, SPEC, folder)
    minutes = (time.monotonic() - start) / 60
    settings = {name: str(value) for name, value in vars(config).items() if name not in ("out", "sources")}
    text = card(settings, pictures, len(examples.owner), minutes)
    (folder / "README.md").write_text(text, encoding="utf-8")
    yield Note(f"the model and its card are in {folder}, after {minutes:.0f} minutes")


def described(
    config: Config, network: MiniClip, pictures: Sequence[Captioned]
) -> Generator[Note, None, Features]:
    """The features of all views, from an earlier run where there is one."""
    path = config.out / "features.pt"
    identity = json.dumps(
        [[p.kind, str(p.path.relative_to(config.sources))] for p in pictures] + [config.seed]
    )
    mark = config.out / "features.json"
    if path.is_file() and mark.is_file() and mark.read_text("utf-8") == identity:
        yield Note(f"features of {len(pictures)} pictures were there already")
        return Features.load(path)

    progress = describe_views(pictures, compiled(Describer(network)), SPEC, config.seed)
    done, found = next(progress)
    while found is None:
        yield Note(f"looked at {done} of {len(pictures)} pictures")
        done, found = next(progress)
    found.save(path)
    mark.write_text(identity, "utf-8")
    return found


class Describer(nn.Module):
    """Pixels to all that the joint half is told of a picture."""

    def __init__(self, network: MiniClip) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised pixels ``[b, 3, h, w]`` to pooled features, colours and class probabilities."""
        return self.network.described(self.network.vision.features(pixels), pixels)


def compiled(network: Describer) -> Describe:
    """The same function in float32 by OpenVINO, which looks at thousands of views faster than torch."""
    openvino = machine.openvino()
    example = torch.zeros(1, 3, SPEC.height, SPEC.width)
    shape = [-1, 3, SPEC.height, SPEC.width]
    graph = openvino.convert_model(network, example_input=example, input=[shape])
    with signal_stack.kept():
        engine = openvino.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def describe(pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        with signal_stack.kept():
            found = engine([pixels.numpy()])
        pooled, colours, probabilities = (torch.from_numpy(found[number].copy()) for number in range(3))
        return pooled, colours, probabilities

    return describe


def concept_projection(network: MiniClip, features: Features) -> Tensor:
    """The directions in which pictures differ most, ``[concepts, concept_dim]``, orthonormal.

    The right singular vectors of the concepts of every other view; the sign of each is fixed, so that the
    same views give the same bits.
    """
    concepts = network.concepts(features.probabilities[::2])
    rows = torch.linalg.svd(concepts, full_matrices=False).Vh[: network.config.concept_dim]
    signs = rows.gather(1, rows.abs().argmax(1, keepdim=True)).sign()
    projection: Tensor = (rows * signs).T.contiguous()
    return projection


def development(
    built: parts.Built, pictures: Sequence[Captioned], examples: Examples, held: NDArray[np.int64]
) -> dict[str, float]:
    """Figures on the photos that were held out, each seen whole: its first view."""
    first = [int(np.argmax(examples.owner == number)) for number in held]
    built.network.eval()
    chosen_pictures = [pictures[number] for number in held]
    found = figures(built, chosen_pictures, examples.features[first], examples.probabilities[first])
    return {name: round(value, 3) for name, value in found.items()}


def gather(
    config: Config,
    built: parts.Built,
    pictures: Sequence[Captioned],
    features: Features,
    held: NDArray[np.int64],
) -> Examples:
    """Join views and texts; views of held-out pictures are never drawn."""
    texts = list(dict.fromkeys(text for picture in pictures for text in picture.texts))
    number = {text: row for row, text in enumerate(texts)}
    amounts = {"photo": 0.0, "stamp": 1.0, "emoji": 0.5, "drawing": 0.3}
    kinds = np.array([pictures[owner].kind for owner in features.owner])
    others = np.array([amounts[kind] for kind in kinds])
    share = others / others.sum() * (1 - config.photo_share)
    drawn = (kinds == "photo") & ~np.isin(features.owner, held)
    share[drawn] = config.photo_share / drawn.sum()
    return Examples(
        features=torch.cat([features.pooled, features.colours], 1),
        # without the smallest: arithmetic on denormal numbers is some fifty times slower
        probabilities=features.probabilities * (features.probabilities > 1e-8),
        owner=features.owner,
        texts=built.embed(texts),
        captions=[[number[text] for text in picture.texts] for picture in pictures],
        share=share / share.sum(),
    )


class Weighted:
    """Places drawn by weight, each step from a generator of its own: the same step, the same places."""

    def __init__(self, share: np.ndarray, batch: int, seed: int) -> None:
        self.edges, self.batch, self.seed = np.cumsum(share), batch, seed

    @property
    def smallest(self) -> int:
        """All steps are of one size."""
        return self.batch

    def places(self, step: int) -> list[Place]:
        """The places of a step; their epoch is the step, so that each draws a caption anew."""
        drawn = np.random.default_rng([self.seed, step]).random(self.batch) * self.edges[-1]
        rows = np.searchsorted(self.edges, drawn, side="right").clip(max=len(self.edges) - 1)
        return [Place(step, int(row)) for row in rows]

    def identity(self) -> dict[str, Any]:
        """What must not change between a run and its continuation."""
        return {"weighted": len(self.edges), "batch": self.batch, "seed": self.seed}


def chosen(examples: Examples, seed: int, places: Sequence[Place]) -> tuple[Tensor, Tensor]:
    """Rows of views and of texts: one caption of each picture, by chance."""
    texts = []
    for place in places:
        captions = examples.captions[examples.owner[place.item]]
        texts.append(captions[generator(seed, place).integers(len(captions))])
    return torch.tensor([place.item for place in places]), torch.tensor(texts)


class Trained(nn.Module):
    """What is trained: the joint half and its temperature, nothing else."""

    def __init__(self, network: MiniClip, examples: Examples) -> None:
        super().__init__()
        self.joint: JointHead = network.joint
        self.joint.mean.data = examples.features.mean(0)
        self.joint.scale.data = 1 / examples.features.std(0).clamp_min(1e-3)
        self.logit_scale = nn.Parameter(torch.tensor(2.7))


@dataclass(frozen=True)
class Teaching:
    """Names of classes and groups, ``[2, classes or groups, width]``, and who belongs to which group."""

    classes: Tensor
    groups: Tensor
    membership: Tensor


def teaching(built: parts.Built) -> Teaching:
    """What the class losses compare with."""
    classes = built.network.config.vision.classes
    names = built.network.names.data
    return Teaching(names[:, :classes], names[:, classes:], built.network.membership.data)


def task(network: Trained, config: Config, examples: Examples, names: Teaching) -> Task:
    """Three losses: views find their captions, the names of their classes, and those of their groups."""
    owner = torch.from_numpy(examples.owner)

    def losses(batch: tuple[Tensor, Tensor]) -> tuple[dict[str, Tensor], int]:
        rows, texts = batch
        limit_scale(network.logit_scale, 1.0, 4.0)
        scale = network.logit_scale.exp()
        probabilities = examples.probabilities[rows]
        image = network.joint.image(examples.features[rows], probabilities)
        sentence = network.joint.sentence(examples.texts[texts])
        language = int(torch.randint(2, ()))
        # all 1,000 names would be most of the work: the likeliest of each view, and some by chance
        some = torch.unique(
            torch.cat([probabilities.argmax(1), torch.randint(probabilities.shape[1], (128,))])
        )
        group = F.normalize(probabilities @ names.membership.T, p=1, dim=1)
        return {
            "contrast": info_nce(image, sentence, scale, ids=owner[rows]),
            "classes": config.distill
            * _named(network, image, names.classes[language, some], probabilities[:, some]),
            "groups": config.distill / 2 * _named(network, image, names.groups[language], group),
        }, len(rows)

    return losses


def _named(network: Trained, image: Tensor, names: Tensor, wanted: Tensor) -> Tensor:
    """Cross-entropy between what a view is and which names are closest to it, summed over views."""
    logits = image @ network.joint.sentence(names).T * network.logit_scale.exp()
    return -(wanted * logits.log_softmax(1)).sum()
