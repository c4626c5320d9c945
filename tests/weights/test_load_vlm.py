"""Folders of networks that read pictures, as transformers writes them: loaded, exported, loaded again."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))

import test_blip2 as blip2
import test_llava as llava
import test_qwen_vl as qwen_vl

from sensorium.errors import CheckpointError
from sensorium.weights.files import find
from sensorium.weights.load import build
from sensorium.weights.save import export

MAKERS: dict[str, tuple[Callable[[], Any], str, Any]] = {
    "llava": (llava.llava, "llava", transformers.LlavaForConditionalGeneration),
    "next": (llava.llava_next, "llava", transformers.LlavaNextForConditionalGeneration),
    "blip2": (blip2.blip2, "blip2", transformers.Blip2ForConditionalGeneration),
    "instruct": (blip2.instructblip, "blip2", transformers.InstructBlipForConditionalGeneration),
    "matcher": (blip2.matcher, "blip2_matcher", transformers.Blip2ForImageTextRetrieval),
    "qwen": (qwen_vl.reference, "qwen_vl", transformers.Qwen2_5_VLForConditionalGeneration),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_folder_is_loaded_exported_and_read_by_the_reference(kind: str, tmp_path: Path) -> None:
    make, family, reader = MAKERS[kind]
    theirs = make()
    theirs.save_pretrained(tmp_path / "theirs")
    files = find(tmp_path / "theirs")
    assert files.family == family
    network = build(files)
    export(network, files, tmp_path / "ours")
    again = build(find(tmp_path / "ours")).state_dict()
    for key, value in network.state_dict().items():
        assert torch.equal(again[key], value), key
    read = reader.from_pretrained(tmp_path / "ours").state_dict()
    for key, value in theirs.state_dict().items():
        assert torch.equal(read[key], value), key


def test_a_model_that_talks_is_not_taken_for_one_that_searches(tmp_path: Path) -> None:
    llava.llava().save_pretrained(tmp_path / "talks")
    with pytest.raises(CheckpointError, match="neither compares nor cuts pictures"):
        _ = find(tmp_path / "talks").image


def test_the_authors_files_of_blip2_load_from_a_folder(tmp_path: Path) -> None:
    network = blip2.captioning()
    blip2.matcher().save_pretrained(tmp_path / "lavis")
    (tmp_path / "lavis" / "model.safetensors").unlink()
    state = blip2.as_lavis(network)
    torch.save(
        {key: value for key, value in state.items() if "cls.predictions" not in key},
        tmp_path / "lavis" / "pytorch_model.bin",
    )
    loaded = build(find(tmp_path / "lavis")).state_dict()
    for key, value in network.state_dict().items():
        if not key.startswith("caption_head"):
            assert torch.equal(loaded[key], value), key
