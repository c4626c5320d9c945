"""A few steps of mini-clip's training on made-up examples, through the project's loop."""

import re
from pathlib import Path

import numpy as np
import torch

from sensorium.models.bert import BertConfig
from sensorium.models.efficientnet import EfficientNetConfig, Stage
from sensorium.models.mini_clip import MiniClip, MiniClipConfig
from sensorium.train.data.captions import Captioned, data_lines
from sensorium.train.data.views import Features
from sensorium.train.loop import Settings, train
from sensorium.train.optim import adamw, warmup_cosine
from sensorium.train.recipes.mini_clip import (
    Config,
    Examples,
    Teaching,
    Trained,
    Weighted,
    chosen,
    concept_projection,
    task,
)
from sensorium.train.recipes.mini_clip_development import held_out, ranked

SMALL = MiniClipConfig(
    vision=EfficientNetConfig(8, (Stage(3, 2, 1, 8, 1),), 16, 12),
    text=BertConfig(20, 8, 2, 24, 1, 2, 32, "gelu", 1e-12),
    window=2,
    groups=3,
    sharpness=10.0,
    concept_dim=6,
    joint_dim=16,
    hidden=32,
    joint_weight=1.0,
    colours=4,
    colour_cells=12,
)


def run(folder, steps):
    torch.manual_seed(0)
    count, pictures = 60, 15
    kinds = torch.randn(pictures, SMALL.features)
    owner = np.arange(count) % pictures
    data = Examples(
        features=kinds[owner] + 0.1 * torch.randn(count, SMALL.features),
        probabilities=torch.randn(count, 12).softmax(1),
        owner=owner,
        texts=torch.nn.functional.normalize(torch.randn(pictures, 24), dim=1),
        captions=[[row] for row in range(pictures)],
        share=np.full(count, 1 / count),
    )
    network = Trained(MiniClip(SMALL), data)
    network.train()
    names = Teaching(torch.randn(2, 12, 24), torch.randn(2, 3, 24), torch.rand(3, 12))
    config = Config(steps=steps, batch=16)
    losses = [
        record.losses["contrast"]
        for record in train(
            network,
            task(network, config, data, names),
            lambda places: chosen(data, 0, places),
            Weighted(data.share, 16, 0),
            adamw(network, 3e-3),
            warmup_cosine(steps, 5),
            Settings(folder=folder, steps=steps),
        )
    ]
    return losses, network.state_dict()


def test_training_learns_and_repeats_itself_bit_for_bit(tmp_path):
    losses, state = run(tmp_path / "a", 60)
    again, same = run(tmp_path / "b", 60)
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:5])
    assert losses == again
    assert all(torch.equal(state[name], same[name]) for name in state)


def test_concept_projection_is_orthonormal_and_of_fixed_sign():
    torch.manual_seed(0)
    network = MiniClip(SMALL)
    features = Features(np.arange(40), torch.rand(40, 16), torch.rand(40, 34), torch.randn(40, 12).softmax(1))
    projection = concept_projection(network, features)
    assert projection.shape == (15, 6)
    torch.testing.assert_close(projection.T @ projection, torch.eye(6), atol=1e-5, rtol=0)
    assert (projection.gather(0, projection.abs().argmax(0, keepdim=True)) > 0).all()


def test_figures_of_a_ranking():
    scores = np.array([[0.9, 0.8, 0.1, 0.0], [0.1, 0.2, 0.3, 0.4]], np.float32)
    right = np.array([[True, False, True, False], [True, False, False, False]])
    found = ranked(scores, right)
    assert found["hit@1"] == 0.5
    assert found["hit@5"] == 1.0
    assert found["mAP"] == np.mean([(1 + 2 / 3) / 2, 1 / 4])


def test_photos_are_held_out_in_blocks():
    pictures = [Captioned(Path("x"), "stamp", ("a",))] * 5 + [Captioned(Path("x"), "photo", ("a", "一"))] * 35
    assert held_out(pictures, 0).tolist() == []
    assert held_out(pictures, 3).tolist() == [*range(5, 15), *range(35, 40)]


def test_development_queries_are_answered_by_captions():
    captions = [line.split("|")[1] for line in data_lines("photo_captions.txt")]
    for line in data_lines("development_queries.txt"):
        _, _, pattern = line.split("|", 2)
        assert any(re.search(pattern, caption, re.IGNORECASE) for caption in captions), line
