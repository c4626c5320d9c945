"""The tokens that end an answer come from the first file that states them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import AddedToken
from tokenizers.models import WordLevel

from sensorium.errors import CheckpointError
from sensorium.media.vocabulary import Vocabulary
from sensorium.weights.generation import read_end_ids


def vocabulary() -> Vocabulary:
    core = tokenizers.Tokenizer(WordLevel({"a": 0, "b": 1}, unk_token="a"))
    core.add_special_tokens([AddedToken("</s>"), AddedToken("<|im_end|>")])
    return Vocabulary(core)


FILES: dict[str, dict[str, Any]] = {  # in the order in which they are asked
    "generation_config.json": {"eos_token_id": [151645, 151643], "do_sample": True},
    "config.json": {"eos_token_id": 7, "text_config": {"eos_token_id": 50118}},
    "tokenizer_config.json": {"eos_token": {"content": "<|im_end|>", "special": True}},
    "special_tokens_map.json": {"eos_token": "</s>"},
}


def written(folder: Path, **contents: Any) -> Path:
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content), "utf-8")
    return folder


def test_files_are_asked_in_order(tmp_path: Path) -> None:
    for name, content in FILES.items():
        (tmp_path / name).write_text(json.dumps(content), "utf-8")
    found = []
    for name in FILES:
        found.append(read_end_ids(tmp_path, vocabulary()))
        (tmp_path / name).unlink()
    assert found == [{151645, 151643}, {7}, {3}, {2}]
    with pytest.raises(CheckpointError, match="does not say which token ends an answer"):
        read_end_ids(tmp_path, vocabulary())


@pytest.mark.parametrize("nothing", [{}, {"eos_token_id": None}, {"eos_token_id": []}])
def test_a_file_that_states_none_leaves_it_to_the_next(nothing: dict[str, Any], tmp_path: Path) -> None:
    nested = {"eos_token_id": None, "text_config": {"eos_token_id": 50118}}
    folder = written(tmp_path, generation_config=nothing, config=nested)
    assert read_end_ids(folder, vocabulary()) == {50118}


@pytest.mark.parametrize("wrong", ["</s>", [2, "</s>"], True, -1, 2.0])
def test_what_is_no_number_is_refused(wrong: Any, tmp_path: Path) -> None:
    folder = written(tmp_path, generation_config={"eos_token_id": wrong})
    with pytest.raises(CheckpointError, match=r"generation_config\.json: eos_token_id is") as caught:
        read_end_ids(folder, vocabulary())
    assert "\n" not in str(caught.value)


def test_a_token_that_the_vocabulary_lacks_is_named(tmp_path: Path) -> None:
    folder = written(tmp_path, tokenizer_config={"eos_token": "<end>"})
    with pytest.raises(CheckpointError, match="no token '<end>'"):
        read_end_ids(folder, vocabulary())
