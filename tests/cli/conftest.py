"""Fixtures of the command line's tests."""

import sys

import pytest
from typed import PHOTOS, Result

sys.path.insert(0, PHOTOS)  # its made-up models and pictures


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty folder, which is the current one and holds all that Sensorium keeps."""
    monkeypatch.delenv("SENSORIUM_LIBRARY", raising=False)
    monkeypatch.setenv("SENSORIUM_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def sensorium(home, monkeypatch, capsys):
    """The command line in this process, with the colour model behind every name."""
    from photo_fakes import Models

    from sensorium.cli import main
    from sensorium.photos import encoder

    monkeypatch.setattr(encoder, "load_encoder", Models())

    def call(*arguments) -> Result:
        monkeypatch.setattr(sys, "argv", ["sensorium", *map(str, arguments)])
        code = 0
        try:
            main.main()
        except SystemExit as stop:
            code = stop.code or 0
        printed = capsys.readouterr()
        return Result(code, printed.out, printed.err)

    return call
