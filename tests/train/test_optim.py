"""Parameter groups, schedules and the running average against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from sensorium.errors import CheckpointError, SensoriumError
from sensorium.train.optim import Ema, adamw, freeze, warmup_constant, warmup_cosine


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
        self.text = nn.Linear(3, 4)
        self.log_scale = nn.Parameter(torch.tensor(1.0))


def test_decay_spares_norms_biases_and_scales_and_rates_follow_the_longest_prefix() -> None:
    network = Small()
    optimizer = adamw(network, 0.5, decay=0.1, rates={"image.": 0.1, "image.1": 0.2})
    seen = {
        name: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for name in group["param_names"]
    }
    assert seen == {
        "image.0.weight": (0.05, 0.1),
        "image.0.bias": (0.05, 0.0),
        "image.1.weight": (0.1, 0.0),
        "image.1.bias": (0.1, 0.0),
        "text.weight": (0.5, 0.1),
        "text.bias": (0.5, 0.0),
        "log_scale": (0.5, 0.0),
    }


def test_frozen_parts_are_left_out_and_wrong_rates_are_named() -> None:
    network = Small()
    freeze(network.image)
    names = [name for group in adamw(network, 1.0).param_groups for name in group["param_names"]]
    assert sorted(names) == ["log_scale", "text.bias", "text.weight"]
    assert not network.image.training
    with pytest.raises(SensoriumError, match=r"'image\.'"):
        adamw(network, 1.0, rates={"image.": 0.1})
    freeze(network)
    with pytest.raises(SensoriumError, match="every one is frozen"):
        adamw(network, 1.0)


def test_one_step_is_the_algorithm_of_the_paper() -> None:
    """AdamW, algorithm 2 of Loshchilov and Hutter, for one weight and two steps, in plain arithmetic."""
    network = nn.Linear(1, 1, bias=False).double()
    optimizer = adamw(network, 0.1, decay=0.2, betas=(0.9, 0.98), eps=1e-8)
    weight, first, second = network.weight.item(), 0.0, 0.0
    for step, gradient in enumerate((0.7, -0.3), start=1):
        network.weight.grad = torch.full_like(network.weight, gradient)
        optimizer.step()
        first, second = 0.9 * first + 0.1 * gradient, 0.98 * second + 0.02 * gradient**2
        moved = (first / (1 - 0.9**step)) / (math.sqrt(second / (1 - 0.98**step)) + 1e-8)
        weight = weight - 0.1 * (moved + 0.2 * weight)
        assert network.weight.item() == pytest.approx(weight, rel=1e-12)


def test_schedules() -> None:
    factor = warmup_cosine(10, 2, floor=0.1)
    assert [factor(step) for step in (0, 1, 2)] == [0.5, 1.0, 1.0]
    assert factor(6) == pytest.approx(0.55)
    assert factor(10) == factor(99) == pytest.approx(0.1)
    assert warmup_cosine(4)(2) == pytest.approx(0.5)
    constant = warmup_constant(4)
    assert [constant(step) for step in (0, 1, 3, 50)] == [0.25, 0.5, 1.0, 1.0]
    assert warmup_constant()(0) == 1.0


@pytest.mark.parametrize("warmup", [False, True])
def test_average_is_the_recurrence(warmup: bool) -> None:
    network = nn.Linear(1, 1, bias=False).double()
    average = Ema(network, 0.5, warmup=warmup)
    expected = network.weight.item()
    for update, value in enumerate((1.0, 4.0, -2.0), start=1):
        network.weight.data.fill_(value)
        average.update()
        decay = min(0.5, (1 + update) / (10 + update)) if warmup else 0.5
        expected = decay * expected + (1 - decay) * value
        assert float(average.state()["weight"]) == pytest.approx(expected, rel=1e-12)
    with average.applied():
        assert network.weight.item() == pytest.approx(expected, rel=1e-12)
    assert network.weight.item() == -2.0


def test_average_takes_batch_statistics_along_and_skips_what_is_frozen() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    freeze(network[2])
    average = Ema(network, 0.9, warmup=False)
    assert set(average.state()) == {
        *("0.weight", "0.bias", "1.weight", "1.bias"),
        *("1.running_mean", "1.running_var"),
    }
    network(torch.randn(8, 2))
    average.update()
    torch.testing.assert_close(average.state()["1.running_mean"], 0.1 * network[1].running_mean)


def test_average_comes_back_after_an_error_and_from_a_checkpoint() -> None:
    network = nn.Linear(1, 1)
    average = Ema(network)
    network.weight.data.fill_(3.0)
    with pytest.raises(ZeroDivisionError), average.applied():
        raise ZeroDivisionError
    assert network.weight.item() == 3.0
    other = Ema(nn.Linear(1, 1))
    other.load(average.state(), 12)
    assert other.updates == 12
    assert torch.equal(other.state()["weight"], average.state()["weight"])
    with pytest.raises(CheckpointError, match="'bias'"):
        other.load({"weight": torch.ones(1, 1)}, 1)
    with pytest.raises(SensoriumError, match="decay"):
        Ema(network, 1.0)
