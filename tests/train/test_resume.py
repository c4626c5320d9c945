"""A run that is killed and resumed ends with the same bits as one that was left alone."""

from __future__ import annotations

import json
import logging
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import FORKSERVER
from small_run import run_to_the_end, small_run
from torch import nn

from sensorium.errors import CheckpointError, SensoriumError
from sensorium.train import checkpoints
from sensorium.train.log import read_log
from sensorium.train.loop import Settings, train
from sensorium.train.optim import adamw, warmup_constant
from sensorium.train.order import Shuffled

STEPS = 120


def contents(folder: Path) -> dict[str, bytes]:
    """Every byte of the final checkpoint, and the log without what the clock decides."""
    last = folder / "checkpoints" / f"step-{checkpoints.steps(folder / 'checkpoints')[-1]:08d}"
    records = read_log(folder / "log.jsonl")
    for record in records:
        del record["items_per_second"]
    files = {path.name: path.read_bytes() for path in sorted(last.iterdir())}
    return {**files, "log": json.dumps(records).encode(), "step": last.name.encode()}


def start(folder: Path) -> Any:
    process = FORKSERVER.Process(target=run_to_the_end, args=(folder, STEPS))
    process.start()
    return process


def logged_steps(folder: Path) -> int:
    log = folder / "log.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def test_killed_at_random_moments_and_resumed_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    uninterrupted = start(whole)
    chance = random.Random(
        time.time_ns()
    )  # new moments each time the test runs; the result must not depend on them
    moments = sorted(chance.sample(range(2, STEPS * 3 // 4), 3))
    for moment in moments:
        process = start(killed)
        while logged_steps(killed) < moment:
            assert process.exitcode is None, "the run ended before it could be killed"
            time.sleep(0.001)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert logged_steps(killed) < STEPS
    for process in (start(killed), uninterrupted):
        process.join()
        assert process.exitcode == 0
    expected, found = contents(whole), contents(killed)
    assert found.keys() == expected.keys()
    assert {"network.safetensors", "optimizer.safetensors", "ema.safetensors", "state.json"} < found.keys()
    different = [name for name in expected if found[name] != expected[name]]
    assert not different, f"killed at steps {moments}: {different} differ"
    assert [record["step"] for record in read_log(killed / "log.jsonl")] == list(range(1, STEPS + 1))


def test_a_damaged_newest_checkpoint_is_passed_over_with_a_message(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in small_run(tmp_path / "whole", 14):
        pass
    run = small_run(tmp_path / "cut", 14)
    for _ in range(10):
        next(run)
    run.close()
    newest = tmp_path / "cut" / "checkpoints" / "step-00000008" / "optimizer.safetensors"
    newest.write_bytes(newest.read_bytes()[:100])
    with caplog.at_level(logging.WARNING):
        records = list(small_run(tmp_path / "cut", 14, resume=True))
    assert records[0].step == 5
    assert "step-00000008/optimizer.safetensors is missing or damaged" in caplog.text
    assert "continuing from step 4" in caplog.text
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_resume_without_a_checkpoint_starts_and_with_a_finished_run_does_nothing(tmp_path: Path) -> None:
    assert [record.step for record in small_run(tmp_path, 5, resume=True)] == [1, 2, 3, 4, 5]
    before = contents(tmp_path)
    assert list(small_run(tmp_path, 5, resume=True)) == []
    assert contents(tmp_path) == before
    with pytest.raises(SensoriumError, match=r"holds a run up to step 5; continue it with --resume"):
        next(small_run(tmp_path, 5))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("order", {"batch": 4}), r"another order: batch was 4 and is 8"),
        (("accumulate", 1), r"another accumulate: it was 1 and is 2"),
        (
            ("trained", [["0.weight"], ["0.bias"]]),
            r"another trained: '0\.bias' is in one only|another trained",
        ),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path, change: tuple[str, Any], reason: str) -> None:
    list(small_run(tmp_path, 4))
    saved = checkpoints.newest(tmp_path / "checkpoints")
    assert saved is not None
    name, value = change
    loop = saved.parts["loop"]
    loop[name] = {**loop[name], **value} if isinstance(value, dict) else value
    checkpoints.save(tmp_path / "checkpoints", 4, saved.parts, keep=1)
    with pytest.raises(CheckpointError, match=reason):
        next(small_run(tmp_path, 9, resume=True))


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    list(small_run(tmp_path, 4))
    saved = checkpoints.newest(tmp_path / "checkpoints")
    assert saved is not None
    saved.parts["network"]["0.weight"] = saved.parts["network"]["0.weight"][:3]
    checkpoints.save(tmp_path / "checkpoints", 4, saved.parts, keep=1)
    with pytest.raises(CheckpointError, match=r"does not fit the network: .*0\.weight"):
        next(small_run(tmp_path, 9, resume=True))


def test_rates_and_decay_may_be_changed_on_resume(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Linear(2, 1)

    def task(batch: Any) -> tuple[dict[str, torch.Tensor], int]:
        return {"size": network.weight.square().sum() + network.bias.sum()}, 1

    for steps, lr, decay in ((1, 0.5, 0.1), (2, 0.25, 0.2)):
        optimizer = adamw(network, lr, decay=decay)
        settings = Settings(tmp_path / "other", steps)
        order = Shuffled(1, 1)
        records = list(train(network, task, len, order, optimizer, warmup_constant(), settings, resume=True))
        assert records[-1].lr == lr
        assert sorted(group["weight_decay"] for group in optimizer.param_groups) == [0.0, decay]
