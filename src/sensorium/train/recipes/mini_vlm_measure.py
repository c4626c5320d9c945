"""What mini-vlm answers about pictures that it was not trained on, and its card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from sensorium.media.vocabulary import Vocabulary
from sensorium.models.mini_vlm import MiniVlm
from sensorium.train.data.question_shards import AskedShard
from sensorium.train.data.questions import LANGUAGES, TOPICS, Asked, is_chinese, verdict_of

_MOST = 48  # tokens of an answer
_TOGETHER = 8  # pictures whose questions are answered at once
_LABELS = {
    "what": "what is it, what is on the left",
    "count": "how many (0 to 5)",
    "colour": "which colour (11)",
    "side": "is A left of, above B",
    "beside": "on which side of B is A",
    "read": "what is written",
    "exists": "is there",
    "point": "where (box overlaps by half)",
    "describe": "describe the scene (words that agree)",
    "photo": "caption of a photograph (words that agree)",
    "cannot": "questions it cannot answer, told so",
}


def measure(
    network: MiniVlm, shard: AskedShard, vocabulary: Vocabulary, *, seeing: bool = True, held: bool = False
) -> dict[str, float]:
    """Accuracy by topic and language: ``"count, en"`` and so on; ``"count: questions"`` says of how many.

    Exact answers count, except for boxes (an overlap of at least a half) and descriptions (the F1 of words,
    in Chinese of characters). Without ``seeing`` the network is asked without any picture; ``held`` asks in
    the words that are kept for measuring.
    """
    scores: dict[tuple[str, str], list[float]] = {}
    for one, answer in answers(network, shard, vocabulary, seeing=seeing, held=held):
        scores.setdefault((one.topic, one.language), []).append(score(one, answer))
    found: dict[str, float] = {}
    for topic in TOPICS:
        parts = {language: scores.get((topic, language), []) for language in LANGUAGES}
        found |= {
            f"{topic}, {language}": round(float(np.mean(rows)), 4) for language, rows in parts.items() if rows
        }
        found[f"{topic}: questions"] = sum(map(len, parts.values()))
    return found


def answers(
    network: MiniVlm, shard: AskedShard, vocabulary: Vocabulary, *, seeing: bool = True, held: bool = False
) -> Iterator[tuple[Asked, str]]:
    """Every question about the pictures with the likeliest answer; otherwise as ``measure``."""
    for first in range(0, shard.shape.count, _TOGETHER):
        places = range(first, min(first + _TOGETHER, shard.shape.count))
        asked = [(place - first, one) for place in places for one in shard.asked(place, held=held)]
        if asked:
            features = shard.features(list(places)) if seeing else None
            found = answered(network, features, asked, vocabulary)
            yield from zip((one for _, one in asked), found, strict=True)


@torch.no_grad()
def answered(
    network: MiniVlm,
    features: Sequence[Tensor] | None,
    asked: Sequence[tuple[int, Asked]],
    vocabulary: Vocabulary,
) -> list[str]:
    """The likeliest answers to questions about some pictures, each with the number of its picture."""
    pad, user, assistant, end = (
        vocabulary.token_id(token) for token in ("<|pad|>", "<|user|>", "<|assistant|>", "<|end|>")
    )
    decoder = network.decoder
    count = 1 + max(number for number, _ in asked)
    start = decoder.embed(torch.full((count, 1), user))
    seen = [start] if features is None else [start, network.connected(*features)[:count]]
    _, cache = decoder(torch.cat(seen, dim=1), last=1)
    cache = cache.select(torch.tensor([number for number, _ in asked]))
    rows = [[*vocabulary.encode(one.question), assistant] for _, one in asked]
    longest = max(map(len, rows))
    ids = torch.tensor([[pad] * (longest - len(row)) + row for row in rows])
    hidden, cache = decoder(decoder.embed(ids), mask=ids != pad, cache=cache, last=1)
    written: list[list[int]] = [[] for _ in asked]
    going = torch.ones(len(asked), dtype=torch.bool)
    for _ in range(_MOST):
        tokens = decoder.logits(hidden[:, -1]).argmax(-1)
        going &= tokens != end
        if not going.any():
            break
        for row in going.nonzero()[:, 0].tolist():
            written[row].append(int(tokens[row]))
        hidden, cache = decoder(decoder.embed(tokens[:, None]), cache=cache, last=1)
    return [vocabulary.decode(row).strip() for row in written]


def score(asked: Asked, answer: str) -> float:
    """How right an answer is, 0 to 1."""
    if asked.topic == "point":
        return float(_overlap(_box(asked.answer), _box(answer)) >= 0.5)
    if asked.topic in ("describe", "photo"):
        return _agreement(asked.answer, answer)
    if asked.topic in ("side", "beside", "count", "exists"):
        return float(verdict_of(answer) == verdict_of(asked.answer))
    return float(answer == asked.answer)


def _box(text: str) -> list[float]:
    try:
        values = [float(part) for part in text.partition("[")[2].strip("]").split(",")]
    except ValueError:
        return []
    return values if len(values) == 4 else []


def _overlap(first: list[float], second: list[float]) -> float:
    if not first or not second:
        return 0.0
    across = min(first[2], second[2]) - max(first[0], second[0])
    down = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(0.0, across) * max(0.0, down)
    areas = [max(0.0, b[2] - b[0]) * max(0.0, b[3] - b[1]) for b in (first, second)]
    return shared / max(1e-9, sum(areas) - shared)


def _agreement(wanted: str, answer: str) -> float:
    first, second = Counter(_words(wanted)), Counter(_words(answer))
    shared = sum((first & second).values())
    return 2 * shared / max(1, sum(first.values()) + sum(second.values()))


def _words(text: str) -> Iterator[str]:
    """Words without articles, or, of a Chinese text, characters."""
    if is_chinese(text):
        yield from (character for character in text if character.isalnum())
        return
    for word in text.lower().replace(",", " ").split():
        if word not in ("a", "an", "the", "and", "some", "of", "in", "on", "with", "that", "says"):
            yield word


def card(
    settings: dict[str, str],
    figures: dict[str, float],
    others: dict[str, float],
    control: dict[str, float],
    pictures: int,
) -> str:
    """The model's card."""
    rows = []
    for topic in TOPICS:
        cells = [
            f"{found.get(f'{topic}, {language}', float('nan')):.2f}"
            for found in (figures, others, control)
            for language in LANGUAGES
        ]
        questions = figures.get(f"{topic}: questions", 0)
        rows.append(f"| {_LABELS[topic]} | " + " | ".join(cells) + f" | {questions:.0f} |")
    told = ", ".join(f"{name} {value}" for name, value in settings.items())
    return f"""---
language: [en, zh]
---
# sensorium/mini-vlm

A small language model with eyes of our own: it answers questions about a picture, in English and
Chinese. EfficientNet-Lite2 (Apache-2.0, trained on ImageNet, not changed here) sees a square of 224
pixels, a perceptron makes 196 tokens of it, and a decoder trained here from nothing answers.

**Made by** `sensorium train mini-vlm` from packages alone: the decoder learns the language of questions
and answers without pictures, then the connector learns to speak to it in its own words, then both learn
together.
The pictures are drawn: cut-outs (Tux Paint's stamps, Noto's emoji, Open Clip Art), shapes and signs over
photographs, and captioned photographs; the sources and their licences are those of `sensorium/mini-clip`.

**Measured** on {pictures} pictures of cut-outs and photographs that were held back, greedily: the share
of right answers where nothing else is said: the same words or, behind names that an answer repeats, the
same number, side or verdict. "Other words" asks in phrases that were never trained on.
"Words alone" is the control: the same decoder, trained on the same questions without any picture.

| question | en | zh | other words: en | zh | words alone: en | zh | questions |
| --- | --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

**What it can do.** What one thing is, of 72 kinds, 8 shapes and signs; how many up to five; colours of
shapes and signs; where things are; a short word of Latin capitals or digits on a sign.

**What it cannot do.** It was trained on drawn scenes: on photographs it recognises little, and captions
of them are mostly wrong. It reads no sentences and no Chinese characters in pictures, knows no facts, no
people, no places and sees one picture at a time. Questions far from those it knows it is trained to
refuse; it may also answer them wrongly. A published model (LLaVA, Qwen2.5-VL) knows far more:
`sensorium models pull`.

Settings: {told}.
"""
