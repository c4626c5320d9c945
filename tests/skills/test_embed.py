"""Pictures and sentences to vectors: parity with the network, engines, caching, and refusals."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_dual_encoder import SIDE, photos, write_tiny_clip

import sensorium
from sensorium.errors import ModelNotFoundError, SensoriumError
from sensorium.media.image import fit_image, normalize
from sensorium.skills import embed
from sensorium.skills.embed import DualEncoder

SENTENCES = ["a dog", "sunset at the beach", "two children in the park with a red ball", "x"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_clip(tmp_path_factory.mktemp("models") / "tiny-clip")


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Graphs built once for the tests that only use them."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, shared_home: Path) -> None:
    monkeypatch.setenv("SENSORIUM_HOME", str(shared_home))
    monkeypatch.setenv("SENSORIUM_THREADS", "1")
    monkeypatch.delenv("SENSORIUM_ENGINE", raising=False)


@pytest.fixture
def encoder(checkpoint: Path) -> DualEncoder:
    return sensorium.load(str(checkpoint))


def unit(vectors: torch.Tensor) -> np.ndarray:
    return torch.nn.functional.normalize(vectors, dim=-1).numpy()


def test_pictures_equal_the_network_run_directly(encoder: DualEncoder) -> None:
    pixels = photos(5)
    with torch.inference_mode():
        prepared = torch.from_numpy(normalize(pixels, encoder.image_spec))
        expected = unit(encoder.network.encode_image(prepared))
    vectors = encoder.embed_pixels(pixels)
    assert vectors.dtype == np.float32
    assert vectors.shape == (5, 24) == (5, encoder.dim)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert (vectors * expected).sum(axis=1).min() > 0.999


def test_sentences_equal_the_network_run_directly(encoder: DualEncoder) -> None:
    tokens = encoder.tokenizer.encode(SENTENCES)
    with torch.inference_mode():
        ids, mask = torch.from_numpy(tokens.ids), torch.from_numpy(tokens.mask)
        expected = unit(encoder.network.encode_text(ids, mask))
    vectors = encoder.embed_texts(SENTENCES)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert (vectors * expected).sum(axis=1).min() > 0.999


def test_float32_is_exact(checkpoint: Path) -> None:
    encoder = sensorium.load(str(checkpoint), device="cpu", dtype="float32")
    pixels = photos(4)
    with torch.inference_mode():
        prepared = torch.from_numpy(normalize(pixels, encoder.image_spec))
        expected = unit(encoder.network.encode_image(prepared))
    np.testing.assert_allclose(encoder.embed_pixels(pixels), expected, atol=2e-5)
    assert encoder.engines()["image"].split(":")[0].endswith("-f32")


def test_a_batch_changes_no_vector(encoder: DualEncoder) -> None:
    pixels = photos(40)  # more than one pass through the graph
    together = encoder.embed_pixels(pixels)
    for i in (0, 7, 39):
        np.testing.assert_allclose(encoder.embed_pixels(pixels[i : i + 1])[0], together[i], atol=1e-3)
    texts = encoder.embed_texts(SENTENCES)
    for i, sentence in enumerate(SENTENCES):
        np.testing.assert_allclose(encoder.embed_texts([sentence])[0], texts[i], atol=1e-3)


def test_sentences_keep_their_order_over_many_batches(encoder: DualEncoder) -> None:
    many = [word * (1 + i % 5) for i, word in enumerate(["ab ", "c "] * 40)]
    together = encoder.embed_texts(many)
    for i in (0, 1, 33, 79):
        np.testing.assert_allclose(together[i], encoder.embed_texts([many[i]])[0], atol=1e-3)


def test_images_of_any_size_are_prepared(encoder: DualEncoder) -> None:
    images = [Image.fromarray(photos(1, seed=i)[0]).resize((50 + 9 * i, 44)) for i in range(3)]
    expected = encoder.embed_pixels(np.stack([fit_image(image, encoder.image_spec) for image in images]))
    np.testing.assert_array_equal(encoder.embed_images(images), expected)


def test_nothing_gives_no_rows(encoder: DualEncoder) -> None:
    assert encoder.embed_texts([]).shape == (0, 24)
    assert encoder.embed_images([]).shape == (0, 24)
    assert encoder.embed_pixels(np.zeros((0, SIDE, SIDE, 3), np.uint8)).shape == (0, 24)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((1, SIDE, SIDE, 3), np.float32),
        np.zeros((SIDE, SIDE, 3), np.uint8),
        np.zeros((1, 3, SIDE, SIDE), np.uint8),
    ],
)
def test_pixels_of_another_kind_are_refused(encoder: DualEncoder, pixels: np.ndarray) -> None:
    with pytest.raises(SensoriumError, match=r"tiny-clip takes uint8 pixels of shape \[b, 32, 32, 3\], not"):
        encoder.embed_pixels(pixels)


def test_wrong_names_are_refused_at_once(checkpoint: Path) -> None:
    with pytest.raises(SensoriumError, match="unknown device 'tpu'"):
        sensorium.load(str(checkpoint), device="tpu")
    with pytest.raises(SensoriumError, match="unknown dtype 'int4'"):
        sensorium.load(str(checkpoint), dtype="int4")
    with pytest.raises(ModelNotFoundError):
        sensorium.load("nobody/nothing")


def test_the_pipeline_follows_weights_and_preparation(checkpoint: Path, tmp_path: Path) -> None:
    other = tmp_path / "tiny-clip"
    shutil.copytree(checkpoint, other)
    same = sensorium.load(str(other)).pipeline
    assert same == sensorium.load(str(checkpoint)).pipeline
    preparation = other / "preprocessor_config.json"
    preparation.write_text(json.dumps(json.loads(preparation.read_text()) | {"resample": 2}))
    assert sensorium.load(str(other)).pipeline != same


def test_changing_the_network_changes_no_vector(checkpoint: Path) -> None:
    encoder = sensorium.load(str(checkpoint), dtype="bfloat16")
    assert encoder.network is encoder.network
    with torch.no_grad():
        for parameter in encoder.network.parameters():
            parameter.zero_()
    assert np.abs(encoder.embed_texts(["a"])).max() > 0


def test_one_picture_is_enough_to_begin(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENSORIUM_HOME", str(tmp_path))
    encoder = sensorium.load(str(checkpoint))
    assert encoder.embed_pixels(photos(1)).shape == (1, 24)
    assert "int8" not in encoder.engines()["image"]
    assert "text" not in encoder.engines()


def test_int8_is_tried_when_there_is_much_to_do(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENSORIUM_HOME", str(tmp_path))
    encoder = sensorium.load(str(checkpoint))
    for seed in range(6):
        encoder.embed_pixels(photos(20, seed))
    assert "openvino-int8" not in encoder.engines()["image"]
    monkeypatch.setattr(embed, "INT8_AFTER", -1.0)
    before = encoder.embed_pixels(photos(2))
    assert "openvino-int8" in encoder.engines()["image"]
    assert (before * encoder.embed_pixels(photos(2))).sum(axis=1).min() > 0.99


def test_int8_can_be_prepared_beforehand_and_is_remembered(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENSORIUM_HOME", str(tmp_path))
    sensorium.load(str(checkpoint)).prepare_images(photos(30))
    again = sensorium.load(str(checkpoint))
    again.embed_pixels(photos(2))
    assert "openvino-int8" in again.engines()["image"]


def test_a_precision_that_was_asked_for_is_never_quantised(checkpoint: Path) -> None:
    encoder = sensorium.load(str(checkpoint), dtype="bfloat16")
    encoder.prepare_images(photos(30))
    assert encoder.engines()["image"].split(":")[0].endswith("-bf16")
    assert "int8" not in encoder.engines()["image"]


SEARCH = """
import sys
import sensorium
encoder = sensorium.load(sys.argv[1])
print(encoder.embed_texts(["a dog"]).shape, encoder.embed_pixels.__name__)
assert "torch" not in sys.modules and "transformers" not in sys.modules
"""


def test_a_search_with_its_graph_cached_imports_no_torch(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENSORIUM_ENGINE", "openvino-f32")  # tiny networks may be fastest in torch
    sensorium.load(str(checkpoint)).embed_texts(["warm"])
    process = subprocess.run(
        [sys.executable, "-c", SEARCH, str(checkpoint)],
        env={**os.environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("(1, 24)")
