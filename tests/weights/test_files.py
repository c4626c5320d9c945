"""Models are found by name or folder, told apart by their config, and known by what they hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sensorium.errors import CheckpointError, ModelNotFoundError
from sensorium.weights import catalog, files
from sensorium.weights.files import family_of, find, folder_of, sha256s, weight_files

PREPROCESSOR = {
    "crop_size": 24,
    "do_center_crop": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "resample": 3,
    "size": 24,
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SENSORIUM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def made(folder: Path, **change: Any) -> Path:
    """A folder with everything that `find` reads; the weights are only bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_type": "clip", "text_config": {"max_position_embeddings": 16}} | change
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    (folder / "vocab.json").write_text(json.dumps({"<|startoftext|>": 0, "<|endoftext|>": 1}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_a_folder_is_a_model(tmp_path: Path) -> None:
    folder = made(tmp_path / "anything at all")
    for named in (folder, str(folder)):
        model = find(named)
        assert (model.name, model.folder, model.family) == ("anything at all", folder, "clip")
        assert model.config["text_config"] == {"max_position_embeddings": 16}
        assert model.image.resize == 24
        assert model.text is not None
        assert model.text.context_length == 16
        assert model.weights == (folder / "model.safetensors",)


def test_relative_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert find("mine").folder == find("./mine").folder == tmp_path / "mine"


def test_pulled_models_are_found_by_name(home: Path) -> None:
    made(home / "models" / "someone--something")
    model = find("someone/something")
    assert (model.name, model.folder) == ("someone/something", home / "models" / "someone--something")


def test_a_name_of_the_catalog_never_means_a_folder(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path / "openai" / "clip-vit-base-patch32")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelNotFoundError, match="models pull openai/clip-vit-base-patch32"):
        find("openai/clip-vit-base-patch32")
    made(home / "models" / "openai--clip-vit-base-patch32")
    assert find("openai/clip-vit-base-patch32").name == "openai/clip-vit-base-patch32"


def test_what_is_missing_is_said_in_one_line(home: Path, tmp_path: Path) -> None:
    cases = {
        "openai/clip-vit-base-patch32": ["pytorch_model.bin", "vocab.json", str(home / "models")],
        "someone/unknown": ["model.safetensors", "models pull someone/unknown"],
        "nonsense": ["no model is called 'nonsense'", "sensorium/mini-clip"],
        "./absent": ["config.json", "absent"],
        str(tmp_path / "absent" / "folder"): ["absent/folder"],
    }
    for name, words in cases.items():
        with pytest.raises(ModelNotFoundError) as caught:
            find(name)
        assert "\n" not in str(caught.value)
        assert all(word in str(caught.value) for word in words), str(caught.value)
    with pytest.raises(ModelNotFoundError, match="no folder"):
        find(tmp_path / "absent")


def test_the_config_decides_the_family(tmp_path: Path) -> None:
    misleading = made(tmp_path / "siglip-chinese-clip", model_type="chinese_clip")
    (misleading / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n")
    assert find(misleading).family == "chinese_clip"
    assert family_of({"model_cfg": {"vision_cfg": {}, "text_cfg": {}}}, tmp_path) == "clip"
    for config in ({}, {"model_type": "gpt2"}):
        with pytest.raises(CheckpointError, match="model_type"):
            family_of(config, tmp_path)
    for part in ({"vision_cfg": {"timm_model_name": "x"}}, {"text_cfg": {"hf_model_name": "x"}}):
        with pytest.raises(CheckpointError, match="other libraries"):
            family_of({"model_cfg": part}, tmp_path)


def test_open_clip_folders(tmp_path: Path) -> None:
    folder = made(tmp_path / "open")
    (folder / "config.json").unlink()
    (folder / "model.safetensors").rename(folder / "open_clip_model.safetensors")
    config = {
        "model_cfg": {"vision_cfg": {"image_size": 24}, "text_cfg": {"context_length": 12}},
        "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    model = find(folder)
    assert (model.family, model.config, model.weights[0].name) == (
        "clip",
        config,
        "open_clip_model.safetensors",
    )
    assert model.text is not None
    assert model.text.context_length == 12


def test_weights_may_be_sharded_or_pickled(tmp_path: Path) -> None:
    folder = made(tmp_path / "m")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    assert weight_files(folder) == (folder / "model.safetensors",)
    (folder / "model.safetensors").unlink()
    assert weight_files(folder) == (folder / "pytorch_model.bin",)
    table = {"weight_map": {"b": "two.safetensors", "a": "one.safetensors", "c": "one.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(table))
    (folder / "one.safetensors").write_bytes(b"1")
    with pytest.raises(ModelNotFoundError, match=r"put two\.safetensors into"):
        weight_files(folder)
    (folder / "two.safetensors").write_bytes(b"2")
    assert [path.name for path in weight_files(folder)] == ["one.safetensors", "two.safetensors"]
    (folder / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(CheckpointError, match="lists no weights"):
        weight_files(folder)
    for path in (*folder.glob("*.json"), *folder.glob("*.bin")):
        path.unlink()
    with pytest.raises(ModelNotFoundError, match=r"model\.safetensors"):
        weight_files(folder)


def test_the_fingerprint_changes_with_what_changes_vectors(tmp_path: Path) -> None:
    folder = made(tmp_path / "m")
    before = find(folder).fingerprint
    assert len(before) == 16
    assert find(folder).fingerprint == before
    (folder / "README.md").write_text("a card")
    (tmp_path / "m").rename(tmp_path / "moved")
    folder = tmp_path / "moved"
    assert find(folder).fingerprint == before
    seen = {before}
    (folder / "model.safetensors").write_bytes(b"w3ights")  # the same size
    seen.add(find(folder).fingerprint)
    (folder / "merges.txt").write_text("#version: 0.2\na b\n")
    seen.add(find(folder).fingerprint)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR | {"resample": 2}))
    seen.add(find(folder).fingerprint)
    made(folder, model_type="clip", projection_dim=3)
    seen.add(find(folder).fingerprint)
    assert len(seen) == 5


def test_hashes_are_remembered_until_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    read = []
    original = files.sha256
    monkeypatch.setattr(files, "sha256", lambda p: read.append(p) or original(p))
    first = sha256s((path,))
    assert sha256s((path,)) == first
    assert len(read) == 1
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))
    assert sha256s((path,)) != first
    assert len(read) == 2


def test_a_home_that_cannot_be_written_costs_only_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be")
    monkeypatch.setenv("SENSORIUM_HOME", str(blocked))
    assert len(find(made(tmp_path / "m")).fingerprint) == 16
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "hashes.json").write_text("{ cut")
    monkeypatch.setenv("SENSORIUM_HOME", str(broken))
    find(tmp_path / "m")
    assert json.loads((broken / "hashes.json").read_text())


def test_embedded_models_lie_in_the_package() -> None:
    folder = folder_of("sensorium/mini-clip")
    assert folder.parts[-4:] == ("sensorium", "weights", "embedded", "mini-clip")


def test_an_embedded_model_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = replace(catalog.ENTRIES[0], name="sensorium/no-such-model")
    monkeypatch.setattr(catalog, "ENTRIES", (gone,))
    with pytest.raises(ModelNotFoundError, match="install sensorium again"):
        find("sensorium/no-such-model")


def test_finding_a_model_imports_no_torch(tmp_path: Path) -> None:
    folder = made(tmp_path / "m")
    code = (
        "import sys; from sensorium.weights.files import find; from sensorium.media.text import Tokenizer\n"
        f"files = find({str(folder)!r}); Tokenizer.from_folder(files.folder, files.text).encode(['a'])\n"
        "assert not {'torch', 'huggingface_hub', 'transformers'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ})


def test_an_index_cannot_name_files_outside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.safetensors").write_bytes(b"")
    folder = tmp_path / "model"
    folder.mkdir()
    table = {"weight_map": {"a": "../secret.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(table))
    with pytest.raises(CheckpointError, match="no plain file name"):
        files.weight_files(folder)
