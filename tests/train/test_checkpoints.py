"""Checkpoints: whole or absent, without pickles, exact, and forgiving of a damaged newest one."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sensorium.errors import CheckpointError
from sensorium.train import checkpoints


def optimizer_after_steps() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(1)
    network = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(network.named_parameters(), lr=0.1, amsgrad=True)
    for _ in range(3):
        optimizer.zero_grad()
        network(torch.randn(4, 3)).square().sum().backward()
        optimizer.step()
    return network, optimizer


def equal(left: Any, right: Any) -> bool:
    """The same tree, with the same bits in its tensors and the same types elsewhere."""
    if isinstance(left, torch.Tensor):
        return left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(equal(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return type(left) is type(right) and len(left) == len(right) and all(map(equal, left, right))
    return type(left) is type(right) and left == right


def test_a_tree_comes_back_bit_for_bit(tmp_path: Path) -> None:
    network, optimizer = optimizer_after_steps()
    shared = torch.arange(6.0)
    parts = {
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "odd": {
            "numbers": [0.1, 1e-320, -0.0, math.inf, 2**80, True, None, "text"],
            "tuple": (1, (2.5, "x"), []),
            "by integer": {0: {"a": torch.tensor(3.0)}, 7: {}},
            "$dollar": 1,
            "kinds": [torch.tensor([1, 2]), torch.ones(2, 0), torch.tensor(1.5, dtype=torch.bfloat16)],
            "strided": shared.reshape(2, 3).T,
            "view": shared[2:4],
        },
    }
    checkpoints.save(tmp_path, 12, parts, keep=2)
    saved = checkpoints.newest(tmp_path)
    assert saved is not None
    assert saved.step == 12
    assert saved.refused == []
    assert equal(saved.parts, {name: dict(part) for name, part in parts.items()})
    assert not list(tmp_path.rglob("*.pt"))
    _, fresh = optimizer_after_steps()
    fresh.load_state_dict(saved.parts["optimizer"])
    assert equal(fresh.state_dict(), optimizer.state_dict())


def test_tied_weights_are_stored_once(tmp_path: Path) -> None:
    weight = torch.randn(100, 100)
    folder = checkpoints.save(tmp_path, 1, {"network": {"embed": weight, "head": weight}}, keep=1)
    assert (folder / "network.safetensors").stat().st_size < 50_000
    saved = checkpoints.newest(tmp_path)
    assert saved is not None
    assert torch.equal(saved.parts["network"]["head"], weight)


def test_only_the_newest_stay_and_abandoned_futures_go(tmp_path: Path) -> None:
    for step in (10, 20, 30, 40):
        checkpoints.save(tmp_path, step, {"a": {"x": torch.ones(1) * step}}, keep=2)
    assert checkpoints.steps(tmp_path) == [30, 40]
    checkpoints.save(tmp_path, 35, {"a": {}}, keep=2)
    assert checkpoints.steps(tmp_path) == [30, 35]
    checkpoints.save(tmp_path, 35, {"a": {"again": 1}}, keep=1)
    saved = checkpoints.newest(tmp_path)
    assert saved is not None
    assert saved.parts == {"a": {"again": 1}}
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000035"]


def cut_tensors(folder: Path) -> None:
    file = folder / "network.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def flip_one_bit(folder: Path) -> None:
    file = folder / "network.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def lose_tensors(folder: Path) -> None:
    (folder / "network.safetensors").unlink()


def cut_state(folder: Path) -> None:
    file = folder / "state.json"
    file.write_text(file.read_text()[:-9])


def change_state(folder: Path) -> None:
    file = folder / "state.json"
    file.write_text(file.read_text().replace('"items": 7', '"items": 8'))


@pytest.mark.parametrize("harm", [cut_tensors, flip_one_bit, lose_tensors, cut_state, change_state])
def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(tmp_path: Path, harm: Any) -> None:
    for step in (1, 2):
        checkpoints.save(
            tmp_path, step, {"network": {"w": torch.ones(3) * step}, "loop": {"items": 7}}, keep=2
        )
    harm(tmp_path / "step-00000002")
    saved = checkpoints.newest(tmp_path)
    assert saved is not None
    assert saved.step == 1
    assert torch.equal(saved.parts["network"]["w"], torch.ones(3))
    assert len(saved.refused) == 1
    assert "step-00000002" in saved.refused[0]
    assert "damaged" in saved.refused[0]
    assert "\n" not in saved.refused[0]
    harm(tmp_path / "step-00000001")
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* is whole"):
        checkpoints.newest(tmp_path)


def test_a_crash_while_writing_or_removing_leaves_no_trace(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, 1, {"a": {"w": torch.ones(1)}}, keep=1)
    for name in (".writing", ".removing"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_text("x")
    assert checkpoints.steps(tmp_path) == [1]
    checkpoints.save(tmp_path, 2, {"a": {}}, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000002"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match=r"cannot write the checkpoint .*file/step-00000001"):
        checkpoints.save(tmp_path / "file", 1, {"a": {}}, keep=1)


def test_what_cannot_be_kept_without_pickle_is_refused_and_formats_are_checked(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"a\.b: set"):
        checkpoints.save(tmp_path, 1, {"x": {"a": {"b": {1}}}}, keep=1)
    assert checkpoints.newest(tmp_path) is None
    folder = checkpoints.save(tmp_path, 1, {"x": {}}, keep=1)
    content = json.loads((folder / "state.json").read_text())["content"]
    checkpoints._write_state(folder / "state.json", {**content, "format": 99})
    with pytest.raises(CheckpointError, match="format 99"):
        checkpoints.newest(tmp_path)
