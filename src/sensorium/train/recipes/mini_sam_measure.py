"""What mini-sam reaches on scenes of cut-outs and photographs that it was not trained on, and its card."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sensorium.models.sam import mirrored
from sensorium.models.sam.agreement import expected_overlaps
from sensorium.models.sam.prompt_encoder import FOREGROUND, PADDING
from sensorium.models.sam.pyramid import Pyramid
from sensorium.models.sam.sam import Sam
from sensorium.models.sam.tidy import tidied
from sensorium.skills.segment.masks import stability_of
from sensorium.train.data.scene_shards import Shard
from sensorium.train.mask_losses import overlaps

_COLUMNS = ("one click", "any thing", "three clicks", "oracle", "single")


@torch.no_grad()
def measure(network: Sam, shard: Shard) -> dict[str, float]:
    """Mean overlaps over all things of all scenes, as applications answer: two looks, no specks.

    ``one click``: of the candidate of which most is expected, after a click deep inside a
    thing; for things that are no part of another and hold none, where one click says what is meant, and for
    ``nested`` ones, where it does not. ``any thing``: the same answer, compared with whichever of the things
    under the click it fits best. ``three clicks``: with two corrections. ``oracle``: of the candidate
    nearest to what was meant. ``single``: of the single mask. ``spearman``: the rank correlation of expected
    and true overlap of all candidates, and among things alone.
    """
    from sensorium.train.recipes.mini_sam import correction

    assert isinstance(network.image_encoder, Pyramid)
    rows: list[dict[str, float]] = []
    guesses: list[float] = []
    truths: list[float] = []
    for place, things in enumerate(shard.things):
        if not things:
            continue
        target = torch.from_numpy(shard.masks_of(place).astype(np.float32))
        embedding = _seen(network, shard, place)
        nothing = torch.full_like(target, -1.0)
        points, labels = correction(nothing, target, draw=False)
        clicks = (
            torch.cat((points, torch.zeros_like(points)), 1),
            torch.cat((torch.full_like(labels, FOREGROUND), torch.full_like(labels, PADDING)), 1),
        )
        logits, _ = mirrored.decode(network, embedding, *clicks)
        raw, logits = logits, _tidied(network, logits, *clicks)
        reached = overlaps(logits, target[:, None].expand_as(logits))
        expected = _expected(logits[:, 1:])
        chosen = expected.argmax(1) + 1
        after = _corrected(network, embedding, clicks, raw, chosen, target)
        holders = {thing["parent"] for thing in things} - {None}
        answers = logits[torch.arange(len(things)), chosen]
        fitting = _fitting(network, answers, target, points[:, 0])
        for i, thing in enumerate(things):
            rows.append(
                {
                    "nested": float(thing["parent"] is not None or i in holders),
                    "one click": float(reached[i, chosen[i]]),
                    "any thing": float(fitting[i]),
                    "oracle": float(reached[i, 1:].max()),
                    "single": float(reached[i, 0]),
                    "three clicks": float(after[i]),
                }
            )
        guesses += expected.flatten().tolist()
        truths += reached[:, 1:].flatten().tolist()
    return _figures(rows, guesses, truths)


def _fitting(network: Sam, answers: Tensor, target: Tensor, points: Tensor) -> Tensor:
    """Overlaps of answers [p, h, w] to clicks [p, 2] with the best of the things [p, h, w] under them."""
    side = target.shape[-1]
    cells = ((points + 0.5) * (side / network.config.vision.image_size)).long().clamp(0, side - 1)
    found = []
    for answer, (across, down) in zip(answers, cells.tolist(), strict=True):
        under = target[target[:, down, across] > 0]
        found.append(overlaps(answer.expand_as(under), under).max())
    return torch.stack(found)


def _expected(logits: Tensor) -> Tensor:
    """The overlaps to be expected of candidates [p, c, h, w], as the product expects them: [p, c]."""
    rows = [expected_overlaps(one > 0, stability_of(one)) for one in logits.float().numpy()]
    return torch.from_numpy(np.array(rows))


def _seen(network: Sam, shard: Shard, place: int) -> Tensor:
    """The embedding of a scene, whether its pixels are kept or what the trunk saw."""
    if not shard.holds_pixels:
        assert isinstance(network.image_encoder, Pyramid)
        return network.image_encoder.joined(*shard.features([place]))
    pixels = torch.from_numpy(shard.pixels([place])).permute(0, 3, 1, 2).float()
    return mirrored.embed(network, (pixels - 127) / 128)


def _corrected(
    network: Sam,
    embedding: Tensor,
    clicks: tuple[Tensor, Tensor],
    logits: Tensor,
    chosen: Tensor,
    target: Tensor,
) -> Tensor:
    """Overlaps after two clicks more, each deep inside the error of the answer before."""
    from sensorium.train.recipes.mini_sam import correction

    points, labels = clicks
    best = logits[torch.arange(len(logits)), chosen]
    for _ in range(2):
        more = correction(_tidied(network, best[:, None], points, labels)[:, 0], target, draw=False)
        points, labels = torch.cat((points, more[0]), 1), torch.cat((labels, more[1]), 1)
        answer, _ = mirrored.decode(network, embedding, points, labels, best[:, None].clamp(-32, 32))
        best = answer[:, 0]
    return overlaps(_tidied(network, best[:, None], points, labels)[:, 0], target)


def _tidied(network: Sam, logits: Tensor, points: Tensor, labels: Tensor) -> Tensor:
    """All answers [p, c, h, w] to clicks [p, n, 2] in pixels of the square, without specks."""
    cells = ((points + 0.5) * (logits.shape[-1] / network.config.vision.image_size)).numpy()
    rows = [
        [tidied(one, cells[i], labels[i].numpy()) for one in logits[i].float().numpy()]
        for i in range(len(logits))
    ]
    return torch.from_numpy(np.array(rows))


def _figures(rows: list[dict[str, float]], guesses: list[float], truths: list[float]) -> dict[str, float]:
    from scipy.stats import spearmanr

    plain = [row for row in rows if not row["nested"]]
    nested = [row for row in rows if row["nested"]]
    groups = {"all": rows, "plain": plain, "nested": nested}
    found = {
        f"{group}: {name}": round(float(np.mean([row[name] for row in members])), 4)
        for group, members in groups.items()
        if members
        for name in _COLUMNS
    }
    found["things"] = len(rows)
    found["spearman"] = round(float(spearmanr(guesses, truths).statistic), 4)
    alone = np.repeat([not row["nested"] for row in rows], len(guesses) // len(rows))
    if alone.any():
        among = np.array(guesses)[alone], np.array(truths)[alone]
        found["plain: spearman"] = round(float(spearmanr(*among).statistic), 4)
    return found


def card(
    settings: dict[str, str], figures: dict[str, float], lit: dict[str, float], minutes: float, scenes: int
) -> str:
    """The model's card; ``lit`` are the figures of the same scenes under uneven light."""
    table = []
    for group, label in (("all", "all things"), ("plain", "things alone"), ("nested", "nested things")):
        for found, light in ((figures, ""), (lit, ", uneven light")):
            if f"{group}: one click" in found:
                cells = [f"{found[f'{group}: {name}']:.3f}" for name in _COLUMNS]
                table.append(f"| {label}{light} | " + " | ".join(cells) + " |")
    told = ", ".join(f"{name} {value}" for name, value in settings.items())
    return f"""# sensorium/mini-sam

A small Segment Anything of our own: point at a thing, and it is cut. EfficientNet-Lite2 (Apache-2.0, trained
on ImageNet, trained on here last) sees the picture; a feature pyramid, a prompt encoder and a mask decoder,
trained here, answer clicks. The decoder has the published form and two parts more: details of the picture
where masks are drawn, as in SAM 2, and for each click a look at what lies under it. An answer that
refines another has two looks: the second, at the mirror image, corrects the first. Islands and holes below
3 % of a mask go, unless clicked on. What overlap is expected of a candidate is its stability times its mean
overlap with all three.

**Made by** `sensorium train mini-sam` from packages alone, in {minutes:.0f} minutes of training on two cores,
on scenes of known content: cut-outs (Tux Paint's stamps, Noto's emoji, Open Clip Art) and shapes over
photographs; the sources and their licences are those of `sensorium/mini-clip`.

**Measured** on {scenes} scenes of cut-outs and photographs that were held back, mean intersection over union.
Of nested things (a wheel, the car) one click alone cannot say which is meant; things alone are no part of
another and hold none. "Any thing under it" compares the answer to one click with the wheel and with the car,
and takes what it fits better:

| | one click | any thing under it | three clicks | best of three candidates | single mask |
| --- | --- | --- | --- | --- | --- |
{chr(10).join(table)}

{figures["things"]:.0f} things. Rank correlation of expected and true overlap: {figures["spearman"]:.2f};
among things alone, where what is meant is known, {figures.get("plain: spearman", float("nan")):.2f}.

**What it cannot do.** It has seen composites, not photographs cut by hand: on real photographs expect good
answers for things that stand out and ragged ones for hair, glass and crowds. A published SAM knows far more.

Settings: {told}.
"""
