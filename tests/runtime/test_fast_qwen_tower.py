"""One graph of Qwen2.5-VL's tower for grids of every shape."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sensorium.models.qwen_vl.vision import QwenVision, QwenVisionConfig
from sensorium.runtime.qwen_tower import FastQwenVision

CONFIG = QwenVisionConfig(
    patch=4,
    frames=2,
    channels=3,
    merge=2,
    width=32,
    depth=3,
    heads=2,
    mlp_width=48,
    window=32,
    full_blocks=(1,),
    out_width=24,
)


def test_it_sees_what_the_tower_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORIUM_HOME", str(tmp_path))
    monkeypatch.setenv("SENSORIUM_ENGINE", "openvino-f32")
    torch.manual_seed(0)
    tower = QwenVision(CONFIG).eval().requires_grad_(False)
    fast = FastQwenVision(tower, key="tiny")
    assert fast.graph.engine == "openvino-f32"
    for grids in ([(1, 8, 8)], [(1, 2, 2)], [(1, 14, 6), (1, 10, 22)], [(3, 10, 12)]):
        patches = torch.randn(sum(t * h * w for t, h, w in grids), 96)
        expected = tower(patches, grids)
        found = fast(patches, grids)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
    with pytest.raises(ValueError, match="do not fill the grids"):
        fast(patches, [(1, 2, 2)])
