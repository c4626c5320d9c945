"""What is written in the hub layout loads here and in transformers, unchanged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import references as r
import torch
from safetensors.torch import load_file

from sensorium.errors import CheckpointError
from sensorium.models.clip import Clip
from sensorium.models.vit import Vit, VitClassifier, VitClassifierConfig
from sensorium.weights.load import FAMILIES, build
from sensorium.weights.save import export


@pytest.mark.parametrize("kind", r.KINDS)
def test_export_and_load_again_is_the_identity(kind: str, tmp_path: Path) -> None:
    ref = r.reference(kind)
    files = r.saved(ref, tmp_path / "in")
    network = build(files)
    export(network, files, tmp_path / "out")
    again = r.model_files(tmp_path / "out", ref.family)
    assert again.config == files.config
    one, two = load_file(files.weights[0]), load_file(again.weights[0])
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) and one[key].shape == two[key].shape for key in one)
    first, second = network.state_dict(), build(again).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("kind", r.KINDS)
@pytest.mark.parametrize("config", ["kept", "rewritten"])
def test_transformers_reads_what_is_written(kind: str, config: str, tmp_path: Path) -> None:
    ref = r.reference(kind)
    files = r.saved(ref, tmp_path / "in")
    network = build(files)
    if config == "rewritten":
        files.config.pop("model_type")  # no longer the hub's config: a new one is written
    export(network, files, tmp_path / "out")
    loaded, report = type(ref.network).from_pretrained(
        tmp_path / "out", output_loading_info=True, attn_implementation="eager"
    )
    assert not any(report[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    theirs = r.Reference(ref.family, loaded.eval())
    images = r.pixels()
    assert torch.equal(r.image_features(theirs, images), r.image_features(ref, images))
    if kind != "vit":
        ids, mask = r.tokens(kind)
        assert torch.equal(r.text_features(theirs, ids, mask), r.text_features(ref, ids, mask))


def test_original_layout_becomes_the_hub_layout(tmp_path: Path) -> None:
    ref = r.reference("laion")
    today = r.saved(ref, tmp_path / "today")
    state = r.openai_layout(load_file(today.weights[0]))
    files = r.written(ref, tmp_path / "original", state, "open_clip_model.safetensors")
    export(build(files), files, tmp_path / "out")
    one, two = load_file(today.weights[0]), load_file(tmp_path / "out" / "model.safetensors")
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_companions_travel_along(tmp_path: Path) -> None:
    files = r.saved(r.reference("laion"), tmp_path / "in")
    (files.folder / "tokenizer.json").write_text('{"a": 1}')
    (files.folder / "chat_template.jinja").write_text("{{ messages }}")
    (files.folder / "qformer_tokenizer").mkdir()
    (files.folder / "qformer_tokenizer" / "vocab.txt").write_text("one")
    (files.folder / "secret.bin").write_text("not ours to copy")
    export(build(files), files, tmp_path / "deep" / "out")
    names = {path.name for path in (tmp_path / "deep" / "out").rglob("*") if path.is_file()}
    always = {"config.json", "model.safetensors", "preprocessor_config.json"}
    assert names == always | {"tokenizer.json", "chat_template.jinja", "vocab.txt"}
    from sensorium.weights.preprocess import read_image_spec

    assert read_image_spec(tmp_path / "deep" / "out") == files.image
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]  # nothing temporary is left


def test_a_full_folder_is_not_overwritten(tmp_path: Path) -> None:
    files = r.saved(r.reference("laion"), tmp_path / "in")
    network = build(files)
    before = (files.folder / "model.safetensors").read_bytes()
    with pytest.raises(CheckpointError, match="not empty"):
        export(network, files, files.folder)
    assert (files.folder / "model.safetensors").read_bytes() == before
    (tmp_path / "empty").mkdir()
    export(network, files, tmp_path / "empty")
    assert (tmp_path / "empty" / "model.safetensors").is_file()


def test_a_failed_export_leaves_nothing(tmp_path: Path) -> None:
    files = r.saved(r.reference("laion"), tmp_path / "in")
    network = build(files)
    network.stranger = torch.nn.Parameter(torch.ones(1))  # type: ignore[assignment]
    with pytest.raises(CheckpointError, match="stranger"):
        export(network, files, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_changed_network_gets_a_new_config(tmp_path: Path) -> None:
    files = r.saved(r.reference("vit"), tmp_path / "in")
    network = build(files)
    assert isinstance(network, VitClassifier)
    other = VitClassifier(VitClassifierConfig(network.config.vit, 7))
    export(other, files, tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert len(config["id2label"]) == 7
    again = build(r.model_files(tmp_path / "out", "vit"))
    assert torch.equal(again.state_dict()["head.weight"], other.state_dict()["head.weight"])


def test_what_the_hub_layout_cannot_say_is_refused(tmp_path: Path) -> None:
    from dataclasses import replace

    files = r.saved(r.reference("vit"), tmp_path / "in")
    network = build(files)
    assert isinstance(network, VitClassifier)
    vit = replace(network.config.vit, registers=4)
    with pytest.raises(CheckpointError, match="cannot be written"):
        export(VitClassifier(VitClassifierConfig(vit, 5)), files, tmp_path / "out")


def test_a_wrong_family_is_refused(tmp_path: Path) -> None:
    chinese = build(r.saved(r.reference("chinese_clip"), tmp_path / "zh"))
    clip = build(r.saved(r.reference("laion"), tmp_path / "en"))
    assert isinstance(chinese, Clip)
    assert isinstance(clip, Clip)
    for family, config in (
        ("clip", chinese.config),
        ("siglip", chinese.config),
        ("chinese_clip", clip.config),
    ):
        with pytest.raises(CheckpointError, match="text tower"):
            FAMILIES[family].write_config(config)
    assert isinstance(clip.vision, Vit)
