"""What a score means: for models of any geometry, for libraries of any size, and across a restart."""

import numpy as np
import pytest
from concepts import GEOMETRIES, ConceptEncoder, library
from hypothesis import given
from hypothesis import strategies as st

from sensorium.photos.search import calibration
from sensorium.photos.search.calibration import LEAST, WEAK, background, cut_off, evidence_of, probability
from sensorium.photos.search.ranking import rank


def world(geometry: str, concepts: int, photos: int):
    encoder = ConceptEncoder(geometry)
    names = [f"concept {place}" for place in range(concepts)]
    seen = [(names[place % concepts],) for place in range(photos)]
    vectors = encoder.embed_photos(seen)
    prompts = calibration.embed_background(encoder)
    return encoder, names, seen, vectors, calibration.measure(prompts, vectors)


@pytest.mark.parametrize("photos", [40, 600])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_present_ones_are_found_and_absent_ones_are_not(geometry, photos):
    encoder, names, seen, vectors, measured = world(geometry, 40, photos)
    index = library(vectors)

    def ask(text):
        question = measured.question(encoder.embed_texts([text])[0], len(index))
        return rank(index, [question], [1.0])

    kept = [any(seen[photo - 1] == (name,) for photo in ask(name).ids[:5]) for name in names]
    assert np.mean(kept) >= 0.9
    absent = [ask(f"absent {place}").verdict for place in range(60)]
    assert np.mean([verdict != "found" for verdict in absent]) >= 0.9
    senseless = [ask(f"zz{place}").verdict for place in range(40)]
    assert np.mean([verdict == "nothing" for verdict in senseless]) >= 0.9


def test_evidence_does_not_depend_on_the_range_of_a_model():
    best = {}
    for geometry in ("like CLIP", "like SigLIP"):
        encoder, names, _, vectors, measured = world(geometry, 40, 200)
        queries = encoder.embed_texts(names)
        best[geometry] = np.median(
            [
                (question := measured.question(query, 200)).evidence(vectors @ question.vector).max()
                for query in queries
            ]
        )
    one, other = best.values()
    assert min(one, other) > 2
    assert max(one, other) < 3 * min(one, other)


def test_more_photos_need_a_better_one():
    *_, measured = world("like CLIP", 40, 600)
    assert np.all(np.diff(measured.chance) >= 0)
    query = ConceptEncoder("like CLIP").embed_texts(["concept 3"])[0]
    offsets = [measured.question(query, among).offset for among in (1, 10, 100, 600, 10_000, 1_000_000)]
    assert offsets == sorted(offsets)
    assert offsets[-1] > offsets[3]
    assert np.isfinite(offsets).all()


def test_chance_lies_half_way_between_both_kinds_of_texts():
    encoder, _, _, vectors, measured = world("like CLIP", 40, 100)
    shown = background().shown
    texts = calibration.embed_background(encoder).astype(np.float32)
    scores = vectors @ (texts - texts[shown].mean(axis=0)).T
    scores -= np.float32(100 / 108) * np.median(scores, axis=0)
    best = scores.max(axis=0)
    assert measured.sizes.tolist() == [1, 2, 4, 8, 16, 32, 64, 100]
    middle = (np.median(best[shown]) + np.median(best[~shown])) / 2
    assert measured.chance[-1] == pytest.approx(middle, abs=1e-5)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_tiny_library_keeps_what_it_shows(geometry):
    encoder, names, seen, vectors, measured = world(geometry, 6, 24)
    kept = []
    for name in names:
        question = measured.question(encoder.embed_texts([name])[0], len(vectors))
        found = rank(library(vectors), [question], [1.0]).ids.tolist()
        kept += [photo in found for photo in range(1, 25) if seen[photo - 1] == (name,)]
    assert np.mean(kept) >= 0.95


def test_a_library_of_one_photo_can_be_asked():
    encoder, _, _, vectors, _ = world("like CLIP", 1, 1)
    measured = calibration.measure(calibration.embed_background(encoder), vectors)
    question = measured.question(encoder.embed_texts(["concept 0"])[0], 1)
    other = measured.question(encoder.embed_texts(["absent"])[0], 1)
    assert question.evidence(vectors @ question.vector)[0] > other.evidence(vectors @ other.vector)[0] + 2


def test_equal_photos_and_equal_texts_break_nothing():
    prompts = np.ones((len(background().texts), 8), np.float16) / np.float16(np.sqrt(8))
    photos = np.ones((5, 8), np.float32) / np.sqrt(8)
    measured = calibration.measure(prompts, photos)
    question = measured.question(photos[0], 5)
    assert np.isfinite(question.evidence(photos @ question.vector)).all()


def test_a_part_of_the_photos_speaks_for_all():
    encoder, _, _, vectors, whole = world("like CLIP", 40, 800)
    prompts = calibration.embed_background(encoder)
    part = calibration.measure(prompts, vectors[::2], 800)
    assert part.photos == 800
    query = encoder.embed_texts(["concept 7"])[0]
    one, other = whole.question(query, 800), part.question(query, 800)
    scores = vectors @ one.vector
    assert one.evidence(scores) == pytest.approx(other.evidence(scores), abs=0.6)


def test_it_is_measured_again_when_the_library_has_grown_or_the_texts_are_others(monkeypatch):
    *_, measured = world("like CLIP", 10, 100)
    assert measured.fits(100)
    assert measured.fits(120)
    assert not measured.fits(130)
    assert not measured.fits(70)
    other = calibration.Background(("x",), np.array([True]), "other")
    monkeypatch.setattr(calibration, "background", lambda: other)
    assert not measured.fits(100)


def test_it_survives_being_stored():
    encoder, *_, measured = world("like CLIP", 10, 50)
    again = calibration.unpacked(calibration.packed(measured))
    query = encoder.embed_texts(["concept 3"])[0]
    assert again.question(query, 50).offset == measured.question(query, 50).offset
    assert np.array_equal(again.chance, measured.chance)


@given(st.binary(max_size=200))
def test_what_cannot_be_read_is_measured_again(content):
    assert calibration.unpacked(content) is None


def test_half_a_row_is_none():
    *_, measured = world("like CLIP", 5, 20)
    content = calibration.packed(measured)
    assert calibration.unpacked(content[: len(content) // 2]) is None


def test_the_background_is_balanced():
    texts = background().texts
    assert len(texts) == len(background().shown) >= 400
    assert len(set(texts)) == len(texts)
    chinese = [any("\u4e00" <= letter <= "\u9fff" for letter in text) for text in texts]
    assert chinese == [False, True] * (len(texts) // 2)
    assert background().shown.sum() > 5 * (~background().shown).sum()


@given(st.floats(-30, 30))
def test_likelihood_rises_with_evidence_and_back(evidence):
    likely = float(probability(np.array([evidence]))[0])
    assert 0 < likely < 1
    if 1e-6 < likely < 1 - 1e-6:
        assert evidence_of(likely) == pytest.approx(evidence, abs=1e-3)


@given(st.floats(WEAK, 40))
def test_the_best_photo_passes_its_own_cut_off(best):
    assert LEAST <= cut_off(best) < best
