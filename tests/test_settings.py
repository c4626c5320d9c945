"""What the environment decides."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from sensorium import settings
from sensorium.errors import SensoriumError


def test_the_clock_can_be_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORIUM_NOW", "2026-05-01T12:00:00+08:00")
    assert settings.now() == datetime(2026, 5, 1, 4, tzinfo=UTC)


@pytest.mark.parametrize("value", ["yesterday", "2026-05-01T12:00:00"])
def test_a_clock_without_offset_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SENSORIUM_NOW", value)
    with pytest.raises(SensoriumError, match="offset"):
        settings.now()


def test_the_real_clock_has_a_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SENSORIUM_NOW", raising=False)
    assert settings.now().tzinfo is not None


@pytest.mark.parametrize(("value", "offline"), [("1", True), ("0", False), ("", False), (None, False)])
def test_offline(monkeypatch: pytest.MonkeyPatch, value: str | None, offline: bool) -> None:
    monkeypatch.delenv("SENSORIUM_OFFLINE", raising=False)
    if value is not None:
        monkeypatch.setenv("SENSORIUM_OFFLINE", value)
    assert settings.offline() is offline


def test_home_can_be_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SENSORIUM_HOME", str(tmp_path))
    assert settings.models_dir() == tmp_path / "models"
    assert settings.graphs_dir() == tmp_path / "graphs"
