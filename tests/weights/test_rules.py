"""The tables: strict forwards, invertible backwards."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sensorium.errors import CheckpointError
from sensorium.models.clip import Clip
from sensorium.models.vit import VitClassifier
from sensorium.weights.load import FAMILIES, empty
from sensorium.weights.rules import Rule, bare, drop, move, original, renamed, split

RULES = [
    split("layers.{i}.in_proj_{leaf}", ["blocks.{i}.q.{leaf}", "blocks.{i}.k.{leaf}"]),
    move("proj", "projection.weight", transpose=True),
    move("pos", "positions", leading=1),
    move("norm.{leaf}", "last.{leaf}"),
    move("old_norm.{leaf}", "last.{leaf}"),
    drop("*.position_ids"),
]


def shapes(state: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {key: tensor.shape for key, tensor in state.items()}


@st.composite
def networks(draw: st.DrawFn) -> dict[str, Tensor]:
    """The state dict of some network that RULES describe."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    width, embed = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    rows = draw(st.integers(2, 5))

    def tensor(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    state = {"projection.weight": tensor(embed, width), "positions": tensor(rows, width)}
    state |= {"last.weight": tensor(width), "last.bias": tensor(width)}
    for i in range(draw(st.integers(0, 12))):
        for letter in "qk":
            state[f"blocks.{i}.{letter}.weight"] = tensor(width, width)
            state[f"blocks.{i}.{letter}.bias"] = tensor(width)
    return state


@settings(max_examples=60, deadline=None)
@given(networks(), st.randoms(use_true_random=False), st.sampled_from(["", "module.", "_orig_mod."]))
def test_out_and_in_again_is_the_identity(state: dict[str, Tensor], random: object, prefix: str) -> None:
    foreign = list(original(state, RULES).items())
    random.shuffle(foreign)  # type: ignore[attr-defined]
    back = renamed(((prefix + key, tensor) for key, tensor in foreign), RULES, shapes(state))
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)


@settings(max_examples=60, deadline=None)
@given(networks(), st.data())
def test_any_key_taken_away_or_added_is_named(state: dict[str, Tensor], data: st.DataObject) -> None:
    foreign = original(state, RULES)
    lost = data.draw(st.sampled_from(sorted(foreign)))
    rule = next(rule for rule in RULES if rule.match(lost) is not None)
    targets = rule.match(lost)
    assert targets
    with pytest.raises(CheckpointError) as caught:
        renamed(((k, v) for k, v in foreign.items() if k != lost), RULES, shapes(state))
    assert f"missing: {targets[0]}" in str(caught.value)
    extra = data.draw(st.sampled_from(["blocks.0.q.weight", "layers.x.in_proj_weight", "head"]))
    with pytest.raises(CheckpointError, match=f"1 not known: {extra}"):
        renamed([*foreign.items(), (extra, torch.ones(1))], RULES, shapes(state))


def test_every_kind_of_fault_is_in_one_error() -> None:
    expected = {"last.weight": torch.Size([3]), "last.bias": torch.Size([3]), "positions": torch.Size([2, 3])}
    found = [
        ("norm.weight", torch.ones(3)),
        ("old_norm.weight", torch.ones(3)),
        ("norm.bias", torch.ones(4)),
        ("mystery", torch.ones(1)),
    ]
    with pytest.raises(CheckpointError) as caught:
        renamed(found, RULES, expected)
    text = str(caught.value)
    assert "\n" not in text
    assert "1 not known: mystery" in text
    assert "1 missing: positions" in text
    assert "1 given twice: old_norm.weight (again last.weight)" in text
    assert "1 of wrong shape: norm.bias [4] where [3] fits" in text


def test_a_tensor_that_cannot_be_cut_is_named() -> None:
    expected = {"blocks.0.q.bias": torch.Size([2]), "blocks.0.k.bias": torch.Size([2])}
    with pytest.raises(CheckpointError, match=r"layers.0.in_proj_bias cannot be cut in 2: \[5\]"):
        renamed([("layers.0.in_proj_bias", torch.ones(5))], RULES, expected)


def test_many_faults_stay_readable() -> None:
    found = [(f"extra.{i}", torch.ones(1)) for i in range(500)]
    with pytest.raises(CheckpointError) as caught:
        renamed(found, RULES, {})
    assert "500 not known: extra.0, extra.1, extra.2, extra.3 and 496 more" in str(caught.value)


def test_parts_of_a_cut_tensor_share_no_memory() -> None:
    parts = RULES[0].apply(torch.arange(8.0).reshape(4, 2))
    assert len({part.untyped_storage().data_ptr() for part in parts}) == 2
    assert all(part.untyped_storage().nbytes() == 16 for part in parts)


def test_what_has_no_foreign_name_is_refused() -> None:
    with pytest.raises(CheckpointError, match="1: stranger"):
        original({"stranger": torch.ones(1), "positions": torch.ones(1, 1)}, RULES)
    with pytest.raises(CheckpointError, match=r"q\.bias"):  # half of a cut pair
        original({"blocks.0.q.bias": torch.ones(1)}, RULES)


def test_only_floating_tensors_change_type() -> None:
    state = renamed(
        [("norm.weight", torch.ones(1)), ("norm.bias", torch.ones(1, dtype=torch.int64))],
        RULES,
        {"last.weight": torch.Size([1]), "last.bias": torch.Size([1])},
        dtype=torch.bfloat16,
    )
    assert state["last.weight"].dtype == torch.bfloat16
    assert state["last.bias"].dtype == torch.int64


def test_wrappers_are_stripped() -> None:
    assert bare("module.module.a.b") == "a.b"
    assert bare("_orig_mod.visual._orig_mod.proj") == "visual.proj"
    assert bare("_orig_mod.module.a") == bare("module._orig_mod.a") == "a"
    assert bare("my.module.a") == "my.module.a"


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"mini_clip"}))
def test_no_rule_of_a_family_is_hidden_by_an_earlier_one(family: str) -> None:
    """Every source template, filled with a number and a leaf, is matched by its own rule first."""
    rules: list[Rule] = FAMILIES[family].rules
    for rule in rules:
        key = rule.source.replace("{i}", "7").replace("{leaf}", "weight").replace("*", "some.text")
        first = next(other for other in rules if other.match(key) is not None)
        assert first == rule, key


def test_networks_are_built_without_memory() -> None:
    raw = {"model_type": "clip", "text_config": {}, "vision_config": {}}
    family = FAMILIES["clip"]
    network = empty(family, family.read_config(raw))
    assert isinstance(network, Clip)
    assert all(p.is_meta for p in network.parameters())
    assert VitClassifier is FAMILIES["vit"].network


def test_building_is_quick() -> None:
    """Random initialisation on the meta device would import sympy and half of torch first."""
    code = (
        "import sys\n"
        "from sensorium.weights.load import FAMILIES, empty\n"
        "family = FAMILIES['clip']\n"
        "empty(family, family.read_config({'model_type': 'clip', 'text_config': {}, 'vision_config': {}}))\n"
        "print('sympy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
