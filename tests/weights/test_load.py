"""Reading files: shards, pickles, types, and what is refused with one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import references as r
import torch

from sensorium.errors import CheckpointError
from sensorium.models.clip import Clip
from sensorium.weights.load import FAMILIES, build, read_tensors
from sensorium.weights.rules import COMPUTED


def equal(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    one, two = a.state_dict(), b.state_dict()
    return list(one) == list(two) and all(torch.equal(one[key], two[key]) for key in one)


def test_shards_and_pickles_give_the_same_network(tmp_path: Path) -> None:
    ref = r.reference("laion")
    whole = build(r.saved(ref, tmp_path / "whole"))
    ref.network.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    shards = r.model_files(tmp_path / "shards", "clip")
    assert len(shards.weights) > 3
    assert equal(build(shards), whole)
    pickled = r.written(ref, tmp_path / "bin", ref.network.state_dict(), "pytorch_model.bin")
    assert equal(build(pickled), whole)


def test_tensors_are_read_one_at_a_time(tmp_path: Path) -> None:
    ref = r.reference("laion")
    ref.network.save_pretrained(tmp_path, max_shard_size="20KB")
    files = r.model_files(tmp_path, "clip")
    stream = read_tensors(files.weights)
    first = next(stream)
    for path in files.weights[1:]:
        path.unlink()
    assert isinstance(first[1], torch.Tensor)  # the other shards had not been opened yet
    with pytest.raises(CheckpointError, match=files.weights[1].name):
        list(stream)


def test_loaded_network_is_ready(tmp_path: Path) -> None:
    network = build(r.saved(r.reference("chinese_clip"), tmp_path))
    assert isinstance(network, Clip)
    assert not network.training
    assert {p.device.type for p in network.parameters()} == {"cpu"}
    assert all(p.requires_grad for p in network.parameters())
    assert not list(network.buffers())


def test_half_precision_files_become_what_is_asked(tmp_path: Path) -> None:
    ref = r.reference("openai")
    half = {key: tensor.half() for key, tensor in ref.network.state_dict().items()}
    files = r.written(ref, tmp_path / "half", half, "model.safetensors")
    assert {p.dtype for p in build(files).parameters()} == {torch.float32}
    assert {p.dtype for p in build(files, dtype=torch.bfloat16).parameters()} == {torch.bfloat16}


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    ref = r.reference("laion")
    marker = tmp_path / "ran"

    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (marker,))

    files = r.written(ref, tmp_path / "bad", {}, "pytorch_model.bin")
    torch.save({"weight": Bomb()}, files.weights[0])
    with pytest.raises(
        CheckpointError, match=r"pytorch_model\.bin cannot be read as plain weights"
    ) as caught:
        build(files)
    assert "\n" not in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize("cut", [0, 4, 200, 5000])
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_cut_file_is_named(cut: int, name: str, tmp_path: Path) -> None:
    ref = r.reference("laion")
    files = r.written(ref, tmp_path / "cut", ref.network.state_dict(), name)
    files.weights[0].write_bytes(files.weights[0].read_bytes()[:cut])
    with pytest.raises(CheckpointError, match=name) as caught:
        build(files)
    assert str(files.folder) in str(caught.value)


def test_a_table_of_something_else_is_refused(tmp_path: Path) -> None:
    ref = r.reference("laion")
    files = r.written(ref, tmp_path / "odd", {}, "pytorch_model.bin")
    torch.save([1, 2], files.weights[0])
    with pytest.raises(CheckpointError, match="holds no table of weights"):
        build(files)
    torch.save({"logit_scale": 3.0}, files.weights[0])
    with pytest.raises(CheckpointError, match="logit_scale is not a tensor"):
        build(files)


def test_missing_and_misshapen_weights_are_named(tmp_path: Path) -> None:
    ref = r.reference("siglip2")
    state = ref.network.state_dict()
    del state["vision_model.head.probe"]
    state["logit_bias"] = torch.ones(3)
    files = r.written(ref, tmp_path / "gap", state, "model.safetensors")
    with pytest.raises(CheckpointError) as caught:
        build(files)
    assert "1 missing: vision.pool.probe" in str(caught.value)
    assert "1 of wrong shape: logit_bias [3] where [] fits" in str(caught.value)


def test_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    files = r.saved(r.reference("laion"), tmp_path)
    config = json.loads(json.dumps(files.config))
    config["vision_config"]["num_hidden_layers"] = 4
    with pytest.raises(CheckpointError, match=r"missing: vision.blocks.3.norm1.weight"):
        build(replace(files, config=config))
    config["vision_config"]["num_hidden_layers"] = 2
    with pytest.raises(CheckpointError, match=r"not known: vision_model.encoder.layers.2"):
        build(replace(files, config=config))


@pytest.mark.parametrize("kind", r.KINDS)
def test_config_out_and_in_again_is_the_identity(kind: str) -> None:
    ref = r.reference(kind)
    family = FAMILIES[ref.family]
    raw = {**ref.network.config.to_dict(), "architectures": [type(ref.network).__name__]}
    config = family.read_config(raw)
    assert family.read_config(family.write_config(config)) == config


@pytest.mark.parametrize(
    ("family", "raw", "named"),
    [
        ("clip", {"model_type": "clip", "vision_config": {}}, "text_config"),
        ("clip", {"model_type": "clip", "text_config": [], "vision_config": {}}, "text_config"),
        ("clip", {"model_type": "siglip", "text_config": {}, "vision_config": {}}, "model_type"),
        (
            "clip",
            {"model_type": "clip", "text_config": {}, "vision_config": {"hidden_act": "mish"}},
            "hidden_act",
        ),
        ("clip", {"model_type": "clip", "text_config": {}, "vision_config": {"patch_size": [8, 4]}}, "8x4"),
        ("siglip", {"model_type": "siglip2", "text_config": {}, "vision_config": {}}, "model_type"),
        (
            "siglip",
            {"model_type": "siglip", "text_config": {"projection_size": 5}, "vision_config": {}},
            "5 dimensions",
        ),
        (
            "siglip",
            {"model_type": "siglip", "text_config": {}, "vision_config": {"vision_use_head": False}},
            "vision_use_head",
        ),
        (
            "chinese_clip",
            {
                "model_type": "chinese_clip",
                "text_config": {"position_embedding_type": "relative_key"},
                "vision_config": {},
            },
            "position_embedding_type",
        ),
        ("vit", {"model_type": "vit", "architectures": ["ViTModel"]}, "image_size"),
        ("vit", {"model_type": "vit", "hidden_size": 8}, "architectures"),
        ("vit", {"architecture": "resnet50"}, "resnet50"),
    ],
)
def test_configs_that_are_not_understood_are_refused(family: str, raw: dict[str, Any], named: str) -> None:
    with pytest.raises(CheckpointError, match=named) as caught:
        FAMILIES[family].read_config(raw)
    assert "\n" not in str(caught.value)


def test_absent_fields_mean_what_the_format_says() -> None:
    """The hub's own SigLIP 2 states its vocabulary and little else; old CLIPs repeat a section as _dict."""
    import transformers

    sparse: dict[str, Any] = {
        "model_type": "siglip",
        "text_config": {"model_type": "siglip_text_model", "vocab_size": 256000},
        "vision_config": {"model_type": "siglip_vision_model"},
    }
    full = transformers.SiglipConfig(text_config={"vocab_size": 256000}, vision_config={}).to_dict()
    assert FAMILIES["siglip"].read_config(sparse) == FAMILIES["siglip"].read_config(full)
    for family, config in (
        ("clip", transformers.CLIPConfig(text_config={}, vision_config={})),
        ("chinese_clip", transformers.ChineseCLIPConfig(text_config={}, vision_config={})),
    ):
        bare = {"model_type": family, "text_config": {}, "vision_config": {}}
        assert FAMILIES[family].read_config(bare) == FAMILIES[family].read_config(config.to_dict())
    old = {
        "model_type": "clip",
        "text_config": {"hidden_size": 1},
        "text_config_dict": {"hidden_size": 768, "num_attention_heads": 12, "eos_token_id": 2},
        "vision_config": {},
        "vision_config_dict": None,
    }
    theirs = transformers.CLIPConfig(**{key: old[key] for key in old if key != "model_type"}).to_dict()  # type: ignore[arg-type]
    assert FAMILIES["clip"].read_config(old) == FAMILIES["clip"].read_config(theirs)
    assert FAMILIES["clip"].read_config(old).text.width == 768


def test_computed_buffers_are_ignored_by_name_only() -> None:
    assert any(rule.match("text_model.embeddings.position_ids") is not None for rule in COMPUTED)
    assert all(rule.match("text_model.embeddings.position_embedding.weight") is None for rule in COMPUTED)


def test_training_a_loaded_network_leaves_the_file_alone(tmp_path: Path) -> None:
    """Tensors may lie in the mapped file; writing to them must not reach it."""
    files = r.saved(r.reference("laion"), tmp_path)
    before = files.weights[0].read_bytes()
    network = build(files)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    assert files.weights[0].read_bytes() == before
    assert not equal(build(files), network)
