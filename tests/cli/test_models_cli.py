"""``sensorium models``, as it is typed: list, show, pull, verify, export; exit codes and JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from typer.testing import CliRunner

from sensorium.cli import main as command
from sensorium.cli.models import _show_progress, app
from sensorium.errors import ModelNotFoundError
from sensorium.weights import catalog
from sensorium.weights.files import find
from sensorium.weights.pull import Progress

sys.path.insert(0, str(Path(__file__).parents[1] / "weights"))

from hub import COMMIT, Hub, serve  # shared with the tests of the pull itself

NAME = "someone/something"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SENSORIUM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "300")
    return tmp_path / "home"


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP as its own library saves it."""
    folder = tmp_path_factory.mktemp("tiny") / "reference"
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = shape | {"vocab_size": 12, "max_position_embeddings": 8, "eos_token_id": 1, "bos_token_id": 0}
    config = CLIPConfig(
        text_config=text, vision_config=shape | {"image_size": 16, "patch_size": 8}, projection_dim=12
    )
    CLIPModel(config).save_pretrained(folder)
    vocabulary = {"<|startoftext|>": 0, "<|endoftext|>": 1} | {
        f"{letter}</w>": 2 + i for i, letter in enumerate("abc")
    }
    CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=8).save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}).save_pretrained(
        folder
    )
    return folder


@pytest.fixture
def pulled(reference: Path, home: Path) -> Path:
    """The tiny CLIP where a pull would have put it."""
    folder = home / "models" / "someone--something"
    folder.mkdir(parents=True)
    for path in reference.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.fixture
def hub(reference: Path) -> Iterator[Hub]:
    hub = Hub({path.name: path.read_bytes() for path in reference.iterdir()})
    server = serve(hub)
    yield hub
    server.shutdown()
    server.server_close()


def run(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.stdout


def run_json(*words: str, code: int = 0) -> Any:
    return json.loads(run(*words, "--json", code=code))


def test_the_list_has_the_catalog_and_what_was_pulled(pulled: Path) -> None:
    rows = {row["name"]: row for row in run_json("list")}
    assert set(rows) == {entry.name for entry in catalog.ENTRIES} | {NAME}
    assert rows[NAME]["installed"]
    assert not rows["openai/clip-vit-base-patch16"]["installed"]
    assert rows["openai/clip-vit-base-patch16"]["languages"] == ["en"]
    text = run("list")
    for name in rows:
        assert name in text
    assert "sensorium models pull NAME" in text


def test_show_tells_what_the_catalog_knows() -> None:
    row = run_json("show", "openai/clip-vit-large-patch14-336")
    assert row["revision"] == "ce19dc912ca5cd21c8a653c79e251e808ccabcd1"
    assert row["pinned"] == "by the catalog"
    assert row["image"]["height"] == 336
    assert "pytorch_model.bin" in row["files"]
    text = run("show", "OFA-Sys/chinese-clip-vit-base-patch16")
    assert "Chinese" in text
    assert "vocab.txt" in text
    assert "MIT" in text


def test_show_tells_what_the_files_declare(pulled: Path) -> None:
    row = run_json("show", NAME)
    assert (row["family"], row["installed"], row["weights"]) == ("clip", True, ["model.safetensors"])
    assert row["text"]["context_length"] == 8
    assert row["fingerprint"] == find(NAME).fingerprint
    assert row["pinned"].startswith("no: the newest revision")
    assert "shortest" not in run("show", NAME)


def test_show_of_an_unknown_model_is_a_bad_request() -> None:
    with pytest.raises(ModelNotFoundError, match="models pull nobody/nothing"):
        run("show", "nobody/nothing")


def test_verify_finds_a_sound_model_sound(pulled: Path) -> None:
    assert run_json("verify", NAME) == {"name": NAME, "folder": str(pulled), "ok": True, "faults": []}
    assert "is sound" in run("verify", NAME)
    assert "is sound" in run("verify", str(pulled))


def test_verify_names_each_fault(pulled: Path) -> None:
    state = load_file(pulled / "model.safetensors")
    del state["visual_projection.weight"]
    save_file(state, pulled / "model.safetensors", metadata={"format": "pt"})
    (fault,) = run_json("verify", NAME, code=1)["faults"]
    assert "projection" in fault
    tokenizer = json.loads((pulled / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["a</w>"] = 99
    (pulled / "tokenizer.json").write_text(json.dumps(tokenizer))
    faults = run("verify", NAME, code=1).splitlines()
    assert len(faults) == 2
    assert any("tokens up to 99" in fault for fault in faults)
    (pulled / "preprocessor_config.json").write_text("{}")
    (fault,) = run_json("verify", NAME, code=1)["faults"]
    assert "missing" in fault


def test_verify_compares_with_the_catalog(pulled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = catalog.entry("openai/clip-vit-base-patch32")
    assert known is not None
    entry = replace(known, name=NAME, sha256=MappingProxyType({"config.json": "0" * 64}))
    monkeypatch.setattr(catalog, "ENTRIES", (entry,))
    digest, preparation = run_json("verify", NAME, code=1)["faults"]
    assert digest.startswith("config.json has SHA-256")
    assert "prepared as" in preparation


def test_verify_of_an_absent_model_says_how_to_get_it() -> None:
    with pytest.raises(ModelNotFoundError, match="models pull openai/clip-vit-base-patch32"):
        run("verify", "openai/clip-vit-base-patch32")


def test_export_writes_what_other_libraries_read(pulled: Path, reference: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    row = run_json("export", NAME, "-o", str(output))
    assert {"config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"} <= set(
        row["files"]
    )
    ours, theirs = CLIPModel.from_pretrained(output), CLIPModel.from_pretrained(reference)
    for (key, value), expected in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        assert torch.equal(value, expected), key
    assert "is sound" in run("verify", str(output))
    assert "model.safetensors" in run("export", NAME, "-o", str(tmp_path / "again"))


def test_pull_over_http(hub: Hub, home: Path) -> None:
    """The whole command in a process of its own, against a hub on this machine."""
    environment = {**os.environ, "HF_ENDPOINT": hub.address, "NO_PROXY": "127.0.0.1", "SENSORIUM_OFFLINE": ""}
    words = [sys.executable, "-m", "sensorium", "models", "pull", NAME]
    done = subprocess.run([*words, "--json"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)
    assert (row["revision"], row["folder"]) == (COMMIT, str(home / "models" / "someone--something"))
    assert done.stderr == ""
    assert run_json("show", NAME)["pinned"] == "by the pull"
    assert run_json("verify", NAME)["ok"]


def test_pull_offline_is_one_line_and_exit_code_2(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("SENSORIUM_OFFLINE", "1")
    monkeypatch.setattr(sys, "argv", ["sensorium", "models", "pull", "google/siglip2-base-patch16-224"])
    with pytest.raises(SystemExit) as caught:
        command.main()
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert "model.safetensors at revision 75de2d55ec2d0b4efc50b3e9ad70dba96a7b2fa2 into" in line


def test_pull_consumes_the_progress_it_shows() -> None:
    steps = [Progress("config.json", 10, 30), Progress("model.safetensors", 30, 30)]
    consumed = []
    _show_progress(consumed.append(step) or step for step in steps)
    assert consumed == steps
