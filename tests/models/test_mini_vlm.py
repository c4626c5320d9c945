"""mini-vlm: what its tokens know of the picture, and that it reads as it was trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sensorium.errors import CheckpointError
from sensorium.models.efficientnet import EfficientNetConfig, Stage
from sensorium.models.mini_vlm import MiniVlm
from sensorium.sampling.generate import advance, read
from sensorium.train.recipes.mini_vlm import ASSISTANT, IMAGE, SPECIAL, Config, architecture, task
from sensorium.weights.load import FAMILIES, empty, fill
from sensorium.weights.maps import mini_vlm as layout
from sensorium.weights.rules import original

TRUNK = EfficientNetConfig(8, tuple(Stage(3, s, 1, 8, 1) for s in (1, 2, 2, 2, 1, 2, 1)), 16, 4)


@pytest.fixture
def network() -> MiniVlm:
    torch.manual_seed(0)
    small = Config(width=32, depth=2, heads=2, mlp_width=48)
    return MiniVlm(replace(architecture(small, 60), side=64, trunk=TRUNK)).eval()


def test_tokens_lie_where_the_picture_is(network: MiniVlm) -> None:
    """A change in one corner of the picture changes the tokens there most."""
    pixels = torch.zeros(1, 3, 64, 64)
    changed = pixels.clone()
    changed[:, :, :8, 56:] = 1.0
    with torch.no_grad():
        moved = (network.see(changed) - network.see(pixels)).norm(dim=-1)[0]
    assert network.config.tokens == 16
    assert moved.shape == (16,)
    assert int(moved.argmax()) == 3  # first row, last column


def test_training_and_answering_see_the_same(network: MiniVlm) -> None:
    """The loss of the recipe is what `read` and `advance` give token by token behind the picture's tokens."""
    user, assistant, image = (SPECIAL.index(token) for token in (SPECIAL[1], ASSISTANT, IMAGE))
    pixels = torch.randn(1, 3, 64, 64)
    question, answer = [10, 11, 12], [20, 21]
    with torch.no_grad():
        maps = network.vision.levels(pixels)[1:]
        batch = {
            "maps": maps,
            "ids": torch.tensor([[*question, assistant, *answer]]),
            "real": torch.ones(1, 6, dtype=torch.bool),
            "answers": torch.tensor([[False] * 4 + [True] * 2]),
            "owner": torch.tensor([0]),
        }
        batch |= {"lies": torch.zeros(1, 16, dtype=torch.long), "names": torch.zeros(1, 60)}
        losses, count = task(network, seeing=True)(batch)
        ids = torch.tensor([[user, *[image] * network.config.tokens, *question, assistant]])
        reading = read(network.decoder, network.prompt(ids, [network.see(pixels)[0]]))
        expected = torch.zeros(())
        for token in answer:
            expected = expected - reading.logits.log_softmax(-1)[0, token]
            reading = advance(network.decoder, reading, [token])
    assert count == 2
    assert torch.allclose(losses["answers"], expected, atol=1e-5)


def test_questions_of_a_batch_do_not_see_each_other(network: MiniVlm) -> None:
    maps = [torch.randn(2, 8, 64 // s, 64 // s) for s in (4, 8, 16, 32)]
    ids = torch.tensor([[10, 2, 20, 0], [11, 12, 2, 21], [13, 2, 22, 23]])
    answers = torch.tensor([[0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 1, 1]]).bool()
    nowhere = {"lies": torch.zeros(2, 16, dtype=torch.long), "names": torch.zeros(1, 60)}
    batch = {"maps": maps, "ids": ids, "real": ids != 0, "answers": answers, "owner": torch.tensor([0, 0, 1])}
    batch |= nowhere
    with torch.no_grad():
        together, count = task(network, seeing=True)(batch)
        alone = torch.zeros(())
        for row in range(3):
            owner = int(batch["owner"][row])  # type: ignore[index]
            one = {
                "maps": [level[owner : owner + 1] for level in maps],
                "ids": ids[row : row + 1],
                "real": ids[row : row + 1] != 0,
                "answers": answers[row : row + 1],
                "owner": torch.tensor([0]),
                "lies": nowhere["lies"][:1],
                "names": nowhere["names"],
            }
            alone = alone + task(network, seeing=True)(one)[0]["answers"]
    assert count == 4
    assert torch.allclose(together["answers"], alone, atol=1e-4)


def test_a_place_is_taught_what_lies_there(network: MiniVlm) -> None:
    """Steps on the names of two places make their own words the likeliest ones by the decoder's head."""
    torch.manual_seed(1)
    maps = [torch.randn(1, 8, 64 // s, 64 // s) for s in (4, 8, 16, 32)]
    lies = torch.zeros(1, 16, dtype=torch.long)
    lies[0, 3], lies[0, 9] = 1, 2
    names = torch.zeros(3, 60)
    names[1, [20, 21]], names[2, 40] = 0.5, 1.0
    batch = {"maps": maps, "lies": lies, "names": names, "answers": torch.ones(1, 5)}
    only = [*network.connector.parameters(), *network.norm.parameters()]
    optimizer = torch.optim.AdamW(only, lr=0.01)
    for _ in range(60):
        losses, count = task(network, seeing=True, answering=False)(batch)
        assert set(losses) == {"names"}
        optimizer.zero_grad()
        (losses["names"] / count).backward()
        optimizer.step()
    with torch.no_grad():
        tokens = network.connected(*maps)[0]
        assert network.decoder.norm is not None
        likeliest = network.decoder.logits(network.decoder.norm(tokens)).topk(2).indices
    assert set(likeliest[3].tolist()) == {20, 21}
    assert int(likeliest[9, 0]) == 40


def test_it_is_written_and_read_back(network: MiniVlm) -> None:
    raw = layout.write_config(network.config)
    assert layout.read_config(raw) == network.config
    again = empty(FAMILIES["mini_vlm"], network.config)
    fill(again, original(network.state_dict(), layout.RULES).items(), layout.RULES)
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(again.eval().see(pixels), network.see(pixels))  # type: ignore[operator]
    with pytest.raises(CheckpointError, match="side"):
        layout.read_config({key: value for key, value in raw.items() if key != "side"})


def test_another_number_of_places_than_tokens_is_refused(network: MiniVlm, tmp_path: Path) -> None:
    image = SPECIAL.index(IMAGE)
    with pytest.raises(ValueError, match="15 places for pictures, 16 tokens"):
        network.prompt(torch.tensor([[1] + [image] * 15]), [torch.zeros(16, 32)])
