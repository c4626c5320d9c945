"""The preparation in a checkpoint's files is read in every style that is about, and nothing is guessed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from sensorium.errors import CheckpointError
from sensorium.media.image import ImageSpec
from sensorium.media.text import TextSpec
from sensorium.weights.preprocess import image_fields, read_image_spec, read_text_spec, text_fields

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)
CLIP = ImageSpec(224, 224, "crop", 224, "bicubic", MEAN, STD)

OPENAI: dict[str, Any] = {  # as the repositories of 2021 have it
    "crop_size": 224,
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": list(MEAN),
    "image_std": list(STD),
    "resample": 3,
    "size": 224,
}
OPEN_CLIP: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 512,
        "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 32},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12},
    },
    "preprocess_cfg": {"mean": list(MEAN), "std": list(STD)},
}


def written(folder: Path, **contents: Any) -> Path:
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content), "utf-8")
    return folder


def test_the_first_style(tmp_path: Path) -> None:
    assert read_image_spec(written(tmp_path, preprocessor_config=OPENAI)) == CLIP


def test_the_first_style_without_a_crop_squashes(tmp_path: Path) -> None:
    old = {"do_normalize": True, "do_resize": True, "image_mean": HALF, "image_std": HALF, "size": 224}
    spec = read_image_spec(written(tmp_path, preprocessor_config=old | {"resample": 2}))
    assert spec == ImageSpec(224, 224, "squash", 224, "bilinear", HALF, HALF)


@pytest.mark.parametrize(
    ("processor", "expected"),
    [
        (CLIPImageProcessorPil(), CLIP),
        (
            CLIPImageProcessorPil(
                size={"shortest_edge": 40}, crop_size={"height": 32, "width": 24}, resample=1
            ),
            ImageSpec(32, 24, "crop", 40, "lanczos", MEAN, STD),
        ),
        (
            SiglipImageProcessorPil(size={"height": 256, "width": 192}, resample=2),
            ImageSpec(256, 192, "squash", 256, "bilinear", HALF, HALF),
        ),
        (ViTImageProcessorPil(), ImageSpec(224, 224, "squash", 224, "bilinear", HALF, HALF)),
    ],
)
def test_what_the_reference_writes_today(processor: Any, expected: ImageSpec, tmp_path: Path) -> None:
    processor.save_pretrained(tmp_path)
    assert read_image_spec(tmp_path) == expected
    nested = json.loads((tmp_path / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").unlink()
    written(tmp_path, processor_config={"processor_class": "X", "image_processor": nested})
    assert read_image_spec(tmp_path) == expected


def test_open_clip(tmp_path: Path) -> None:
    assert read_image_spec(written(tmp_path, open_clip_config=OPEN_CLIP)) == CLIP
    squash = {"resize_mode": "squash", "interpolation": "bilinear", "size": [64, 48]}
    config = OPEN_CLIP | {"preprocess_cfg": OPEN_CLIP["preprocess_cfg"] | squash}
    spec = read_image_spec(written(tmp_path, open_clip_config=config))
    assert spec == ImageSpec(64, 48, "squash", 64, "bilinear", MEAN, STD)


def test_a_processor_that_only_names_its_class_is_passed_over(tmp_path: Path) -> None:
    written(tmp_path, processor_config={"processor_class": "CLIPProcessor"}, open_clip_config=OPEN_CLIP)
    assert read_image_spec(tmp_path) == CLIP


@pytest.mark.parametrize(
    "field", ["image_mean", "image_std", "size", "crop_size", "resample", "do_center_crop"]
)
def test_a_missing_field_is_named(field: str, tmp_path: Path) -> None:
    without = {name: value for name, value in OPENAI.items() if name != field}
    with pytest.raises(CheckpointError, match=field):
        read_image_spec(written(tmp_path, preprocessor_config=without))


@pytest.mark.parametrize(
    "change",
    [
        {"resample": 17},
        {"resample": "cubic"},
        {"image_mean": [0.5, 0.5]},
        {"image_std": "half"},
        {"size": {"longest_edge": 224}},
        {"size": {"shortest_edge": 224, "longest_edge": 300}},
        {"crop_size": {"height": 224}},
        {"size": {"height": 256, "width": 256}},
        {"rescale_factor": 1.0},
        {"do_normalize": False},
        {"size": {"shortest_edge": 224}, "do_center_crop": False},
    ],
)
def test_what_cannot_be_carried_out_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json"):
        read_image_spec(written(tmp_path, preprocessor_config=OPENAI | change))


@pytest.mark.parametrize(
    "change",
    [
        {"preprocess_cfg": {"mean": list(MEAN)}},
        {"preprocess_cfg": {"mean": list(MEAN), "std": list(STD), "resize_mode": "longest"}},
        {"preprocess_cfg": {"mean": list(MEAN), "std": list(STD), "size": [2, 3]}},
        {"preprocess_cfg": 3},
        {"model_cfg": {"vision_cfg": {}}},
    ],
)
def test_open_clip_is_not_guessed_either(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"open_clip_config\.json"):
        read_image_spec(written(tmp_path, open_clip_config=OPEN_CLIP | change))


def test_files_that_are_no_json(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"put preprocessor_config\.json there"):
        read_image_spec(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(CheckpointError, match="not JSON"):
        read_image_spec(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="JSON object"):
        read_image_spec(tmp_path)


sides = st.integers(1, 2000)
numbers = st.floats(0.01, 1).map(lambda value: round(value, 6))
triples = st.tuples(numbers, numbers, numbers)


@given(
    st.sampled_from(["crop", "squash"]),
    sides,
    sides,
    sides,
    st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]),
    triples,
    triples,
)
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    fit: Any,
    height: int,
    width: int,
    resize: int,
    resample: Any,
    mean: Any,
    std: Any,
) -> None:
    spec = ImageSpec(height, width, fit, resize if fit == "crop" else height, resample, mean, std)
    folder = written(tmp_path_factory.mktemp("spec"), preprocessor_config=image_fields(spec))
    assert read_image_spec(folder) == spec


def test_words_of_clip(tmp_path: Path) -> None:
    written(tmp_path, vocab={"<|startoftext|>": 7, "<|endoftext|>": 9})
    spec = read_text_spec(tmp_path, "clip", {"model_type": "clip", "text_config": {}})
    assert spec == TextSpec(77, "none", 9, True, start="<|startoftext|>", end="<|endoftext|>")
    config = {"text_config": {"max_position_embeddings": 16}}
    written(tmp_path, tokenizer_config={"pad_token": {"content": "<|startoftext|>"}, "model_max_length": 77})
    spec = read_text_spec(tmp_path, "clip", config)
    assert (spec.context_length, spec.pad_id) == (16, 7)  # type: ignore[union-attr]


def test_words_of_open_clip(tmp_path: Path) -> None:
    written(tmp_path, tokenizer={"added_tokens": [{"content": "<|endoftext|>", "id": 49407}]})
    spec = read_text_spec(tmp_path, "clip", OPEN_CLIP)
    assert (spec.context_length, spec.pad_id) == (77, 49407)  # type: ignore[union-attr]


def test_words_of_siglip_2(tmp_path: Path) -> None:
    tokens = {
        "added_tokens_decoder": {"0": {"content": "<pad>"}},
        "pad_token": "<pad>",
        "do_lower_case": False,
    }
    written(tmp_path, tokenizer_config=tokens | {"model_max_length": 10**30}, tokenizer={})
    spec = read_text_spec(tmp_path, "siglip", {"text_config": {"vocab_size": 256000}})
    assert spec == TextSpec(64, "fixed", 0, True, end="<eos>")
    written(tmp_path, tokenizer_config=tokens | {"tokenizer_class": "SiglipTokenizer"})
    with pytest.raises(CheckpointError, match="SigLIP 1"):
        read_text_spec(tmp_path, "siglip", {})
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"no tokenizer\.json"):
        read_text_spec(tmp_path, "siglip", {})


def test_words_of_chinese_clip(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[UNK]\n[PAD]\n海\n", "utf-8")
    spec = read_text_spec(tmp_path, "chinese_clip", {"text_config": {"max_position_embeddings": 512}})
    assert spec == TextSpec(512, "none", 1, True, start="[CLS]", end="[SEP]")
    written(
        tmp_path, tokenizer_config={"do_lower_case": False, "model_max_length": 52, "strip_accents": True}
    )
    spec = read_text_spec(tmp_path, "chinese_clip", {})
    assert spec == TextSpec(52, "none", 1, False, start="[CLS]", end="[SEP]", strip_accents=True)


def test_words_of_mini_clip(tmp_path: Path) -> None:
    written(tmp_path, tokenizer={"added_tokens": [{"content": "<pad>", "id": 1}]})
    config = {"text_config": {"max_position_embeddings": 128, "prefix": "query: "}}
    spec = read_text_spec(tmp_path, "mini_clip", config)
    assert spec == TextSpec(128, "none", 1, False, prefix="query: ")
    with pytest.raises(CheckpointError, match="max_position_embeddings"):
        read_text_spec(tmp_path, "mini_clip", {})


def test_models_without_words(tmp_path: Path) -> None:
    assert read_text_spec(tmp_path, "vit", {}) is None


def test_an_unknown_padding_token_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="endoftext"):
        read_text_spec(tmp_path, "clip", {})


@pytest.mark.parametrize(
    ("family", "spec"),
    [
        ("clip", TextSpec(77, "none", 3, True, start="<|startoftext|>", end="<|endoftext|>")),
        ("siglip", TextSpec(64, "fixed", 3, True, end="<eos>")),
        ("chinese_clip", TextSpec(52, "none", 3, True, start="[CLS]", end="[SEP]", split_chinese=False)),
        ("mini_clip", TextSpec(128, "none", 3, False, prefix="query: ")),
    ],
)
def test_words_are_read_back(family: str, spec: TextSpec, tmp_path: Path) -> None:
    written(tmp_path, tokenizer_config=text_fields(spec, "pad!"), vocab={"pad!": 3}, tokenizer={})
    config = {"text_config": {"max_position_embeddings": 512}}
    assert read_text_spec(tmp_path, family, config) == spec
