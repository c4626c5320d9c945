"""Words added and subtracted: the wanted stays in front, the unwanted goes, and nothing else moves."""

import numpy as np
import pytest
from concepts import ConceptEncoder, library
from hypothesis import given
from hypothesis import strategies as st

from sensorium.photos.search import calibration
from sensorium.photos.search.arithmetic import combined
from sensorium.photos.search.calibration import Question
from sensorium.photos.search.ranking import rank

TERM = Question(np.zeros(1, np.float32), 0.0, 1.0, -3.0)
values = st.lists(st.floats(-8, 12, width=32), min_size=2, max_size=12)


def floats(rows):
    return np.array(rows, np.float32)


@pytest.mark.parametrize("geometry", ["like CLIP", "like SigLIP"])
def test_the_unwanted_go_and_the_wanted_stay(geometry):
    encoder = ConceptEncoder(geometry)
    shown = [("beach",)] * 25 + [("beach", "walrus")] * 25 + [("walrus",)] * 10
    shown += [(f"thing {place % 50}",) for place in range(300)]
    vectors = encoder.embed_photos(shown)
    measured = calibration.measure(calibration.embed_background(encoder), vectors)
    index = library(vectors)

    def ask(*terms):
        weights = [weight for _, weight in terms]
        questions = [
            measured.question(vector, len(index))
            for vector in encoder.embed_texts([name for name, _ in terms])
        ]
        ranked = rank(index, measured.related(questions, weights), weights)
        first = [shown[photo - 1] for photo in ranked.ids[:20].tolist()]
        return np.mean(["walrus" in names for names in first]), np.mean(["beach" in names for names in first])

    before, after = ask(("beach", 1.0)), ask(("beach", 1.0), ("walrus", -1.0))
    assert before[0] >= 0.1
    assert after[0] <= 0.3 * before[0]
    assert after[1] >= 0.9 * before[1]


@given(values)
def test_one_wanted_term_is_itself(evidence):
    assert combined([TERM], [2.0], [floats(evidence)]).tolist() == floats(evidence).tolist()


@given(values, st.floats(0.1, 5))
def test_a_term_twice_is_that_term(evidence, weight):
    both = combined([TERM, TERM], [weight, weight], [floats(evidence)] * 2)
    assert both == pytest.approx(floats(evidence), abs=0.05)


@given(st.data(), values)
def test_nothing_gains_by_what_is_unwanted(data, wanted):
    unwanted = data.draw(st.lists(st.floats(-8, 12, width=32), min_size=len(wanted), max_size=len(wanted)))
    result = combined([TERM, TERM], [1.0, -1.0], [floats(wanted), floats(unwanted)])
    assert np.all(result <= floats(wanted) + 0.01)
    assert np.isfinite(result).all()


def test_what_is_explained_by_the_wanted_is_not_held_against_it():
    related = Question(TERM.vector, 0.0, 1.0, -3.0, shared=1.0)
    scores = [
        floats([4.0, 4.0]),
        floats([3.9, 8.0]),
    ]  # a photo as much of both, and one with more of the second
    alone, other = combined([TERM, related], [1.0, -1.0], scores)
    assert alone > 3
    assert other < 0


def test_weights_count():
    scores = [floats([4.0, 0.0]), floats([0.0, 4.0])]
    first, second = combined([TERM, TERM], [3.0, 1.0], scores)
    assert first > second


def test_no_term_is_refused():
    with pytest.raises(ValueError, match="at least one term"):
        combined([], [], [])
