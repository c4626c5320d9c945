"""How well mini-clip finds captioned photos that it was not trained on: figures to tune by, no others.

The queries were written by those who wrote the captions, and decide relevance by patterns over captions. What
is said to the outside is measured on other photos, by queries that nobody tuned on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sensorium.train.data.captions import Captioned, data_lines
from sensorium.train.data.mini_clip_parts import Built

_BLOCK = 10  # neighbours in the list are often of one series, so they are held out together


def held_out(pictures: Sequence[Captioned], every: int) -> NDArray[np.int64]:
    """The photos that training must not see: every ``every``-th block of them; none for 0."""
    photos = np.array([i for i, picture in enumerate(pictures) if picture.kind == "photo"])
    return photos[(np.arange(len(photos)) // _BLOCK) % every == 0] if every else photos[:0]


def figures(
    built: Built, pictures: Sequence[Captioned], features: Tensor, probabilities: Tensor
) -> dict[str, float]:
    """Hit@1, hit@5, hit@10 and mean average precision among some photos, in both languages.

    ``features`` ``[n, features]`` and ``probabilities`` ``[n, classes]`` describe the ``n`` pictures. Queries
    that none of them answers are left out. "concepts" is the untrained half alone.
    """
    rows = [line.split("|", 2) for line in data_lines("development_queries.txt")]
    right = np.array([[bool(re.search(row[2], p.texts[0], re.IGNORECASE)) for p in pictures] for row in rows])
    asked = right.any(axis=1)
    network = built.network
    found: dict[str, float] = {}
    with torch.no_grad():
        image = F.normalize(network.concepts(probabilities) @ network.projection, dim=1)
        joint_image = network.joint.image(features, probabilities)
        for language, column in (("en", 0), ("zh", 1)):
            queries = built.embed([row[column] for row in rows])
            text = F.normalize(network.relevance(queries) @ network.projection, dim=1)
            concepts = text @ image.T
            joint = network.joint.sentence(queries) @ joint_image.T
            both = concepts + network.config.joint_weight**2 * joint
            for name, scores in (("concepts", concepts), ("both", both)):
                values = ranked(scores.numpy()[asked], right[asked])
                found |= {f"{language} {name} {figure}": value for figure, value in values.items()}
    return found


def ranked(scores: NDArray[np.float32], right: NDArray[np.bool_]) -> dict[str, float]:
    """Scores and relevance ``[queries, photos]`` to figures; every query has something relevant."""
    order = np.argsort(-scores, axis=1, kind="stable")
    sorted_right = np.take_along_axis(right, order, axis=1)
    precision = sorted_right.cumsum(axis=1) / np.arange(1, scores.shape[1] + 1)
    average = (precision * sorted_right).sum(axis=1) / sorted_right.sum(axis=1)
    hits = {f"hit@{k}": float(sorted_right[:, :k].any(axis=1).mean()) for k in (1, 5, 10)}
    return {**hits, "mAP": float(average.mean())}
