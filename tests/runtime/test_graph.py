"""Choosing an engine by measurement, refusing one that strays, and remembering the choice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sensorium import settings
from sensorium.errors import SensoriumError
from sensorium.runtime import engines, graph, machine, trial
from sensorium.runtime.graph import accelerate, cached

BATCH_AND_LENGTH = ((0, 1), (0, 1))


class Sentences(nn.Module):
    """A small attention network over token ids with a padding mask."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 32)
        self.positions = nn.Parameter(torch.randn(16, 32))
        self.qkv = nn.Linear(32, 96)
        self.out = nn.Linear(32, 24)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.table(ids) + self.positions[: ids.shape[1]]
        q, k, v = self.qkv(x)[:, None].chunk(3, dim=-1)
        seen = mask[:, None, None].bool()
        x = x + nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)[:, 0]
        out: Tensor = self.out(x[:, 0])
        return out


class Fragile(nn.Module):
    """The small difference of two large numbers: exact in float32, lost in 8 significant bits."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(16, 16))

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.weight + 1000.0) * 1.003 - (x @ self.weight + 1000.0) * 1.002 - 1.0


class Picture(nn.Module):
    """Two convolutions over bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2)
        self.second = nn.Conv2d(8, 16, 3, stride=2)

    def forward(self, pixels: Tensor) -> Tensor:
        x = pixels.permute(0, 3, 1, 2).to(self.first.weight.dtype) / 255
        return self.second(self.first(x).relu()).mean(dim=(2, 3))


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORIUM_HOME", str(tmp_path))
    monkeypatch.setenv("SENSORIUM_THREADS", "1")
    monkeypatch.delenv("SENSORIUM_ENGINE", raising=False)
    torch.manual_seed(0)


def sentence(length: int, rows: int = 1) -> tuple[np.ndarray, np.ndarray]:
    ids = np.random.default_rng(length).integers(1, 50, (rows, length))
    return ids, np.ones_like(ids)


def sentences() -> list[tuple[np.ndarray, np.ndarray]]:
    return [sentence(3 + i % 9) for i in range(30)]


def vectors(count: int = 12) -> list[tuple[np.ndarray]]:
    rng = np.random.default_rng(1)
    return [(rng.normal(size=(1, 16)).astype(np.float32),) for _ in range(count)]


def pictures(count: int) -> list[tuple[np.ndarray]]:
    rng = np.random.default_rng(2)
    return [(rng.integers(0, 256, (1, 24, 20, 3), dtype=np.uint8),) for _ in range(count)]


def eager(module: nn.Module, *arrays: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        output: Tensor = module(*(torch.from_numpy(array) for array in arrays))
    return output.numpy()


def measured(found: graph.Graph) -> dict[str, graph.Measurement]:
    return {result.engine: result for result in found.choice.measurements}


def test_every_engine_is_measured_and_the_choice_explained() -> None:
    found = accelerate(Sentences().eval(), sentences(), key="s", dynamic=BATCH_AND_LENGTH)
    results = measured(found)
    assert set(results) == {"openvino-f32", "openvino-bf16", "openvino-w8", "torch-f32", "torch-bf16"}
    assert all(result.seconds is not None and result.cosine is not None for result in results.values())
    assert found.reason.startswith(f"{found.engine}: ")
    assert all(engine in found.reason for engine in results)
    assert found.width == 24


def test_any_batch_and_length_gives_what_torch_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORIUM_ENGINE", "openvino-f32")
    module = Sentences().eval()
    found = accelerate(module, sentences(), key="s", dynamic=BATCH_AND_LENGTH)
    for rows, length in ((1, 2), (5, 7), (2, 16), (1, 1)):
        ids, mask = sentence(length, rows)
        mask[-1, length // 2 + 1 :] = 0
        np.testing.assert_allclose(found(ids, mask), eager(module, ids, mask), atol=2e-5)


def test_a_stored_graph_opens_again_with_its_choice() -> None:
    module = Picture().eval()
    first = accelerate(module, pictures(6), key="p", dynamic=((0,),), dtype="float32")
    assert cached("p") is None  # another wish, another slot
    again = cached("p", dtype="float32")
    if first.engine.startswith("torch"):
        assert again is None  # this engine needs the network
        again = accelerate(module, pictures(6), key="p", dynamic=((0,),), dtype="float32")
    assert again is not None
    assert again.choice == first.choice
    (pixels,) = pictures(1)[0]
    np.testing.assert_allclose(again(pixels), first(pixels), atol=1e-6)


def test_an_engine_that_strays_is_refused_with_the_reason() -> None:
    found = accelerate(Fragile().eval(), vectors(), key="f", dynamic=((0,),))
    sixteen = measured(found)["openvino-bf16"]
    assert found.engine in ("openvino-f32", "torch-f32")
    assert sixteen.seconds is None
    assert sixteen.refused.startswith("cosine")
    assert "below 0.99" in sixteen.refused
    assert f"refused openvino-bf16: {sixteen.refused}" in found.reason


def test_a_forced_engine_that_strays_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORIUM_ENGINE", "torch-bf16")
    with pytest.raises(SensoriumError, match=r"torch-bf16 refused, cosine .* below 0.99"):
        accelerate(Fragile().eval(), vectors(), key="f", dynamic=((0,),))


def test_an_unknown_forced_engine_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORIUM_ENGINE", "tensorrt")
    with pytest.raises(SensoriumError, match=r"SENSORIUM_ENGINE is 'tensorrt'; choose one of openvino-f32"):
        cached("anything")


def test_int8_needs_real_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    few = accelerate(Picture().eval(), pictures(9), key="p", dynamic=((0,),), int8=True)
    assert measured(few)["openvino-int8"].refused == "needs 16 real samples to calibrate, had 6"


@pytest.mark.parametrize("make", [Picture, Sentences])
def test_int8_is_tried_once_when_asked_for(make: type[nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    module = make().eval()
    samples = pictures(30) if make is Picture else sentences()
    dynamic = ((0,),) if make is Picture else BATCH_AND_LENGTH
    plain = accelerate(module, samples, key="p", dynamic=dynamic)
    assert not plain.choice.int8_tried
    tried = accelerate(module, samples, key="p", dynamic=dynamic, int8=True)
    assert tried.choice.int8_tried
    cosine = measured(tried)["openvino-int8"].cosine
    assert cosine is not None
    assert cosine > (0.999 if make is Picture else 0.95)  # 8 bits are coarse for 32 random channels
    assert bool(measured(tried)["openvino-int8"].refused) == (cosine < trial.LEAST_COSINE)
    monkeypatch.setattr(engines, "export_graph", lambda *_: pytest.fail("it was stored: nothing to build"))
    kept = accelerate(module, samples, key="p", dynamic=dynamic)
    assert kept.choice == tried.choice


def test_what_cannot_be_exported_runs_in_torch() -> None:
    class Odd(Picture):
        def forward(self, pixels: Tensor) -> Tensor:
            return torch.from_numpy(super().forward(pixels).numpy())

    found = accelerate(Odd().eval(), pictures(6), key="o", dynamic=((0,),))
    assert found.engine.startswith("torch-")
    (pixels,) = pictures(1)[0]
    assert found(np.repeat(pixels, 5, axis=0)).shape == (5, 16)


def test_an_operation_unknown_to_openvino_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    class Spectrum(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.linalg.eigvalsh(x[:, :, None] @ x[:, None])

    found = accelerate(Spectrum().eval(), vectors(), key="e", dynamic=((0,),), dtype="float32")
    assert found.engine == "torch-f32"
    assert measured(found)["openvino-f32"].refused


def test_a_graph_that_forgets_its_batch_axis_is_refused() -> None:
    class Baked(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * torch.ones(int(x.shape[0]), 16).cumsum(0)

    found = accelerate(Baked().eval(), vectors(), key="b", dynamic=((0,),), dtype="float32")
    np.testing.assert_allclose(found(np.ones((3, 16), np.float32))[:, 0], [1, 2, 3], rtol=1e-5)


def test_a_less_precise_engine_must_be_worth_it() -> None:
    def winner(**seconds: float) -> str:
        order = [engine for engine in engines.ENGINES if engine.replace("-", "_") in seconds]
        results = [graph.store.Measurement(e, seconds[e.replace("-", "_")], 0.999) for e in order]
        return trial.best(results).engine

    assert winner(openvino_f32=10.0, torch_f32=9.0, openvino_bf16=8.5) == "torch-f32"
    assert winner(openvino_f32=10.0, torch_f32=20.0, openvino_bf16=8.5) == "openvino-bf16"
    assert winner(openvino_f32=10.0, openvino_bf16=8.0, openvino_int8=6.0) == "openvino-bf16"
    assert winner(openvino_f32=10.0, openvino_bf16=9.5, openvino_int8=5.0) == "openvino-int8"
    assert winner(torch_bf16=3.0, openvino_int8=5.0) == "torch-bf16"
    assert winner(openvino_bf16=10.0, openvino_w8=9.0) == "openvino-bf16"
    assert winner(openvino_bf16=10.0, openvino_w8=7.0) == "openvino-w8"


def test_weights_alone_in_8_bits_are_tried_only_where_single_rows_are_timed() -> None:
    single = accelerate(Sentences().eval(), sentences(), key="one", dynamic=BATCH_AND_LENGTH)
    together = accelerate(Sentences().eval(), sentences(), key="many", dynamic=BATCH_AND_LENGTH, batch=8)
    assert "openvino-w8" in measured(single)
    assert "openvino-w8" not in measured(together)
    cosine = measured(single)["openvino-w8"].cosine
    assert cosine is not None
    assert cosine > 0.99


def test_nothing_coarser_is_tried_where_bfloat16_strays() -> None:
    found = accelerate(Fragile().eval(), vectors(30), key="f", dynamic=((0,),), int8=True)
    for engine in ("torch-bf16", "openvino-int8"):
        assert measured(found)[engine].refused == "not tried, since openvino-bf16 strays already"


def slot_folder() -> Path:
    (choice,) = settings.graphs_dir().rglob("choice.json")
    return choice.parent


def _stored(monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    monkeypatch.setenv("SENSORIUM_ENGINE", "openvino-f32")
    module = Picture().eval()
    accelerate(module, pictures(6), key="p", dynamic=((0,),))
    assert cached("p") is not None
    return module


@pytest.mark.parametrize(
    "damage", ["truncated", "flipped", "no graph", "no golden", "choice", "older choice"]
)
def test_a_damaged_entry_is_discarded_logged_and_rebuilt(
    damage: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module = _stored(monkeypatch)
    folder = slot_folder()
    (blob,), (golden,) = folder.glob("*.blob"), folder.glob("*.npz")
    content = blob.read_bytes()
    if damage == "truncated":
        blob.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        blob.write_bytes(bytes(len(content)))
    elif damage == "no graph":
        blob.unlink()
    elif damage == "no golden":
        golden.write_bytes(b"PK")
    elif damage == "choice":
        (folder / "choice.json").write_text("{")
    else:
        raw = json.loads((folder / "choice.json").read_text())
        del raw["golden"]
        (folder / "choice.json").write_text(json.dumps(raw))
    assert cached("p") is None
    assert "discarding the stored graph" in caplog.text
    assert accelerate(module, pictures(6), key="p", dynamic=((0,),)).engine == "openvino-f32"
    assert cached("p") is not None


def test_a_graph_that_no_longer_computes_the_same_is_discarded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _stored(monkeypatch)
    honest = engines.open_graph
    monkeypatch.setattr(
        engines, "open_graph", lambda blob, engine: lambda *arrays: honest(blob, engine)(*arrays)[:, ::-1]
    )
    assert cached("p") is None
    assert "golden vector is now at cosine" in caplog.text


def test_another_machine_does_not_share_the_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    _stored(monkeypatch)
    monkeypatch.setattr(machine, "_processor", lambda: ("another processor", "FP32"))
    assert cached("p") is None


def test_rebuilding_leaves_one_graph_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    module = _stored(monkeypatch)
    (slot_folder() / "choice.json").unlink()
    accelerate(module, pictures(6), key="p", dynamic=((0,),))
    assert sorted(path.suffix for path in slot_folder().iterdir()) == ["", ".blob", ".json", ".npz"]


def test_values_that_are_not_finite_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORIUM_ENGINE", "openvino-f32")
    found = accelerate(Fragile().eval(), vectors(), key="f", dynamic=((0,),))
    with pytest.raises(SensoriumError, match="openvino-f32 returned values that are not finite"):
        found(np.full((1, 16), np.nan, np.float32))


def test_keys_of_any_text_are_folders_of_their_own() -> None:
    folders = {graph.store.slot(key, "any").folder for key in ("a/b", "a-b", "../a", "模型", "a" * 300)}
    assert len(folders) == 5
    assert all(settings.graphs_dir() in folder.parents for folder in folders)


BUILD = """
import numpy as np, sys, torch
sys.path.insert(0, {tests!r})
from test_graph import Picture, pictures, accelerate
torch.manual_seed(0)
found = accelerate(Picture().eval(), pictures(6), key="two", dynamic=((0,),))
print(float(found(pictures(1)[0][0]).sum()))
"""

OPEN = """
import sys, numpy as np
from sensorium.runtime.graph import cached
found = cached("p")
print(found.engine, found(np.zeros((2, 24, 20, 3), np.uint8)).shape)
assert "torch" not in sys.modules and "nncf" not in sys.modules, "the cached path must stay light"
"""


def run(code: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_opening_a_stored_graph_imports_no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    _stored(monkeypatch)
    process = run(OPEN)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert output.split(maxsplit=1) == ["openvino-f32", "(2, 16)\n"]


def test_two_processes_building_at_once_agree() -> None:
    code = BUILD.format(tests=str(Path(__file__).parent))
    processes = [run(code, OMP_NUM_THREADS="1") for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0]
    assert len(list(settings.graphs_dir().rglob("choice.json"))) == 1


SILENT = """
import socket, sys
def refuse(*_):
    raise AssertionError("an outside connection was attempted")
socket.getaddrinfo = socket.socket.connect = socket.create_connection = refuse
sys.path.insert(0, {tests!r})
from test_graph import Picture, pictures, accelerate
accelerate(Picture().eval(), pictures(30), key="silent", dynamic=((0,),), int8=True)
assert sys.modules.get("openvino_telemetry") is None
"""


def test_nothing_is_reported_to_anyone(tmp_path: Path) -> None:
    """OpenVINO and NNCF report each use to a server by default; a private assistant must not."""
    process = run(SILENT.format(tests=str(Path(__file__).parent)), HOME=str(tmp_path), CI="")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert not (tmp_path / "intel").exists()


def test_an_entry_replaced_while_it_is_read_is_read_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module = _stored(monkeypatch)
    honest = graph.store.Slot.golden

    def replaced_meanwhile(self: graph.store.Slot, choice: graph.store.Choice) -> object:
        monkeypatch.setattr(graph.store.Slot, "golden", honest)
        (slot_folder() / "choice.json").unlink()
        accelerate(module, pictures(6), key="p", dynamic=((0,),))
        return honest(self, choice)

    monkeypatch.setattr(graph.store.Slot, "golden", replaced_meanwhile)
    found = cached("p")
    assert found is not None
    assert (slot_folder() / str(found.choice.graph)).exists()
    assert not caplog.text


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SENSORIUM_HOME", str(tmp_path / "file"))
    with pytest.raises(SensoriumError, match=r"compiled graphs cannot be kept in .*set SENSORIUM_HOME"):
        accelerate(Picture().eval(), pictures(6), key="p", dynamic=((0,),))
