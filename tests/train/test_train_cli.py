"""``sensorium train``: settings are typed, mistakes are one line and exit code 2, runs are resumed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from small_run import small_run
from tiny_clip import write_colour_pictures, write_tiny_clip

from sensorium.cli import train as command
from sensorium.cli.main import main
from sensorium.errors import SensoriumError
from sensorium.train.loop import Note, StepRecord


@dataclass(frozen=True)
class Config:
    data: Path
    out: Path = Path("unset")
    steps: int = 5
    rate: float = 0.5
    careful: bool = False
    limit: float | None = 1.0
    kind: Literal["one", "two"] = "one"
    parts: tuple[str, ...] = ()
    factors: dict[str, float] = field(default_factory=dict)


def run(config: Config, *, resume: bool = False) -> Iterator[StepRecord | Note]:
    yield Note(f"data {config.data.name}")
    yield from small_run(config.out, config.steps, resume=resume)
    if config.careful:
        yield Note("left out a.png: broken", refused=True)


@pytest.fixture
def sensorium(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command line in this process: exit code, standard output, standard error."""
    module = types.ModuleType("a_recipe_for_tests")
    module.Config, module.run = Config, run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(command.RECIPES, "small", module.__name__)

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sensorium", "train", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return call


def test_settings_get_the_types_of_their_fields() -> None:
    given = {
        "data": "x/y.csv",
        "steps": "7",
        "rate": "1e-3",
        "careful": "true",
        "limit": "none",
        "kind": "two",
        "parts": "a, b.c",
        "factors": '{"vision.": 0.1}',
    }
    made = command.make_config(Config, given, resume=False)
    assert made == Config(
        Path("x/y.csv"), Path("unset"), 7, 1e-3, True, None, "two", ("a", "b.c"), {"vision.": 0.1}
    )
    assert command.make_config(Config, {"data": "a", "parts": '["x,y"]'}, resume=False).parts == ("x,y",)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (
            ["nothing"],
            "no recipe is called 'nothing'; there are contrastive, mask-engine, mini-clip, mini-sam, "
            "mini-vlm, small",
        ),
        (["small", "--set", "data=x", "--set", "stepz=3"], "no setting 'stepz'; there are data, out, steps,"),
        (
            ["small", "--set", "data=x", "--set", "steps=many"],
            "setting steps=many: input should be a valid integer",
        ),
        (
            ["small", "--set", "data=x", "--set", "kind=three"],
            "setting kind=three: input should be 'one' or 'two'",
        ),
        (
            ["small", "--set", "data=x", "--set", "factors=3"],
            "setting factors=3: input should be a valid dict",
        ),
        (["small", "--set", "steps"], "--set steps: write KEY=VALUE"),
        (["small", "--set", "steps=2"], "this recipe needs a value for 'data'"),
        (["contrastive", "--set", "data=x", "--set", "crop-area=2"], "crop_area is 2.0; it must be above 0"),
        (["contrastive", "--set", "data=no/such.csv"], "no/such.csv is neither a list of pairs nor a folder"),
    ],
)
def test_mistakes_are_one_line_and_code_2(
    sensorium: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = sensorium(*words)
    assert (code, out) == (2, "")
    assert reason in err
    assert err.count("\n") == 1


def test_a_run_is_remembered_and_resumed_with_its_settings(sensorium: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    code, printed, notes = sensorium(
        "small", "--set", "data=d.csv", "--set", f"out={out}", "--set", "rate=0.25"
    )
    assert code == 0
    assert printed.startswith("step 5 of 5: loss ")
    assert printed.count("\n") == 1
    assert re.fullmatch(r"data d\.csv\nstep 5: spread [\d.]+\n", notes), "no bar where there is no terminal"
    remembered = json.loads((out / "config.json").read_text())
    assert (remembered["rate"], remembered["steps"], remembered["limit"]) == (0.25, 5, 1.0)
    code, _, err = sensorium("small", "--set", "data=d.csv", "--set", f"out={out}")
    assert code == 2
    assert "holds a run up to step 5; continue it with --resume" in err
    assert json.loads((out / "config.json").read_text()) == remembered
    code, printed, notes = sensorium("small", "--resume", "--set", f"out={out}", "--set", "steps=8")
    assert code == 0
    assert printed.startswith("step 8 of 8")
    changed = json.loads((out / "config.json").read_text())
    assert changed == {**remembered, "steps": 8}
    (out / "config.json").write_text("{")
    code, _, err = sensorium("small", "--resume", "--set", f"out={out}")
    assert code == 2
    assert "config.json is damaged" in err


def test_json_is_one_object_a_line_and_refused_inputs_end_with_code_1(sensorium: Any, tmp_path: Path) -> None:
    words = ["small", "--json", "--set", "data=d", "--set", f"out={tmp_path}", "--set", "careful=yes"]
    code, printed, _ = sensorium(*words)
    events = [json.loads(line) for line in printed.splitlines()]
    assert code == 1
    assert events[0] == {"text": "data d", "refused": False}
    assert [event["step"] for event in events[1:-1]] == [1, 2, 3, 4, 5]
    assert events[-1]["refused"]


def test_settings_are_listed(sensorium: Any) -> None:
    code, printed, _ = sensorium("contrastive", "--settings")
    assert code == 0
    lines = {line.split()[0]: line for line in printed.splitlines()}
    assert "(required)" in lines["data"]
    assert lines["batch"].split() == ["batch", "int", "64"]


def test_naming_the_command_imports_no_torch() -> None:
    check = "import sys, sensorium.cli.train; sys.exit('torch' in sys.modules or 'pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0


def test_every_recipe_has_a_config_and_a_run() -> None:
    for name, module in command.RECIPES.items():
        recipe = __import__(module, fromlist=["run"])
        assert "out" in recipe.Config.__dataclass_fields__, name
        assert callable(recipe.run)


@pytest.mark.slow
def test_two_processes_under_torchrun_train_one_model(tmp_path: Path) -> None:
    model, pairs = write_tiny_clip(tmp_path / "model"), write_colour_pictures(tmp_path / "data")
    sums = []
    for launcher in ([], ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]):
        out = tmp_path / f"run-{len(launcher)}"
        words = ["-m", "sensorium", "train", "contrastive", f"--set=out={out}", f"--set=data={pairs}"]
        words += [f"--set=model={model}", "--set=steps=3", "--set=batch=9", "--set=lr=1e-3", "--json"]
        made = subprocess.run(
            [sys.executable, *launcher, *words],
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.returncode == 0, made.stderr
        records = [json.loads(line) for line in made.stdout.splitlines() if '"step"' in line]
        assert [record["step"] for record in records] == [1, 2, 3], "only the first process speaks"
        assert (out / "model" / "model.safetensors").is_file()
        sums.append([record["total"] for record in records])
    assert sums[0] == pytest.approx(sums[1], rel=1e-4)


def test_a_recipe_that_fails_names_its_reason(sensorium: Any, tmp_path: Path, monkeypatch: Any) -> None:
    def failing(config: Config, *, resume: bool = False) -> Iterator[Note]:
        yield Note("begun")
        raise SensoriumError("the disk is full")

    monkeypatch.setattr(sys.modules["a_recipe_for_tests"], "run", failing)
    code, _, err = sensorium("small", "--set", "data=d", "--set", f"out={tmp_path}")
    assert code == 2
    assert err == "begun\nsensorium: the disk is full\n"
