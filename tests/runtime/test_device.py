"""Names of devices and dtypes, and the number of threads."""

from __future__ import annotations

import pytest
import torch

from sensorium.errors import SensoriumError
from sensorium.runtime import device


def test_the_processor_gets_float32() -> None:
    placement = device.choose("cpu")
    assert placement == device.Placement("cpu", "float32")
    assert placement.torch_device == torch.device("cpu")
    assert placement.torch_dtype is torch.float32


def test_a_dtype_that_was_asked_for_is_kept() -> None:
    assert device.choose("cpu", "bfloat16").torch_dtype is torch.bfloat16


def test_without_a_name_the_best_device_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    assert device.choose() == device.Placement("cuda", "bfloat16")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: False)
    assert device.choose() == device.Placement("cuda", "float16")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert device.choose() == device.Placement("mps", "float16")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert device.choose() == device.Placement("cpu", "float32")


@pytest.mark.parametrize("name", ["gpu", "cpu:1", "cuda:x", "", "mps:0"])
def test_an_unknown_device_is_named_with_the_choices(name: str) -> None:
    with pytest.raises(SensoriumError, match=r"unknown device .*cpu, cuda, mps"):
        device.choose(name)


def test_an_absent_device_is_refused_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(SensoriumError, match="sees 1 cuda"):
        device.choose("cuda:1")


def test_an_unknown_dtype_is_named_with_the_choices() -> None:
    with pytest.raises(SensoriumError, match=r"unknown dtype 'int4'; choose one of float32"):
        device.choose("cpu", "int4")


def test_threads_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SENSORIUM_THREADS", raising=False)
    assert device.threads() >= 1
    monkeypatch.setenv("SENSORIUM_THREADS", "3")
    assert device.threads() == 3
    monkeypatch.setenv("SENSORIUM_THREADS", "0")
    with pytest.raises(SensoriumError, match="SENSORIUM_THREADS is '0'"):
        device.threads()
