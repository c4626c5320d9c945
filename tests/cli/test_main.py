"""The command itself: version, help, and how errors end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import sensorium


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-m", "sensorium", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


def test_version() -> None:
    assert run("--version").stdout.strip() == f"sensorium {sensorium.__version__}"


def test_help_names_every_command() -> None:
    shown = run("--help").stdout
    for command in ("index", "search", "similar", "status", "models", "train"):
        assert command in shown


def test_an_error_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    done = run("search", "cat", "--library", str(tmp_path / "none"))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("sensorium: ")
    assert done.stderr.count("\n") == 1


def test_an_unknown_option_is_exit_code_2() -> None:
    done = run("search", "--nonsense", "cat")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_closed_pipe_is_no_traceback() -> None:
    command = [sys.executable, "-m", "sensorium", "models", "list", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
