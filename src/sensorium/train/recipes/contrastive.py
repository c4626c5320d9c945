"""Train or fine-tune a CLIP-kind model on pictures with captions.

    sensorium train contrastive --set data=pairs.jsonl --set model=openai/clip-vit-base-patch32

The loss follows the network: InfoNCE (CLIP) or, where it has a bias on its logits, the sigmoid loss (SigLIP).
The result is a folder in the hub's layout with a card, which ``sensorium index --model FOLDER`` takes.
"""

from __future__ import annotations

import json
import logging
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.errors import SensoriumError
from sensorium.media.image import fit_image, normalize, read_image
from sensorium.media.text import Tokenizer
from sensorium.runtime import device as devices
from sensorium.train.log import read_log
from sensorium.train.loop import Note, Settings, StepRecord, Task, train
from sensorium.train.losses import in_chunks, info_nce, limit_scale, sigmoid_loss
from sensorium.train.optim import Ema, adamw, freeze, warmup_cosine
from sensorium.train.order import Shuffled
from sensorium.train.pairs import Pair, PairLoader, read_pairs
from sensorium.train.world import world
from sensorium.weights.files import ModelFiles, find
from sensorium.weights.load import FAMILIES, build
from sensorium.weights.save import export

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Config:
    """The settings; sizes of batches count pictures over all processes."""

    data: Path  # .jsonl, .csv or .tsv of pairs, or a folder of pictures with captions in .txt files
    out: Path = Path("runs/contrastive")
    model: str = "sensorium/mini-clip"  # a name or a folder
    fresh: bool = False  # start from random weights of that model's shape
    validation: Path | None = None  # pairs to measure retrieval on, in any of the forms of `data`
    image_key: str = "image"
    text_key: str = "text"
    about: str = ""  # where the data comes from and under which licence, for the card
    loss: Literal["auto", "info_nce", "sigmoid"] = "auto"
    freeze: tuple[str, ...] = ()  # parts left as they are: vision, text, logit_scale, vision.blocks.0, ...
    rates: dict[str, float] = field(default_factory=dict)  # start of parameter names -> factor on lr
    batch: int = 64
    accumulate: int = 1  # divides the batch, and with it the negatives; `chunk` does not
    chunk: int = 0  # pictures encoded at a time, for the memory of one chunk at the cost of time; 0: all
    epochs: float = 10.0
    steps: int = 0  # takes the place of epochs when above 0
    lr: float = 1e-5
    decay: float = 0.1
    warmup: int = 100  # steps, at most a fifth of all
    clip: float | None = 1.0
    ema: float = 0.0  # decay of the averaged weights; 0 keeps none
    crop_area: float = 0.9  # smallest part of a picture that a random crop shows; 1: no random crop
    flip: float = 0.0  # how often a picture is mirrored; captions that say left and right forbid it
    seed: int = 0
    workers: int = 0
    save_every: int = 500
    keep: int = 2
    evaluate_every: int = 0
    device: str | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        if not 0 < self.crop_area <= 1:
            raise SensoriumError(f"crop_area is {self.crop_area}; it must be above 0 and at most 1")
        if not 0 <= self.flip <= 1:
            raise SensoriumError(f"flip is {self.flip}; it is a probability")


def run(config: Config, *, resume: bool = False) -> Iterator[StepRecord | Note]:
    """Train by ``config``; yields records and notes, and writes the model to ``config.out / "model"``."""
    data = read_pairs(config.data, image_key=config.image_key, text_key=config.text_key)
    yield from (Note(f"left out {line}", refused=True) for line in data.refused)
    files = find(config.model)
    if files.text is None:
        raise SensoriumError(f"{files.name} reads no text; choose a model with an image and a text tower")
    placement = devices.choose(config.device, config.dtype)
    network = _network(config, files).to(placement.torch_device)
    tokenizer = Tokenizer.from_folder(files.folder, files.text)
    load = PairLoader(data.pairs, files.image, tokenizer, config.seed, config.crop_area, config.flip)
    order = Shuffled(len(data.pairs), config.batch, config.seed)
    steps = config.steps or order.steps(config.epochs)
    refused: dict[str, None] = {}
    ema = Ema(network, config.ema) if config.ema else None
    measure = _retrieval_measure(config, files, network, tokenizer)
    yield Note(f"{len(data.pairs)} pictures, {steps} steps of {config.batch}, {_count(network)} to train")
    trained = False
    for record in train(
        network,
        contrastive_task(network, config, refused),
        load,
        order,
        adamw(network, config.lr, decay=config.decay, rates=config.rates),
        warmup_cosine(steps, min(config.warmup, steps // 5)),
        _settings(config, steps),
        placement=placement,
        ema=ema,
        evaluate=measure,
        resume=resume,
    ):
        trained = True
        yield record
    yield from (Note(f"left out {line}", refused=True) for line in refused)
    if world().rank == 0:
        folder = config.out / "model"
        if trained or not folder.exists():
            _export(network, ema, files, folder)
        (folder / "README.md").write_text(_card(config, files, data.pairs), encoding="utf-8")
        yield Note(f"the model and its card are in {folder}")


def contrastive_task(network: Any, config: Config, refused: dict[str, None]) -> Task:
    """The task of the loop: a batch of ``PairLoader`` to the loss ``contrast``.

    ``network`` has ``encode_image``, ``encode_text``, ``logit_scale`` and, for the sigmoid loss,
    ``logit_bias``. Entries that the loader refused are added to ``refused``, each with a warning when it is
    first met.
    """
    bias = _sigmoid_bias(config, network)

    def encode(encoder: Any, *inputs: Tensor) -> Tensor:
        rows = in_chunks(encoder, *inputs, rows=config.chunk) if config.chunk else encoder(*inputs)
        return F.normalize(rows.float(), dim=-1)

    def task(batch: Mapping[str, Any]) -> tuple[dict[str, Tensor], int]:
        for line in batch["refused"]:
            if line not in refused:
                logger.warning("left out %s", line)
                refused[line] = None
        image = encode(network.encode_image, batch["pixels"])
        text = encode(network.encode_text, batch["ids"], batch["mask"])
        if bias is not None:
            loss = sigmoid_loss(image, text, network.logit_scale.exp(), bias, ids=batch["captions"])
        else:
            limit_scale(network.logit_scale)
            loss = info_nce(image, text, network.logit_scale.exp(), ids=batch["captions"])
        return {"contrast": loss}, len(image)

    return task


@torch.no_grad()
def retrieval(
    network: Any, files: ModelFiles, tokenizer: Tokenizer, pairs: Sequence[Pair], *, batch: int = 64
) -> dict[str, float]:
    """How often the right one is found, at the first place and among five, from captions and from pictures.

    ``text_to_image@k``: share of captions whose picture is among the k nearest. ``image_to_text@k``: share of
    pictures of which some caption is. A picture is right for every caption equal to one of its own.
    """
    device = next(network.parameters()).device
    captions = list(dict.fromkeys(caption for pair in pairs for caption in pair.captions))
    images = []
    for start in range(0, len(pairs), batch):
        part = [
            read_image(pair.image, smallest=files.image.decode_side) for pair in pairs[start : start + batch]
        ]
        pixels = normalize(np.stack([fit_image(image, files.image) for image in part]), files.image)
        images.append(F.normalize(network.encode_image(torch.from_numpy(pixels).to(device)).float(), dim=-1))
    texts = []
    for start in range(0, len(captions), batch):
        tokens = tokenizer.encode(captions[start : start + batch])
        ids, mask = torch.from_numpy(tokens.ids).to(device), torch.from_numpy(tokens.mask).to(device)
        texts.append(F.normalize(network.encode_text(ids, mask).float(), dim=-1))
    cosines = torch.cat(images) @ torch.cat(texts).T
    right = torch.tensor([[caption in pair.captions for caption in captions] for pair in pairs]).to(device)
    return {
        f"{name}@{k}": recall(scores, fits, k)
        for name, scores, fits in (("text_to_image", cosines.T, right.T), ("image_to_text", cosines, right))
        for k in (1, 5)
    }


def recall(scores: Tensor, right: Tensor, k: int) -> float:
    """Share of rows [q, n] of ``scores`` whose ``k`` highest columns hold one that is ``right`` [q, n]."""
    nearest = scores.topk(min(k, scores.shape[1]), dim=1).indices
    return float(right.gather(1, nearest).any(dim=1).float().mean())


def _retrieval_measure(config: Config, files: ModelFiles, network: nn.Module, tokenizer: Tokenizer) -> Any:
    if config.validation is None:
        return None
    held_out = read_pairs(config.validation, image_key=config.image_key, text_key=config.text_key)
    if held_out.refused:  # figures on another set than the one named would mislead
        raise SensoriumError(f"{config.validation}: {held_out.refused[0]}")
    return lambda: retrieval(network, files, tokenizer, held_out.pairs)


def _network(config: Config, files: ModelFiles) -> nn.Module:
    """The network in training mode, with the frozen parts frozen."""
    if config.fresh:
        torch.manual_seed(config.seed)
        family = FAMILIES[files.family]
        network = family.network(family.read_config(files.config))
    else:
        network = build(files)
    network.train()
    if not isinstance(getattr(network, "logit_scale", None), nn.Parameter):
        raise SensoriumError(f"{config.model} has no scale on its logits: it is no network of the CLIP kind")
    if _sigmoid_bias(config, network) is None and "logit_bias" in dict(network.named_parameters()):
        network.get_parameter("logit_bias").requires_grad_(False)  # InfoNCE has no use for it
    parameters, modules = dict(network.named_parameters()), dict(network.named_modules())
    for name in config.freeze:
        if name in parameters:
            parameters[name].requires_grad_(False)
        elif name in modules:
            freeze(modules[name])
        else:
            parts = [part for part, _ in network.named_children()]
            raise SensoriumError(
                f"there is no {name!r} to freeze in {config.model}; parts are {', '.join(parts)}"
            )
    return network


def _sigmoid_bias(config: Config, network: Any) -> nn.Parameter | None:
    """The bias of the sigmoid loss when that is the loss, None when it is InfoNCE."""
    bias: nn.Parameter | None = getattr(network, "logit_bias", None)
    if config.loss == "sigmoid" and bias is None:
        raise SensoriumError(f"{config.model} has no bias on its logits, which loss=sigmoid needs")
    return None if config.loss == "info_nce" else bias


def _settings(config: Config, steps: int) -> Settings:
    return Settings(
        config.out,
        steps,
        accumulate=config.accumulate,
        clip=config.clip,
        seed=config.seed,
        save_every=config.save_every,
        keep=config.keep,
        evaluate_every=config.evaluate_every,
        workers=config.workers,
    )


def _export(network: nn.Module, ema: Ema | None, files: ModelFiles, folder: Path) -> None:
    """Write the model, averaged if an average was kept, in place of what a shorter run wrote."""
    if folder.exists():
        shutil.rmtree(folder)
    network.eval()
    with ema.applied() if ema else nullcontext():
        export(network, files, folder)


def _card(config: Config, files: ModelFiles, pairs: Sequence[Pair]) -> str:
    """The card: what it was made from and how, how long it took, and what it reached."""
    log = read_log(config.out / "log.jsonl")
    seen = [0, *(record["items"] for record in log)]
    last, tail = log[-1], [record["total"] for record in log[-10:]]
    seconds = sum((now["items"] - seen[i]) / now["items_per_second"] for i, now in enumerate(log))
    figures = [f"| {name} | {value:.3f} |" for name, value in last["evaluation"].items()]
    start = "random weights of the shape of" if config.fresh else "the weights of"
    return "\n".join(
        [
            f"# {config.out.name}",
            "",
            f"Trained by Sensorium from {start} `{files.name}` (fingerprint {files.fingerprint}).",
            "",
            f"- Data: `{config.data.name}`, {len(pairs)} pictures with captions."
            f" {config.about or 'Its origin and licence were not stated.'}",
            f"- Command: `{_command(config)}`",
            f"- Steps: {last['step']}, pictures seen: {last['items']}, processes: {world().size}",
            f"- Time: {seconds:.0f} s of training",
            f"- Loss over the last {len(tail)} steps: {sum(tail) / len(tail):.4f}",
            "",
            _what_was_measured(config, pairs),
            *(["", "| figure | value |", "|---|---|", *figures] if figures else []),
            "",
        ]
    )


def _what_was_measured(config: Config, pairs: Sequence[Pair]) -> str:
    """On which pictures the figures are, and how many of those were trained on."""
    if config.validation is None:
        return "Retrieval was not measured: no pairs were given for it."
    trained_on = {pair.image.resolve() for pair in pairs}
    measured = read_pairs(config.validation, image_key=config.image_key, text_key=config.text_key).pairs
    known = sum(pair.image.resolve() in trained_on for pair in measured)
    name = config.validation.name
    return f"Retrieval among the {len(measured)} pictures of `{name}`, {known} of them trained on:"


def _command(config: Config) -> str:
    """The command line that makes this config."""
    words = ["sensorium", "train", "contrastive"]
    for part in fields(config):
        value = getattr(config, part.name)
        default = part.default_factory() if part.default_factory is not MISSING else part.default
        if value != default:
            shown = json.dumps(value) if isinstance(value, dict) else value
            words += ["--set", f"{part.name}={','.join(value) if isinstance(value, tuple) else shown}"]
    return shlex.join(words)


def _count(network: nn.Module) -> str:
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return f"{trained / 1e6:.2f} of {sum(p.numel() for p in network.parameters()) / 1e6:.2f} million weights"
