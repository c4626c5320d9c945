"""Our networks, loaded from what transformers writes, against transformers: the same numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from references import (
    CLIPS,
    KINDS,
    Reference,
    image_features,
    pixels,
    reference,
    relative,
    saved,
    text_features,
    tokens,
)
from torch import Tensor, nn

from sensorium.models.bert import Bert
from sensorium.models.clip import Clip
from sensorium.models.vit import VitClassifier
from sensorium.weights.load import build

BOUND = 1e-5


def taps(kind: str) -> list[tuple[str, str]]:
    """Pairs of module names, ours and the reference's, in the order of computation."""
    if kind == "vit":
        own = [("vit.patch_embedding", "vit.embeddings.patch_embeddings.projection")]
        return own + [(f"vit.blocks.{i}", f"vit.layers.{i}") for i in range(3)] + [("head", "classifier")]
    layer = "text_model.encoder.layer" if kind == "chinese_clip" else "text_model.encoder.layers"
    pairs = [("vision.patch_embedding", "vision_model.embeddings.patch_embedding")]
    pairs += [(f"vision.blocks.{i}", f"vision_model.encoder.layers.{i}") for i in range(3)]
    if kind == "siglip2":
        pairs += [("vision.pool", "vision_model.head")]
    # the last text block computes the pooled token alone; the final comparison covers it
    return pairs + [(f"text.blocks.{i}", f"{layer}.{i}") for i in range(2)]


def recorded(network: nn.Module, names: list[str], run: Any) -> dict[str, Tensor]:
    out: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            out[name] = output[0] if isinstance(output, tuple) else output

        return hook

    handles = [network.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    with torch.no_grad():
        run(network)
    for handle in handles:
        handle.remove()
    return out


def first_divergence(kind: str, ours: nn.Module, ref: Reference) -> str | None:
    """The first module whose output differs, or None: where to look when the end does not agree."""
    pairs = taps(kind)
    images, (ids, mask) = pixels(), tokens(kind)

    def run_ours(network: Any) -> None:
        network(images) if kind == "vit" else network(images, ids, mask)

    def run_theirs(network: Any) -> None:
        image_features(ref, images)
        if kind != "vit":
            text_features(ref, ids, mask)

    mine = recorded(ours, [a for a, _ in pairs], run_ours)
    theirs = recorded(ref.network, [b for _, b in pairs], run_theirs)
    for a, b in pairs:
        expected = theirs[b]
        if mine[a].ndim == 3:  # the last block of a class-token tower computes the first token alone
            expected = expected[:, : mine[a].shape[1]]
        # rows of pads are read by nobody, and the reference masks them where we leave them causal
        real = mask.bool() if a.startswith("text") and kind != "siglip2" else slice(None)
        if relative(mine[a][real], expected[real]) > BOUND:
            return a
    return None


@pytest.mark.parametrize("kind", KINDS)
def test_no_module_diverges(kind: str, tmp_path: Path) -> None:
    ref = reference(kind)
    assert first_divergence(kind, build(saved(ref, tmp_path)), ref) is None


def test_the_divergent_module_is_named(tmp_path: Path) -> None:
    ref = reference("laion")
    ours = build(saved(ref, tmp_path))
    with torch.no_grad():
        ours.get_submodule("vision.blocks.1.mlp.up").bias[0] += 1e-2  # type: ignore[operator, index]
    assert first_divergence("laion", ours, ref) == "vision.blocks.1"


@pytest.mark.parametrize("kind", CLIPS)
def test_embeddings_and_logits(kind: str, tmp_path: Path) -> None:
    ref = reference(kind)
    ours = build(saved(ref, tmp_path))
    assert isinstance(ours, Clip)
    images, (ids, mask) = pixels(), tokens(kind)
    with torch.no_grad():
        image, text = ours.encode_image(images), ours.encode_text(ids, mask)
        logits = ours.similarity(image, text)
        given = {} if kind == "siglip2" else {"attention_mask": mask}
        theirs = ref.network(input_ids=ids, pixel_values=images, **given).logits_per_image
    assert relative(image, image_features(ref, images)) <= BOUND
    assert relative(text, text_features(ref, ids, mask)) <= BOUND
    assert relative(logits, theirs) <= BOUND


@pytest.mark.parametrize("kind", ["openai", "openai_legacy", "laion"])
def test_running_only_the_tokens_present_is_exact(kind: str, tmp_path: Path) -> None:
    ref = reference(kind)
    ours = build(saved(ref, tmp_path))
    assert isinstance(ours, Clip)
    full = torch.full((1, 16), 98)
    full[0, :5] = torch.tensor([97, 3, 14, 15, 98])
    short = full[:, :5]
    with torch.no_grad():
        mine = ours.encode_text(short, torch.ones_like(short))
    assert relative(mine, text_features(ref, full, torch.ones_like(full))) <= BOUND


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("height", "width"), [(40, 40), (16, 16), (32, 56), (33, 17)])
def test_other_sizes_by_interpolation(kind: str, height: int, width: int, tmp_path: Path) -> None:
    ref = reference(kind)
    ours = build(saved(ref, tmp_path))
    images = pixels(height, width)
    with torch.no_grad():
        mine = ours(images) if isinstance(ours, VitClassifier) else ours.encode_image(images)  # type: ignore[operator]
    assert relative(mine, image_features(ref, images, interpolate_pos_encoding=True)) <= BOUND


@pytest.mark.parametrize("kind", KINDS)
def test_attention_maps(kind: str, tmp_path: Path) -> None:
    ref = reference(kind)
    ours = build(saved(ref, tmp_path))
    tower = ours.vit if isinstance(ours, VitClassifier) else ours.vision
    theirs = ref.network if kind == "vit" else ref.network.vision_model
    with torch.no_grad():
        mine = tower.attention_maps(pixels())  # type: ignore[operator, union-attr]
        expected = theirs(pixels(), output_attentions=True).attentions
    assert len(mine) == len(expected) == 3
    for a, b in zip(mine, expected, strict=True):
        assert a.shape == b.shape
        assert relative(a, b) <= BOUND


@pytest.mark.parametrize("kind", CLIPS)
def test_bfloat16_stays_close(kind: str, tmp_path: Path) -> None:
    ref = reference(kind)
    ours = build(saved(ref, tmp_path), dtype=torch.bfloat16)
    assert isinstance(ours, Clip)
    assert {p.dtype for p in ours.parameters()} == {torch.bfloat16}
    images, (ids, mask) = pixels(), tokens(kind)
    with torch.no_grad():
        pairs = [
            (ours.encode_image(images), image_features(ref, images)),
            (ours.encode_text(ids, mask), text_features(ref, ids, mask)),
        ]
    for mine, theirs in pairs:
        cosine = torch.nn.functional.cosine_similarity(mine.float(), theirs, dim=-1)
        assert cosine.min() >= 0.999


@pytest.mark.parametrize("act", ["gelu", "gelu_pytorch_tanh"])
def test_bert_as_e5_uses_it(act: str) -> None:
    import transformers
    from references import TEXT, randomized

    from sensorium.weights.maps.chinese_clip import BERT_DEFAULTS, bert_rules, read_bert
    from sensorium.weights.maps.common import Fields
    from sensorium.weights.rules import COMPUTED, renamed

    theirs = randomized(
        transformers.BertModel(transformers.BertConfig(**TEXT, hidden_act=act, attn_implementation="eager"))
    )
    raw = theirs.config.to_dict()  # type: ignore[operator, union-attr]
    ours = Bert(read_bert(Fields({**BERT_DEFAULTS, **raw}, "the file"))).eval()
    expected = {key: tensor.shape for key, tensor in ours.state_dict().items()}
    rules = [*bert_rules("", ""), *COMPUTED]
    ours.load_state_dict(renamed(iter(theirs.state_dict().items()), rules, expected), assign=True)
    ids, mask = tokens("chinese_clip")
    with torch.no_grad():
        states = theirs(input_ids=ids, attention_mask=mask).last_hidden_state
        present = mask.unsqueeze(-1).float()
        mean = (states * present).sum(1) / present.sum(1)
        assert relative(ours(ids, mask) * present, states * present) <= BOUND
        assert relative(ours.mean(ids, mask), mean) <= BOUND
        assert relative(ours.first(ids, mask), states[:, 0]) <= BOUND


def vit_variant(folder: Path, kind: str, **other: Any) -> tuple[nn.Module, nn.Module]:
    import transformers
    from references import VISION, model_files, randomized

    config = transformers.ViTConfig(**{**VISION, **other}, num_labels=5, attn_implementation="eager")
    theirs = randomized(getattr(transformers, kind)(config))
    theirs.save_pretrained(folder)  # type: ignore[operator, union-attr]
    return build(model_files(folder, "vit")), theirs


def test_vit_of_a_native_oblong_and_without_qkv_bias(tmp_path: Path) -> None:
    ours, theirs = vit_variant(tmp_path, "ViTForImageClassification", image_size=[16, 40], qkv_bias=False)
    with torch.no_grad():
        assert relative(ours(pixels(16, 40)), theirs(pixels(16, 40)).logits) <= BOUND


def test_vit_without_a_classifier_is_its_class_token(tmp_path: Path) -> None:
    ours, theirs = vit_variant(tmp_path, "ViTModel")
    with torch.no_grad():
        expected = theirs(pixels()).last_hidden_state
        assert relative(ours(pixels()), expected[:, 0]) <= BOUND
        assert relative(ours.get_submodule("vit").tokens(pixels()), expected) <= BOUND  # type: ignore[operator]
