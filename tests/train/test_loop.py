"""The loop against plain PyTorch on the full batch, in one process and in two."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from processes import run_in_processes
from small_run import small_run
from torch import Tensor, nn

from sensorium.errors import SensoriumError
from sensorium.runtime.device import Placement
from sensorium.train.log import cut_back, read_log
from sensorium.train.loop import InterruptedRunError, NonFiniteLossError, Settings, StepRecord, train
from sensorium.train.losses import info_nce, sigmoid_loss
from sensorium.train.optim import Ema, adamw, warmup_cosine
from sensorium.train.order import Place, Shuffled
from sensorium.train.world import world

ROWS = torch.randn(11, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
TARGETS = torch.randn(11, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
CLIP = 2.0


def small_network(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    torch.manual_seed(4)
    return nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 1)).to(dtype)


def load(places: Sequence[Place]) -> Tensor:
    return torch.tensor([place.item for place in places])


def regression(network: nn.Module) -> Any:
    """Task with two losses and an item count that is not the number of rows: even rows count twice."""

    def task(rows: Tensor) -> tuple[dict[str, Tensor], int]:
        error = network(ROWS[rows]).squeeze(1) - TARGETS[rows]
        times = 2 - rows % 2
        return {"square": (times * error.square()).sum(), "size": error.abs().sum()}, int(times.sum())

    return task


def train_regression(
    folder: Path, steps: int, accumulate: int, *, resume: bool = False
) -> tuple[list[StepRecord], list[Tensor], Ema]:
    network = small_network()
    ema = Ema(network, 0.8)
    settings = Settings(folder, steps, accumulate, clip=CLIP, weights={"size": 0.5})
    order, optimizer = Shuffled(11, 7, seed=1), adamw(network, 0.02, decay=0.1)
    task, schedule = regression(network), warmup_cosine(8, 2)
    run = train(network, task, load, order, optimizer, schedule, settings, ema=ema, resume=resume)
    return list(run), [parameter.detach() for parameter in network.parameters()], ema


def reference_regression(steps: int) -> tuple[list[float], list[float], list[Tensor], list[Tensor]]:
    """The same in plain PyTorch: one full batch a step, means taken by hand, torch's own clipping."""
    network = small_network()
    decayed = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=0.02,
        betas=(0.9, 0.98),
        eps=1e-8,
    )
    order, totals, norms = Shuffled(11, 7, seed=1), [], []
    average = [p.detach().clone() for p in network.parameters()]
    for step in range(steps):
        rows = load(order.places(step))
        error, times = network(ROWS[rows]).squeeze(1) - TARGETS[rows], 2 - rows % 2
        loss = ((times * error.square()).sum() + 0.5 * error.abs().sum()) / times.sum()
        optimizer.zero_grad()
        loss.backward()
        norms.append(float(nn.utils.clip_grad_norm_(network.parameters(), CLIP)))
        for group in optimizer.param_groups:
            group["lr"] = 0.02 * warmup_cosine(8, 2)(step)
        optimizer.step()
        decay = min(0.8, (2 + step) / (11 + step))
        now = [p.detach().clone() for p in network.parameters()]
        average = [decay * old + (1 - decay) * new for old, new in zip(average, now, strict=True)]
        totals.append(loss.item())
    return totals, norms, [p.detach() for p in network.parameters()], average


def assert_all_close(left: Sequence[Tensor], right: Sequence[Tensor], tolerance: float = 1e-11) -> None:
    for one, other in zip(left, right, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("accumulate", [1, 3, 7])
def test_unequal_micro_batches_give_the_step_of_the_full_batch(tmp_path: Path, accumulate: int) -> None:
    records, weights, ema = train_regression(tmp_path, 8, accumulate)
    totals, norms, expected, average = reference_regression(8)
    assert_all_close(weights, expected)
    assert_all_close(list(ema.state().values()), average)
    np.testing.assert_allclose([record.total for record in records], totals, rtol=1e-11)
    np.testing.assert_allclose([record.grad_norm for record in records], norms, rtol=1e-11)
    assert max(norms) > CLIP > min(norms), "the bound must act in some steps and not in others"
    assert [record.step for record in records] == list(range(1, 9))
    assert [record.epoch for record in records] == [7 * step // 11 for step in range(8)]
    counts = [int((2 - load(Shuffled(11, 7, seed=1).places(step)) % 2).sum()) for step in range(8)]
    assert [record.items for record in records] == np.cumsum(counts).tolist()
    assert records[3].lr == pytest.approx(0.02 * warmup_cosine(8, 2)(3), rel=1e-12)


def two_towers_task(network: nn.ModuleDict, loss: str) -> Any:
    def task(rows: Tensor) -> tuple[dict[str, Tensor], int]:
        image = F.normalize(network["image"](ROWS[rows]), dim=-1)
        text = F.normalize(network["text"](ROWS[rows].flip(1)), dim=-1)
        scale, bias = network["head"].weight.exp().squeeze(), network["head"].bias.squeeze()
        if loss == "info_nce":
            return {"pairs": info_nce(image, text, scale) + 0 * bias}, len(rows)
        return {"pairs": sigmoid_loss(image, text, scale, bias)}, len(rows)

    return task


def contrastive_towers(folder: Path, loss: str) -> tuple[list[float], list[Tensor]]:
    torch.manual_seed(6)
    towers = {"image": nn.Linear(6, 4), "text": nn.Linear(6, 4), "head": nn.Linear(1, 1)}
    network = nn.ModuleDict(towers).double()
    run = train(
        network,
        two_towers_task(network, loss),
        load,
        Shuffled(11, 7),
        adamw(network, 0.05),
        warmup_cosine(5),
        Settings(folder, 5),
    )
    return [record.total for record in run], [p.detach() for p in network.parameters()]


def in_two_processes(folder: Path) -> dict[str, Any]:
    """Runs that share batches of 7 unequally, with and without accumulation, and both contrastive losses."""
    results: dict[str, Any] = {}
    for accumulate in (1, 2):
        records, weights, ema = train_regression(folder / f"regression-{accumulate}", 8, accumulate)
        facts = [(r.total, r.grad_norm, float(r.items)) for r in records]
        results[f"regression-{accumulate}"] = facts, weights, list(ema.state().values())
    for loss in ("info_nce", "sigmoid_loss"):
        results[loss] = contrastive_towers(folder / loss, loss)
    network = small_network()
    task = regression(network)
    last = Shuffled(11, 6).places(2)[-1].item

    def poisoned(rows: Tensor) -> tuple[dict[str, Tensor], int]:  # by one item, which one process has
        losses, items = task(rows)
        return {"square": losses["square"] * (float("nan") if bool((rows == last).any()) else 1)}, items

    settings = Settings(folder / "nan", 9)
    run = train(network, poisoned, load, Shuffled(11, 6), adamw(network, 0.1), warmup_cosine(9), settings)
    with pytest.raises(NonFiniteLossError) as caught:
        list(run)
    results["nan"] = str(caught.value)
    results["killed"] = [r.total for r in small_run(folder / "resumed", 5)]
    results["killed"] += [r.total for r in small_run(folder / "resumed", 9, resume=True)]
    results["whole"] = [r.total for r in small_run(folder / "whole", 9)]
    train_regression(folder / "elastic", 5, 1)
    results["rank"] = world().rank
    return results


def test_two_processes_take_the_steps_of_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    received = run_in_processes(in_two_processes, tmp_path, tmp_path / "together")
    totals, norms, expected, average = reference_regression(8)
    for rank in (0, 1):
        assert received[rank]["rank"] == rank
        for accumulate in (1, 2):
            facts, weights, averages = received[rank][f"regression-{accumulate}"]
            assert_all_close(weights, expected)
            assert_all_close(averages, average)
            np.testing.assert_allclose([fact[0] for fact in facts], totals, rtol=1e-11)
            np.testing.assert_allclose([fact[1] for fact in facts], norms, rtol=1e-11)
        for loss in ("info_nce", "sigmoid_loss"):
            one_totals, one_weights = contrastive_towers(tmp_path / f"alone-{loss}-{rank}", loss)
            assert_all_close(received[rank][loss][1], one_weights)
            np.testing.assert_allclose(received[rank][loss][0], one_totals, rtol=1e-11)
        assert "'square' is nan at step" in received[rank]["nan"], (
            "every process must stop, not only the sick"
        )
        assert received[rank]["killed"] == received[rank]["whole"], (
            "each process resumes its own random numbers"
        )
    assert len(read_log(tmp_path / "together" / "regression-2" / "log.jsonl")) == 8, "one log, of all"
    with caplog.at_level(logging.WARNING):
        records, weights, _ = train_regression(tmp_path / "together" / "elastic", 8, 1, resume=True)
    assert [record.step for record in records] == [6, 7, 8]
    assert "the run had 2 processes and now has 1" in caplog.text
    assert_all_close(weights, expected)


def test_a_non_finite_loss_stops_before_it_does_harm(tmp_path: Path) -> None:
    network = small_network()
    task = regression(network)
    calls = []

    def poisoned(rows: Tensor) -> tuple[dict[str, Tensor], int]:
        losses, items = task(rows)
        calls.append(items)
        return {**losses, "size": losses["size"] * (float("inf") if len(calls) == 5 else 1)}, items

    settings = Settings(tmp_path, 9, accumulate=2, save_every=1)
    run = train(network, poisoned, load, Shuffled(11, 6), adamw(network, 0.1), warmup_cosine(9), settings)
    records = [next(run), next(run)]
    before = [parameter.detach().clone() for parameter in network.parameters()]
    with pytest.raises(
        NonFiniteLossError, match=r"'size' is inf at step 3; the last checkpoint is of step 2"
    ):
        next(run)
    assert_all_close([p.detach() for p in network.parameters()], before, 0)
    assert len(read_log(tmp_path / "log.jsonl")) == len(records) == 2


def test_a_non_finite_gradient_of_a_finite_loss_names_the_parameter(tmp_path: Path) -> None:
    network = nn.Linear(1, 1, bias=False)

    def task(_: Tensor) -> tuple[dict[str, Tensor], int]:
        return {"root": (network.weight - network.weight.detach()).abs().sqrt().sum()}, 1

    run = train(
        network, task, load, Shuffled(1, 1), adamw(network, 1), warmup_cosine(1), Settings(tmp_path, 1)
    )
    with pytest.raises(
        NonFiniteLossError, match=r"gradient is nan at step 1 .* in weight; there is no checkpoint"
    ):
        next(run)


def test_evaluation_sees_averaged_weights_in_evaluation_mode_and_leaves_no_trace(tmp_path: Path) -> None:
    logs = []
    for evaluate_every in (0, 2):
        torch.manual_seed(8)
        network = nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.5), nn.Linear(4, 1)).double().train()
        ema = Ema(network, 0.5)
        seen: list[tuple[bool, bool]] = []

        def evaluate(network: nn.Module = network, ema: Ema = ema, seen: Any = seen) -> dict[str, float]:
            weight = network.get_parameter("0.weight")
            seen.append((network.training, torch.equal(weight, ema.state()["0.weight"])))
            return {"draw": float(torch.rand(()) + np.random.rand())}

        settings = Settings(tmp_path / str(evaluate_every), 5, evaluate_every=evaluate_every)
        run = train(
            network,
            regression(network),
            load,
            Shuffled(11, 4),
            adamw(network, 0.1),
            warmup_cosine(5),
            settings,
            ema=ema,
            evaluate=evaluate,
        )
        records = []
        for record in run:
            assert network.training
            torch.rand(3 + evaluate_every)  # what the caller draws must not matter either
            records.append(record)
        logs.append([record.total for record in records])
        evaluated = [record.step for record in records if record.evaluation]
        assert evaluated == ([2, 4, 5] if evaluate_every else [5])
        assert seen == [(False, True)] * len(evaluated)
    assert logs[0] == logs[1]


def test_bfloat16_computes_under_autocast_and_keeps_float32_weights(tmp_path: Path) -> None:
    network = small_network(torch.float32)
    kinds = []

    def task(rows: Tensor) -> tuple[dict[str, Tensor], int]:
        out = network[0](ROWS[rows].float())
        kinds.append(out.dtype)
        return {"square": network[1:](out).float().square().sum()}, len(rows)

    place = Placement("cpu", "bfloat16")
    arguments = (network, task, load, Shuffled(11, 11), adamw(network, 0.1), warmup_cosine(3))
    losses = [r.total for r in train(*arguments, Settings(tmp_path, 3), placement=place)]
    assert losses[2] < losses[0]
    assert set(kinds) == {torch.bfloat16}
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    with pytest.raises(SensoriumError, match="float16"):
        next(train(*arguments, Settings(tmp_path, 3), placement=Placement("cpu", "float16")))


def test_a_weight_of_zero_only_logs(tmp_path: Path) -> None:
    weights = []
    for name, factors in (("a", {"size": 0.0}), ("b", {"size": 0.0, "square": 1.0})):
        network = small_network()
        order, optimizer = Shuffled(11, 11), adamw(network, 0.1)
        settings = Settings(tmp_path / name, 2, weights=factors)
        records = list(
            train(network, regression(network), load, order, optimizer, warmup_cosine(2), settings)
        )
        assert records[0].losses["size"] > 0
        assert records[0].total == records[0].losses["square"]
        weights.append([p.detach() for p in network.parameters()])
    assert_all_close(*weights, 0)
    settings = Settings(tmp_path / "c", 2, weights={"sqare": 2.0})
    with pytest.raises(SensoriumError, match="no loss 'sqare' to weigh; there are square, size"):
        list(train(network, regression(network), load, order, optimizer, warmup_cosine(2), settings))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_says_how_to_go_on_and_resumes_exactly(tmp_path: Path, number: signal.Signals) -> None:
    whole = list(small_run(tmp_path / "whole", 9))
    before = signal.getsignal(number)
    records: list[StepRecord] = []

    def interrupt(record: StepRecord) -> None:
        records.append(record)
        if record.step == 5:
            os.kill(os.getpid(), number)

    with pytest.raises(InterruptedRunError, match=r"step 6 of 9.*--resume") as caught:
        list(map(interrupt, small_run(tmp_path / "parts", 9)))
    assert caught.value.exit_code == 130
    assert signal.getsignal(number) is before
    records += small_run(tmp_path / "parts", 9, resume=True)
    assert [(r.step, r.total, r.items) for r in records] == [(r.step, r.total, r.items) for r in whole]


def test_a_second_ctrl_c_breaks_off(tmp_path: Path) -> None:
    network = small_network()

    def impatient(rows: Tensor) -> tuple[dict[str, Tensor], int]:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return {"never": torch.zeros(())}, len(rows)

    order, optimizer = Shuffled(11, 11), adamw(network, 0.1)
    with pytest.raises(KeyboardInterrupt):
        list(train(network, impatient, load, order, optimizer, warmup_cosine(2), Settings(tmp_path, 2)))


def failing_load(places: Sequence[Place]) -> Tensor:
    if any(place.item == 10 for place in places):
        raise SensoriumError("picture 10 cannot be read")
    return load(places)


def test_loading_processes_change_nothing_and_hand_their_errors_over(tmp_path: Path) -> None:
    alone = [r.total for r in small_run(tmp_path / "alone", 6)]
    assert [r.total for r in small_run(tmp_path / "helped", 6, workers=2)] == alone
    network = small_network()
    arguments = (network, regression(network), failing_load, Shuffled(11, 11), adamw(network, 0.1))
    with pytest.raises(SensoriumError, match=r"^picture 10 cannot be read$"):
        list(train(*arguments, warmup_cosine(2), Settings(tmp_path / "failing", 2, workers=1)))


def test_settings_and_batches_that_cannot_work_are_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(SensoriumError, match="steps is 0"):
        Settings(tmp_path, 0)
    with pytest.raises(SensoriumError, match="clip is -1"):
        Settings(tmp_path, 1, clip=-1)
    network = small_network()
    order = Shuffled(11, 4, last="keep")  # its last batch has 3 items
    arguments = (network, regression(network), load, order, adamw(network, 0.1), warmup_cosine(9))
    with pytest.raises(SensoriumError, match="3 items cannot be shared by 1 processes x 4"):
        next(train(*arguments, Settings(tmp_path, 9, accumulate=4)))


def test_a_log_is_cut_back_to_whole_lines_of_steps_that_count(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    lines = [f'{{"step": {step}, "total": 0.5}}\n' for step in (1, 2, 3)]
    for torn in ("", '{"step": 4, "to', '{"step": 4}', "\0\0\0\n"):
        path.write_text("".join(lines) + torn)
        assert cut_back(path, 9) == len(torn)
        assert path.read_text() == "".join(lines)
    assert cut_back(path, 2) == len(lines[2])
    assert path.read_text() == "".join(lines[:2])
    path.write_text("nonsense\n" + lines[0])
    with pytest.raises(SensoriumError, match="line 1"):
        cut_back(path, 9)
