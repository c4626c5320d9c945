"""The catalog pins what it names, and says so where it does not."""

from __future__ import annotations

import re

import pytest

from sensorium.weights import catalog
from sensorium.weights.catalog import ENTRIES, Entry, entry
from sensorium.weights.files import WEIGHTS

WANTED = {
    "sensorium/mini-clip",
    "sensorium/mini-sam",
    "sensorium/mini-vlm",
    "openai/clip-vit-base-patch32",
    "openai/clip-vit-base-patch16",
    "openai/clip-vit-large-patch14",
    "openai/clip-vit-large-patch14-336",
    "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
    "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
    "google/siglip2-base-patch16-224",
    "OFA-Sys/chinese-clip-vit-base-patch16",
    "google/vit-base-patch16-224",
    "dhkim2810/MobileSAM",
    "facebook/sam-vit-base",
    "facebook/sam-vit-large",
    "facebook/sam-vit-huge",
    "Qwen/Qwen2.5-VL-3B-Instruct",
    "Qwen/Qwen2.5-VL-7B-Instruct",
}


def test_every_wanted_checkpoint_is_there_once() -> None:
    names = [known.name for known in ENTRIES]
    assert len(names) == len(set(names))
    assert set(names) >= WANTED


@pytest.mark.parametrize("known", ENTRIES, ids=lambda known: known.name)
def test_entries_are_complete(known: Entry) -> None:
    assert known.licence
    assert known.good_for
    assert known.megabytes > 0
    assert set(known.languages) <= {"en", "zh"}
    assert known.weights in WEIGHTS or known.bare
    assert ("config.json" in known.support) is not known.bare
    assert known.embedded == known.name.startswith("sensorium/")
    if known.revision is None and not known.embedded:
        assert set(known.sha256) == set(known.file_names)  # then the content is what is pinned
    elif not known.embedded:
        assert known.revision is not None
        assert re.fullmatch(r"[0-9a-f]{40}", known.revision)
    for name, digest in known.sha256.items():
        assert re.fullmatch(r"[0-9a-f]{64}", digest), name
        assert name in known.file_names or name in WEIGHTS
    if known.languages:
        vocabularies = {"tokenizer.json", "vocab.txt", "vocab.json"}
        assert vocabularies & set(known.support)


def test_names_are_looked_up_exactly() -> None:
    assert entry("openai/clip-vit-base-patch32") is not None
    assert entry("openai/CLIP-vit-base-patch32") is None
    assert catalog.USUAL_FILES[0] == "config.json"
