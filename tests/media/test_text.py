"""Token ids equal those of the reference's tokenizers, whichever files a checkpoint carries."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import models, normalizers, pre_tokenizers, trainers
from transformers import BertTokenizer, CLIPTokenizer, Siglip2Tokenizer

from sensorium.errors import CheckpointError
from sensorium.media.text import TextSpec, Tokenizer

CORPUS = [
    "a photo of a cat on the sofa, and it's raining",
    "the sunset at the beach last summer with friends and family",
    "two dogs don't run across the green field in 2021",
    "海边的日落和一只猫",
    "一张在雪山上拍的照片，孩子们在笑",
    "naïve café déjà-vu über straße",
] * 3
TEXTS = [
    "a photo of a cat",
    "A PHOTO of a Cat!!!  it's 12:30 — don't",
    "海边的日落",
    "一张 mixed 照片 2021年 with English",
    "😀 family 👨‍👩‍👧 flag 🇨🇳 zero\u200bwidth",
    "",
    "   \t\n ",
    "İstanbul ΣΊΣΥΦΟΣ ǅ ﬁ ½ ½ e\u0301 \u1e9b\u0323",
    "word " * 300,
    "<|endoftext|> inside [SEP] <eos> &amp; &lt;b&gt;",
    "a\u00a0b\u2028c\u0000d\ufffd",
]


def clip_files(folder: Path) -> Path:
    """vocab.json and merges.txt of a small CLIP-like vocabulary, as the hub has them."""
    core = tokenizers.Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        end_of_word_suffix="</w>",
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(CORPUS, trainer)
    model = json.loads(core.to_str())["model"]
    tokens = list(model["vocab"])
    tokens += [f"{letter}</w>" for letter in pre_tokenizers.ByteLevel.alphabet()]
    tokens = [*dict.fromkeys(tokens), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: index for index, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), "utf-8")
    merges = "\n".join(["#version: 0.2", *(" ".join(pair) for pair in model["merges"])])
    (folder / "merges.txt").write_text(merges + "\n", "utf-8")
    return folder


def bert_file(folder: Path) -> Path:
    """vocab.txt with English pieces and Chinese characters."""
    words = {word for line in CORPUS for word in line.lower().replace("，", " ").split()}
    characters = sorted({character for line in CORPUS for character in line if not character.isspace()})
    pieces = sorted({word[:3] for word in words} | words) + [f"##{character}" for character in characters]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys([*characters, *pieces])]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", "utf-8")
    return folder


def gemma_reference() -> Siglip2Tokenizer:
    """SigLIP 2's tokenizer with a vocabulary of single characters, bytes and a few merges."""
    tokens = [
        "<pad>",
        "<eos>",
        "<bos>",
        "<unk>",
        "<mask>",
        *(f"<0x{value:02X}>" for value in range(256)),
        "▁",
    ]
    tokens += sorted({character for line in CORPUS for character in line if character != " "})
    merges = [("t", "h"), ("th", "e"), ("▁", "a"), ("o", "f"), ("海", "边")]
    tokens += ["".join(pair) for pair in merges]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    return Siglip2Tokenizer(vocab=vocabulary, merges=merges, add_bos_token=False, add_eos_token=True)


CLIP_SPEC = TextSpec(
    context_length=77,
    padding="none",
    pad_id=0,
    lowercase=True,
    start="<|startoftext|>",
    end="<|endoftext|>",
)
BERT_SPEC = TextSpec(52, "none", 0, True, start="[CLS]", end="[SEP]")
SIGLIP_SPEC = TextSpec(64, "fixed", 0, True, end="<eos>")


@pytest.fixture(scope="module")
def cases(
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, tuple[Tokenizer, Callable[[str], list[int]]]]:
    """Ours and the reference's ids of one text, per kind of files."""
    root = tmp_path_factory.mktemp("vocabularies")
    clip = CLIPTokenizer.from_pretrained(clip_files(root / "clip"), model_max_length=77)
    clip.save_pretrained(root / "clip json")
    bert = BertTokenizer.from_pretrained(bert_file(root / "bert"), model_max_length=52)
    bert.save_pretrained(root / "bert json")
    cased = BertTokenizer(vocab=str(bert_file(root / "cased") / "vocab.txt"), do_lower_case=False)
    gemma = gemma_reference()
    gemma.save_pretrained(root / "gemma")
    forgetful = root / "forgetful"  # as the hub's file: no lower case, and nothing that adds the end
    gemma.save_pretrained(forgetful)
    whole = json.loads((forgetful / "tokenizer.json").read_text("utf-8"))
    whole["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    whole["post_processor"] = None
    whole["padding"] = {"strategy": "BatchLongest", "direction": "Left", "pad_id": 3, "pad_type_id": 0}
    whole["padding"] |= {"pad_to_multiple_of": None, "pad_token": "<unk>"}
    whole["truncation"] = {"direction": "Left", "max_length": 9, "strategy": "LongestFirst", "stride": 0}
    (forgetful / "tokenizer.json").write_text(json.dumps(whole), "utf-8")

    def ids(reference: Any, length: int, **options: Any) -> Callable[[str], list[int]]:
        return lambda text: list(
            reference(text, truncation=True, max_length=length, padding_side="right", **options)["input_ids"]
        )

    fixed = {"padding": "max_length"}
    cased_spec = TextSpec(52, "none", 0, False, start="[CLS]", end="[SEP]")
    return {
        "clip": (Tokenizer.from_folder(root / "clip", CLIP_SPEC), ids(clip, 77)),
        "clip json": (Tokenizer.from_folder(root / "clip json", CLIP_SPEC), ids(clip, 77)),
        "bert": (Tokenizer.from_folder(root / "bert", BERT_SPEC), ids(bert, 52)),
        "bert json": (Tokenizer.from_folder(root / "bert json", BERT_SPEC), ids(bert, 52)),
        "cased bert": (Tokenizer.from_folder(root / "cased", cased_spec), ids(cased, 52)),
        "gemma": (Tokenizer.from_folder(root / "gemma", SIGLIP_SPEC), ids(gemma, 64, **fixed)),
        "forgetful gemma": (Tokenizer.from_folder(forgetful, SIGLIP_SPEC), ids(gemma, 64, **fixed)),
    }


KINDS = ["clip", "clip json", "bert", "bert json", "cased bert", "gemma", "forgetful gemma"]


@pytest.mark.parametrize("kind", KINDS)
def test_ids_equal_the_reference(kind: str, cases: dict[str, Any]) -> None:
    ours, reference = cases[kind]
    for text in TEXTS:
        batch = ours.encode([text])
        assert batch.ids[0].tolist() == reference(text), text
        assert batch.ids.dtype == batch.mask.dtype == np.int64


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=120))
@pytest.mark.parametrize("kind", KINDS)
def test_any_text_equals_the_reference(kind: str, cases: dict[str, Any], text: str) -> None:
    ours, reference = cases[kind]
    assert ours.encode([text]).ids[0].tolist() == reference(text)


def test_long_texts_keep_their_end(cases: dict[str, Any]) -> None:
    for kind, length, end in (("clip", 77, "<|endoftext|>"), ("bert", 52, "[SEP]"), ("gemma", 64, "<eos>")):
        ours, _ = cases[kind]
        batch = ours.encode(["many words " * 500])
        assert batch.ids.shape == (1, length)
        assert batch.ids[0, -1] == ours.token_id(end)


def test_without_padding_only_the_tokens_present_are_kept(cases: dict[str, Any]) -> None:
    ours, reference = cases["clip"]
    texts = ["a cat", "a photo of a cat on the sofa", ""]
    batch = ours.encode(texts)
    expected = [reference(text) for text in texts]
    assert batch.ids.shape == batch.mask.shape == (3, max(map(len, expected)))
    for ids, mask, row in zip(batch.ids, batch.mask, expected, strict=True):
        assert ids[: len(row)].tolist() == row
        assert mask.tolist() == [1] * len(row) + [0] * (len(mask) - len(row))
        assert (ids[len(row) :] == ours.spec.pad_id).all()


def test_fixed_padding_is_looked_at(cases: dict[str, Any]) -> None:
    """SigLIP was trained without a mask: a mask over the padding inverts rankings."""
    batch = cases["gemma"][0].encode(["a", "the cat"])
    assert batch.ids.shape == (2, 64)
    assert batch.mask.all()
    assert (batch.ids[0, 2:] == 0).all()


def test_a_batch_is_its_texts(cases: dict[str, Any]) -> None:
    for kind in KINDS:
        ours, _ = cases[kind]
        batch = ours.encode(TEXTS)
        for row, mask, text in zip(batch.ids, batch.mask, TEXTS, strict=True):
            assert row[mask == 1].tolist() == ours.encode([text]).ids[0].tolist()
        assert ours.encode([]).ids.shape[0] == 0


def test_the_prefix_comes_first(cases: dict[str, Any], tmp_path: Path) -> None:
    plain = cases["bert"][0]
    spec = TextSpec(52, "none", 0, True, prefix="a photo of ", start="[CLS]", end="[SEP]")
    prefixed = Tokenizer.from_folder(bert_file(tmp_path), spec)
    assert np.array_equal(prefixed.encode(["a cat"]).ids, plain.encode(["a photo of a cat"]).ids)


def test_halves_of_surrogate_pairs_do_not_stop_a_batch(cases: dict[str, Any]) -> None:
    ours, _ = cases["clip"]
    broken, repaired = ours.encode(["caf\udce9 \ud83d"]), ours.encode(["caf\ufffd \ufffd"])
    assert np.array_equal(broken.ids, repaired.ids)
    assert np.array_equal(ours.encode(["\ud83d\ude00"]).ids, ours.encode(["😀"]).ids)


def test_folders_without_a_usable_vocabulary(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"tokenizer\.json, vocab\.json with merges\.txt, or vocab\.txt"
    ):
        Tokenizer.from_folder(tmp_path, CLIP_SPEC)
    with pytest.raises(CheckpointError, match="reads no text"):
        Tokenizer.from_folder(tmp_path, None)
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b c\n")
    (tmp_path / "vocab.json").write_text("[1]")
    with pytest.raises(CheckpointError, match="not a vocabulary"):
        Tokenizer.from_folder(tmp_path, CLIP_SPEC)
    (tmp_path / "vocab.json").write_text('{"a": 0}')
    with pytest.raises(CheckpointError, match="a b c"):
        Tokenizer.from_folder(tmp_path, CLIP_SPEC)
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    with pytest.raises(CheckpointError, match="startoftext"):
        Tokenizer.from_folder(tmp_path, CLIP_SPEC)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json cannot be read"):
        Tokenizer.from_folder(tmp_path, CLIP_SPEC)


@pytest.mark.parametrize("change", [{"context_length": 1}, {"padding": "longest"}])
def test_specs_that_hold_no_text_are_refused(change: dict[str, Any]) -> None:
    fields = {"context_length": 8, "padding": "none", "pad_id": 0, "lowercase": True}
    with pytest.raises(ValueError, match=next(iter(change))):
        TextSpec(**(fields | change))
