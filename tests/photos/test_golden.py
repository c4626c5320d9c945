"""Golden values: a change that raises no error and ruins the answers is refused in one line."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from photo_fakes import ColourEncoder

import sensorium
from sensorium.errors import LibraryError
from sensorium.media.text import Tokenizer
from sensorium.photos import golden
from sensorium.photos.database.store import Store
from sensorium.weights.files import find

_NAMES = ["version", "tokens", "pixels", "text", "picture", "ids", "mask", "shape", "float16"]


class WordEncoder(ColourEncoder):
    """Real tokens, with every one that is looked at added up: other tokens, other vectors."""

    def __init__(self, **changes: object) -> None:
        super().__init__()
        files = find("sensorium/mini-clip")
        spec = replace(files.text or pytest.fail("mini-clip reads text"), **changes)
        self.tokenizer = Tokenizer.from_folder(files.folder, spec)

    def embed_texts(self, texts: list[str]) -> np.ndarray:
        table = np.random.default_rng(0).normal(size=(100_000, self.dim))
        batch = self.tokenizer.encode(texts)
        rows = (table[batch.ids] * batch.mask[..., None]).sum(axis=1)
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def encoder() -> WordEncoder:
    return WordEncoder()


@pytest.fixture(scope="module")
def stored(encoder) -> str:
    return golden.measure(encoder, picture=True)


def test_the_same_model_agrees(encoder, stored):
    assert golden.check(encoder, stored) is None
    assert golden.check(encoder, stored, picture=True) is None
    assert golden.check(WordEncoder(), golden.measure(encoder), picture=True) is None
    assert golden.readable(stored)
    assert len(stored) < 20_000


def test_a_search_encodes_no_picture(encoder, stored):
    before = encoder.encoded
    golden.check(encoder, stored)
    golden.measure(encoder)
    assert encoder.encoded == before


def test_another_padding_is_seen(stored):
    # SigLIP padded to the longest text instead of its 64 tokens: nothing fails, all rankings are wrong.
    fixed, longest = WordEncoder(padding="fixed"), WordEncoder(padding="none")
    for model, other in ((fixed, longest), (longest, fixed)):
        assert "it pads or cuts sentences to" in (golden.check(other, golden.measure(model)) or "")
    shorter = golden.check(WordEncoder(context_length=16, padding="fixed"), golden.measure(fixed))
    assert "pads or cuts sentences to 16 tokens" in (shorter or "")
    shorter = golden.check(WordEncoder(context_length=32), stored)
    assert "pads or cuts sentences to 32 tokens" in (shorter or "")
    unmasked = WordEncoder()
    encode = unmasked.tokenizer.encode
    unmasked.tokenizer.encode = lambda texts: replace(encode(texts), mask=np.ones_like(encode(texts).ids))
    assert "looks at other tokens" in (golden.check(unmasked, stored) or "")


def test_other_tokens_are_seen(stored):
    other = WordEncoder()
    encode = other.tokenizer.encode
    other.tokenizer.encode = lambda texts: replace(encode(texts), ids=encode(texts).ids + 1)
    assert "into other tokens" in (golden.check(other, stored) or "")


@pytest.mark.parametrize(
    "changes",
    [
        {"resample": "bilinear"},
        {"resample": "nearest"},
        {"fit": "squash"},
        {"resize": 40},
        {"mean": (0.48, 0.46, 0.41), "std": (0.27, 0.26, 0.28)},
    ],
)
def test_another_preparation_is_seen(encoder, stored, changes):
    other = WordEncoder()
    other.image_spec = replace(encoder.image_spec, **changes)
    assert "prepares pictures otherwise" in (golden.check(other, stored) or "")


def test_rounding_is_not_a_difference(encoder, stored, monkeypatch):
    picture = golden.draw()
    darker = picture.point(lambda value: max(0, value - 2))
    monkeypatch.setattr(golden, "draw", lambda: darker)
    assert golden.check(encoder, stored, picture=True) is None


def test_other_vectors_are_seen(encoder, stored, monkeypatch):
    rng = np.random.default_rng(1)
    for method, name in (("embed_texts", "the sentence"), ("embed_pixels", "the picture")):
        original = getattr(encoder, method)

        def other(given, original=original):
            rows = original(given) + 0.1 * rng.normal(size=encoder.dim).astype(np.float32)
            return rows / np.linalg.norm(rows, axis=1, keepdims=True)

        with monkeypatch.context() as patch:
            patch.setattr(encoder, method, other)
            assert f"gives {name} another vector" in (golden.check(encoder, stored, picture=True) or "")
            patch.setattr(encoder, method, lambda given, original=original: original(given)[:, :10])
            assert "vectors of 10 numbers" in (golden.check(encoder, stored, picture=True) or "")
            patch.setattr(encoder, method, lambda given, original=original: original(given) * np.nan)
            assert "cosine nan" in (golden.check(encoder, stored, picture=True) or "")


def test_red_and_blue_exchanged_are_seen(encoder, stored, monkeypatch):
    original = encoder.embed_pixels
    monkeypatch.setattr(encoder, "embed_pixels", lambda pixels: original(pixels[..., ::-1]))
    assert golden.check(encoder, stored) is None  # nobody encodes pictures now
    assert "gives the picture another vector" in (golden.check(encoder, stored, picture=True) or "")


def test_a_model_that_shows_no_tokens_is_compared_by_the_rest(stored):
    plain = ColourEncoder()
    kept = golden.measure(plain)
    assert json.loads(kept)["tokens"] is None
    assert golden.check(plain, kept) is None
    assert "another vector" in (golden.check(plain, stored) or "")


def test_values_of_another_version_are_not_compared(encoder, stored):
    newer = json.dumps({**json.loads(stored), "version": golden.VERSION + 1, "pixels": None})
    assert golden.check(encoder, newer) is None
    assert golden.readable(newer)


@given(
    st.text()
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(_NAMES) | st.text(), inner),
    ).map(json.dumps)
)
@settings(max_examples=100, deadline=None)
def test_damaged_values_are_told_and_never_raise(text):
    encoder = ColourEncoder()
    reason = golden.check(encoder, text, picture=True)
    if golden.readable(text):
        assert json.loads(text)["version"] != golden.VERSION or reason is not None
    else:
        assert reason == "its stored golden values are damaged"


@given(st.sampled_from(_NAMES), st.none() | st.integers() | st.text() | st.lists(st.integers()))
@settings(max_examples=50, deadline=None)
def test_one_damaged_value_never_raises(name, value):
    encoder = ColourEncoder()
    document = json.loads(golden.measure(encoder, picture=True))
    document["tokens"] = [{"ids": [[1]], "mask": [[1]]}, {"ids": [[1]], "mask": [[1]]}]
    for part in (document, document["tokens"][1], document["text"], document["pixels"]):
        if name in part:
            part[name] = value
    reason = golden.check(encoder, json.dumps(document), picture=True)
    assert reason is None or "\n" not in reason


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "library", create=True)
    yield store
    store.close()


def test_a_library_keeps_and_compares_them(store, encoder, monkeypatch):
    def pipeline():
        return store.pipeline(encoder.pipeline)

    store.add_pipeline("test/colours", encoder.pipeline, encoder.dim)
    golden.compare(pipeline(), encoder)  # nothing to compare with yet
    assert pipeline().golden is None
    golden.keep(store, pipeline(), encoder)
    first = pipeline().golden
    assert first is not None
    golden.keep(store, pipeline(), encoder)
    golden.compare(pipeline(), encoder)
    assert pipeline().golden == first
    other = WordEncoder(context_length=16)
    for ask in (lambda: golden.compare(pipeline(), other), lambda: golden.keep(store, pipeline(), other)):
        with pytest.raises(LibraryError, match="pads or cuts") as caught:
            ask()
        line = str(caught.value)
        assert "\n" not in line
        assert "sensorium library models --renew test/colours" in line
    assert pipeline().golden == first


def test_values_measured_without_a_picture_are_completed(store, encoder):
    import sqlalchemy as sa

    from sensorium.photos.database.schema import pipelines

    store.add_pipeline("test/colours", encoder.pipeline, encoder.dim)
    with store.writing() as connection:
        connection.execute(sa.update(pipelines).values(golden=golden.measure(encoder)))
    golden.keep(store, store.pipeline(encoder.pipeline), encoder)
    assert "picture" in json.loads(store.pipeline(encoder.pipeline).golden)


def test_vectors_that_are_none_are_not_kept(store, encoder, monkeypatch):
    store.add_pipeline("test/colours", encoder.pipeline, encoder.dim)
    original = encoder.embed_pixels
    for factor in (np.nan, 0.0):
        monkeypatch.setattr(encoder, "embed_pixels", lambda pixels, by=factor: original(pixels) * by)
        golden.keep(store, store.pipeline(encoder.pipeline), encoder)
        assert store.pipeline(encoder.pipeline).golden is None


def test_the_picture_is_drawn():
    picture = golden.draw()
    assert picture.size == (200, 150)
    assert len(picture.getcolors(200 * 150)) > 50


@pytest.mark.slow
def test_engines_of_mini_clip_agree_with_one_another(tmp_path, monkeypatch):
    assert resources.files("sensorium.weights").joinpath("embedded/mini-clip/config.json").is_file()
    monkeypatch.setenv("SENSORIUM_HOME", str(tmp_path))
    monkeypatch.setenv("SENSORIUM_ENGINE", "openvino-f32")
    exact = sensorium.load()
    kept = golden.measure(exact, picture=True)
    monkeypatch.delenv("SENSORIUM_ENGINE")
    monkeypatch.setenv("SENSORIUM_HOME", str(tmp_path / "other"))
    assert golden.check(sensorium.load(), kept, picture=True) is None
