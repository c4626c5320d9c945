"""``sensorium train mask-engine``: the data engine of "Segment Anything" (arXiv 2304.02643, section 4).

A model that cuts a little proposes masks, an oracle corrects them, the model learns from what was gathered
and proposes better ones. Rounds of four kinds, in any order:

- ``given``: masks that are known beforehand (public data sets in the paper);
- ``assisted``: the oracle points at every thing, and clicks until the model's answer is right;
- ``semi-automatic``: what the model is sure of is kept unseen, the oracle points at what is missing;
- ``automatic``: a grid of clicks, of which the confident, stable masks stay, each thing once.

The oracle is what is known of made scenes; with ``pictures`` a person, who looks through a COCO file between
two runs of the command. After each round the model is trained on all masks gathered so far, never on the
truth, and measured on scenes of cut-outs and photographs that no round sees.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from sensorium.errors import SensoriumError
from sensorium.models.sam.config import PyramidConfig, SamConfig
from sensorium.models.sam.pyramid import Pyramid
from sensorium.models.sam.sam import Sam
from sensorium.train.data import corrections, gathered
from sensorium.train.data.gathered import Gathered, Yield
from sensorium.train.data.scene_shards import Shape, Shard, make_shard
from sensorium.train.data.scenes import world
from sensorium.train.data.sources import SOURCES, fetch
from sensorium.train.interruption import stop_requests
from sensorium.train.loop import InterruptedRunError, Note, Settings, StepRecord, train
from sensorium.train.optim import adamw, warmup_cosine
from sensorium.train.order import Shuffled
from sensorium.train.recipes import mask_engine_gather as gather
from sensorium.train.recipes import mini_sam
from sensorium.train.recipes.mask_engine_gather import Rules
from sensorium.train.recipes.mini_sam_measure import measure
from sensorium.train.trunk import looking
from sensorium.train.world import world as processes
from sensorium.weights.maps import sam as layout
from sensorium.weights.preprocess import image_fields
from sensorium.weights.rules import original

Stage = Literal["given", "assisted", "semi-automatic", "automatic"]
STAGES = ("given", "assisted", "semi-automatic", "automatic")
_HELD, _FIRST, _APART = (
    20_000_000,
    30_000_000,
    1_000_000,
)  # seeds: of held-out scenes; of rounds; between them
_SPREAD = 0.2  # share of the loss that all candidates have while answers are poor
_SHOWN = ("all: one click", "all: three clicks", "all: oracle", "spearman")


@dataclass(frozen=True)
class Config:
    """The settings."""

    out: Path = Path("runs/mask-engine")
    sources: Path = Path("runs/mini-clip-sources")  # where packages are unpacked, or lie already
    start: str = "none"  # a mini-sam by name or folder, or none: only its trunk has learned something
    pictures: Path | None = None  # a folder of pictures in place of made scenes; a person is the oracle then
    rounds: tuple[Stage, ...] = ("given", "assisted", "assisted", "semi-automatic", "automatic")
    scenes: int = 120  # or pictures, of each round
    held_scenes: int = 60  # that are measured on
    side: int = 192  # of the square pictures
    given_steps: int = 500  # of training after a round of given masks, of first answers alone
    given_lr: float = 1e-3
    steps: int = 120  # of training after any other round
    batch: int = 8
    prompts: int = 4  # masks asked for in each scene
    answers: int = 3  # to each prompt, each with one more click
    lr: float = 4e-4
    decay: float = 0.05
    boxes: float = 0.25  # how often the first prompt is a box
    enough: float = 0.9  # overlap at which the oracle stops clicking
    acceptable: float = 0.75  # overlap that a mask needs to be kept at all
    most_clicks: int = 8
    grid: int = 8  # clicks a row and a column where nobody points
    quality: float = 0.85  # predicted overlap that a mask needs to be kept unseen
    stability: float = 0.9
    seed: int = 0
    save_every: int = 100

    def __post_init__(self) -> None:
        """Refuse what cannot be carried out. Raises SensoriumError."""
        if self.side < 64 or self.side % 32:
            raise SensoriumError(f"side={self.side}: a side is a multiple of 32, at least 64")
        if not self.rounds:
            raise SensoriumError("rounds: name at least one")
        if self.pictures and "given" in self.rounds:
            raise SensoriumError("rounds: nothing is given with pictures of one's own; leave 'given' out")

    @property
    def rules(self) -> Rules:
        """When a mask is good enough."""
        return Rules(self.enough, self.acceptable, self.most_clicks, self.grid, self.quality, self.stability)


@dataclass(frozen=True)
class _Round:
    number: int
    stage: Stage
    folder: Path

    @property
    def report(self) -> Path:
        return self.folder / "report.json"


def run(config: Config, *, resume: bool = False) -> Iterator[StepRecord | Note]:
    """Go through the rounds; yields notes and records, writes ``model`` and ``report.json`` into ``out``.

    What a round has done is kept, so that a resumed run goes on where it was; with a person as the oracle it
    ends after the proposals, and goes on when it is resumed with the corrections.
    """
    if processes().size > 1:
        raise SensoriumError("mask-engine runs in one process: start it without torchrun")
    if not resume and (config.out / "start.json").exists():
        raise SensoriumError(f"{config.out} holds a run: go on with --resume, or name another folder")
    began = time.monotonic()
    config.sources.mkdir(parents=True, exist_ok=True)
    for source in SOURCES:
        fetch(source, config.sources)
    torch.manual_seed(config.seed)
    network, start = _begun(config)
    held = config.out / "scenes" / "held"
    assert isinstance(network.image_encoder, Pyramid)
    look = looking(network.image_encoder.trunk, config.side)
    shape = Shape(config.held_scenes, config.side, _HELD)
    for done in make_shard(held, world(config.sources, held=True), shape, look):
        yield Note(f"held: drew and looked at {done} of {shape.count} scenes")
    engine = _Engine(config, network, Shard(held, shape, channels(network)), look)
    before = engine.started()
    yield Note(f"at the start: {_told(before)}")
    for number, stage in enumerate(config.rounds, 1):
        current = _Round(number, stage, config.out / f"round-{number:02d}-{stage}")
        if not current.report.is_file():
            yield from engine.gather(current)
            if not engine.has_gathered(current):
                return  # a person's turn
            yield from engine.learn(current)
            engine.conclude(current, before)
        report = json.loads(current.report.read_text("utf-8"))
        engine.take_up(current)
        yield Note(f"round {number}, {stage}: {_told(report['after'])}, {_told_gain(report['gain'])}")
        before = report["after"]
    minutes = (time.monotonic() - began) / 60
    engine.finish(start)
    yield Note(f"the model and report.json are in {config.out}, after {minutes:.0f} minutes")


def channels(network: Sam) -> tuple[int, int, int, int]:
    """Channels of the trunk's maps at 1/4, 1/8, 1/16 and 1/32."""
    assert isinstance(network.config.vision, PyramidConfig)
    widths = [stage.width for stage in network.config.vision.trunk.stages]
    return widths[1], widths[2], widths[4], widths[6]


def _begun(config: Config) -> tuple[Sam, SamConfig]:
    """The network to start with, for squares of ``side`` pixels, and the config that its model has.

    It depends on relative positions alone, so that its weights do for any side.
    """
    if config.start == "none":
        network = mini_sam.untrained(config.sources)
    else:
        from sensorium.weights.files import find
        from sensorium.weights.load import build

        found = build(find(config.start))
        if not isinstance(found, Sam) or not isinstance(found.image_encoder, Pyramid):
            raise SensoriumError(f"{config.start} is no mini-sam: the engine trains models of its form only")
        network = found
    assert isinstance(network.config.vision, PyramidConfig)
    vision = replace(network.config.vision, image_size=config.side)
    placed = Sam(replace(network.config, vision=vision))
    placed.load_state_dict(network.state_dict())
    assert isinstance(placed.image_encoder, Pyramid)
    placed.image_encoder.trunk.requires_grad_(False)
    return placed, network.config


class _Engine:
    """The state of a run: the network, and all that was gathered."""

    def __init__(self, config: Config, network: Sam, held: Shard, look: Any) -> None:
        self.config, self.network, self.held, self.look = config, network, held, look
        self.shards: list[tuple[Shard, list[Yield]]] = []
        self.reports: list[dict[str, Any]] = []

    def started(self) -> dict[str, float]:
        """What the network reaches before the first round; measured once."""
        path = self.config.out / "start.json"
        if not path.is_file():
            _write(path, measure(self.network.eval(), self.held))
        known: dict[str, float] = json.loads(path.read_text("utf-8"))
        return known

    def has_gathered(self, current: _Round) -> bool:
        """Whether all pictures of a round are done."""
        return (current.folder / "gathered.json").is_file()

    def gather(self, current: _Round) -> Iterator[Note]:
        """Fill a round's ``gathered.jsonl``, from where it ends; none of it with corrections outstanding."""
        current.folder.mkdir(parents=True, exist_ok=True)
        yield from self._look(current)
        if self.has_gathered(current):
            return
        if self.config.pictures and current.stage != "automatic":
            yield from self._ask_a_person(current)
            return
        shard, path = self._shard(current), current.folder / "gathered.jsonl"
        done = len(gathered.read(path))
        self.network.eval()
        with stop_requests() as stop:
            for place in range(done, shard.shape.count):
                gathered.write(path, [self._from(current.stage, shard, place)])
                if place % 50 == 49:
                    yield Note(f"round {current.number}: gathered from {place + 1} of {shard.shape.count}")
                if stop.is_set():
                    raise InterruptedRunError(
                        f"stopped at picture {place + 1} of {shard.shape.count} in round {current.number},"
                        f" all saved in {current.folder}; the same command with --resume goes on from there"
                    )
        self._gathered(current, {})

    def _from(self, stage: Stage, shard: Shard, place: int) -> Yield:
        if stage == "given":
            return gather.given(shard, place)
        ways = {
            "assisted": gather.assisted,
            "semi-automatic": gather.semi_automatic,
            "automatic": gather.automatic,
        }
        return ways[stage](self.network, shard, place, self.config.rules)

    def _look(self, current: _Round) -> Iterator[Note]:
        folder, config = current.folder / "scenes", self.config
        if config.pictures is None:
            shape = Shape(config.scenes, config.side, _FIRST + current.number * _APART)
            made = make_shard(folder, world(config.sources), shape, self.look)
        else:
            names = corrections.names_of(config.pictures)
            own = names[(current.number - 1) * config.scenes : current.number * config.scenes]
            if not own:
                raise SensoriumError(
                    f"round {current.number} has no pictures left: {config.pictures} holds {len(names)};"
                    " add some, or set scenes lower"
                )
            made = corrections.make_picture_shard(folder, config.pictures, own, config.side, self.look)
        for done in made:
            if done % 50 == 0:
                yield Note(f"round {current.number}: looked at {done} pictures")

    def _shard(self, current: _Round) -> Shard:
        folder = current.folder / "scenes"
        count = len(json.loads((folder / "things.json").read_text("utf-8")))
        return Shard(folder, Shape(count, self.config.side, 0), channels(self.network))

    def _ask_a_person(self, current: _Round) -> Iterator[Note]:
        """Write what the model proposes, or read what was made of it."""
        proposed, corrected = current.folder / "proposals.json", current.folder / "corrections.json"
        known = corrections.pictures_of(current.folder / "scenes")
        if not proposed.is_file():
            shard, rules = self._shard(current), self.config.rules
            if current.stage == "assisted":  # better one to be removed than one to be drawn
                rules = replace(rules, quality=0.6 * rules.quality, stability=0.8 * rules.stability)
            self.network.eval()
            found = [gather.proposals(self.network, shard, place, rules) for place in range(len(known))]
            corrections.write_proposals(proposed, known, found, self.config.side)
            yield Note(
                f"round {current.number}: {sum(map(len, found))} masks proposed in {len(known)} pictures"
            )
        if not corrected.is_file():
            yield Note(
                f"round {current.number} waits for you: save what is right of {proposed} as {corrected.name}"
                " beside it, then run the same command with --resume"
            )
            return
        kept, told = corrections.read_corrections(corrected, proposed, known, self.config.side)
        path = current.folder / "gathered.jsonl"
        path.unlink(missing_ok=True)
        gathered.write(path, kept)
        self._gathered(current, dict(told))

    def _gathered(self, current: _Round, told: dict[str, float]) -> None:
        kept = gathered.read(current.folder / "gathered.jsonl")
        _write(current.folder / "gathered.json", {**gathered.figures(kept), **told})
        names, sizes = self._pictures(current)
        _write(current.folder / "masks.json", gathered.coco(kept, names, sizes))

    def _pictures(self, current: _Round) -> tuple[list[str], list[tuple[int, int]]]:
        """Names of a round's pictures and the sizes of their masks."""
        shard, half = self._shard(current), self.config.side // 2
        names = [f"scene {i}" for i in range(shard.shape.count)]
        if self.config.pictures is not None:
            names = [one.name for one in corrections.pictures_of(current.folder / "scenes")]
        return names, [(half, half)] * len(names)

    def learn(self, current: _Round) -> Iterator[StepRecord | Note]:
        """Train on all masks gathered so far."""
        config = self.config
        own = (self._shard(current), gathered.read(current.folder / "gathered.jsonl"))
        drawn = Gathered([*self.shards, own])
        if not drawn.shape.count:
            raise SensoriumError(
                f"round {current.number} gathered no mask to learn from: the model is too weak for its"
                " limits; begin with 'given' or 'assisted', or set quality, stability or acceptable lower"
            )
        given = current.stage == "given"
        steps, lr = (config.given_steps, config.given_lr) if given else (config.steps, config.lr)
        parts = mini_sam.Config(
            batch=config.batch,
            prompts=config.prompts,
            rounds=1 if given else config.answers,
            spread=_SPREAD if given else mini_sam.Config.spread,
            boxes=config.boxes,
            seed=config.seed + current.number,
        )
        yield Note(f"round {current.number}: {steps} steps on masks of {drawn.shape.count} pictures")
        torch.set_flush_denormal(True)
        yield from train(
            self.network.train(),
            mini_sam.task(self.network, parts, config.side),
            mini_sam.Loader(drawn, parts),
            Shuffled(drawn.shape.count, config.batch, parts.seed),
            adamw(self.network, lr, decay=config.decay),
            warmup_cosine(steps, max(1, steps // 10)),
            Settings(
                folder=current.folder / "train",
                steps=steps,
                seed=parts.seed,
                save_every=config.save_every,
                keep=1,
            ),
            resume=True,
        )
        _save(self.network, current.folder / "model.safetensors")

    def conclude(self, current: _Round, before: dict[str, float]) -> None:
        """Measure, and write what the round was good for."""
        after = measure(self.network.eval(), self.held)
        report = {
            "round": current.number,
            "stage": current.stage,
            "gathered": json.loads((current.folder / "gathered.json").read_text("utf-8")),
            "before": before,
            "after": after,
            "gain": {name: round(after[name] - before[name], 4) for name in _SHOWN},
        }
        _write(current.report, report)

    def take_up(self, current: _Round) -> None:
        """Go on from the end of a round."""
        from safetensors.torch import load_file

        self.network.load_state_dict(load_file(current.folder / "model.safetensors"))
        kept = gathered.read(current.folder / "gathered.jsonl")
        self.shards.append((self._shard(current), kept))
        self.reports.append(json.loads(current.report.read_text("utf-8")))

    def finish(self, start: SamConfig) -> None:
        """Write the report of all rounds, and the model as a folder that everything else can open."""
        _write(self.config.out / "report.json", self.reports)
        folder = self.config.out / "model"
        folder.mkdir(exist_ok=True)
        state = original(self.network.state_dict(), layout.ORIGINAL_RULES)
        _save_state({key: value.half() for key, value in state.items()}, folder / "model.safetensors")
        _write(folder / "config.json", layout.write_original_config(start))
        side = start.vision.image_size
        spec = replace(mini_sam.SPEC, height=side, width=side, resize=side)
        _write(folder / "preprocessor_config.json", image_fields(spec, "SamImageProcessor"))
        (folder / "README.md").write_text(card(self.config, self.reports), "utf-8")


def card(config: Config, reports: list[dict[str, Any]]) -> str:
    """The card of the model: what each round gathered and what it was good for."""
    rows = []
    for report in reports:
        got, after, gain = report["gathered"], report["after"], report["gain"]
        cells = [
            str(report["round"]),
            report["stage"],
            f"{got['masks']:.0f}",
            f"{got.get('clicks a mask', 0):.2f}",
        ]
        cells += [f"{after[name]:.3f} ({gain[name]:+.3f})" for name in _SHOWN]
        rows.append("| " + " | ".join(cells) + " |")
    start = "an untrained decoder" if config.start == "none" else config.start
    world = "pictures that a person corrected" if config.pictures else "made scenes"
    return f"""# A model of the data engine

Made by `sensorium train mask-engine` from {start}, on {world} of {config.side} pixels, by the
rounds of section 4 of "Segment Anything" (arXiv 2304.02643). After each round it was trained on all masks
gathered so far and measured on held-out scenes: mean overlap, and the gain of the round.

| round | kind | masks | clicks a mask | one click | three clicks | best of three | rank correlation |
| --- | --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}
"""


def _told(figures: dict[str, float]) -> str:
    return ", ".join(f"{name.removeprefix('all: ')} {figures[name]:.3f}" for name in _SHOWN)


def _told_gain(gain: dict[str, float]) -> str:
    return f"gain of one click {gain[_SHOWN[0]]:+.3f}, of three {gain[_SHOWN[1]]:+.3f}"


def _write(path: Path, content: Any) -> None:
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    fresh.replace(path)


def _save(network: Sam, path: Path) -> None:
    _save_state(network.state_dict(), path)


def _save_state(state: dict[str, torch.Tensor], path: Path) -> None:
    from safetensors.torch import save_file

    fresh = path.with_name(path.name + ".new")
    save_file({key: value.contiguous() for key, value in state.items()}, fresh)
    fresh.replace(path)
