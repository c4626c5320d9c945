"""A thing is followed through made films whose every mask is known; what interrupts it is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from moving_scenes import BLUE, SIZE, ByColour, Moment, across, along, moment, scenery
from sensorium.errors import SensoriumError
from sensorium.skills.segment import storage
from sensorium.skills.segment.masks import mask_of, overlap
from sensorium.skills.segment.prompts import Prompt
from sensorium.skills.segment.segmenter import Segmenter, load
from sensorium.skills.segment.video import (
    CUT,
    LEFT,
    LOST,
    OTHER_SHAPE,
    UNREADABLE,
    Settings,
    Tracked,
    propagate,
)
from sensorium.weights import CUT_MODEL
from tiny_sam import segmenter


def followed(
    film: list[Moment], at: tuple[float, float] | None = None, settings: Settings | None = None
) -> list[Tracked]:
    """What becomes of the thing that the first frame's truth shows, pointed at in its middle."""
    if at is None:
        rows, columns = np.nonzero(film[0].truth)
        at = float(columns.mean()), float(rows.mean())
    prompt = Prompt(points=((*at, 1),))
    return list(propagate(ByColour(), [one.image for one in film], prompt, settings))


def reached(found: list[Tracked], film: list[Moment]) -> list[float]:
    """Overlaps with the truth; 0 where the thing was missed."""
    return [0.0 if one.mask is None else overlap(one.mask.bitmap, film[one.frame].truth) for one in found]


def test_a_thing_that_moves_and_turns_is_followed_to_the_end() -> None:
    film = along(across(20))
    found = followed(film)
    assert [one.frame for one in found] == list(range(20))
    assert min(reached(found, film)) > 0.9
    assert min(one.confidence for one in found) > 0.8
    assert {(one.stopped, one.missed) for one in found} == {(None, None)}


def test_a_thing_that_grows_is_followed() -> None:
    behind = scenery(2)
    film = [moment(behind, (120, 90), side=30 + 6 * i) for i in range(15)]
    assert min(reached(followed(film), film)) > 0.9


def test_a_mask_is_a_beginning_as_good_as_a_click() -> None:
    film = along(across(6))
    first = mask_of(film[0].truth, 0.9, 1.0)
    found = list(propagate(ByColour(), (one.image for one in film), first))
    assert found[0].mask is first
    assert found[0].confidence == pytest.approx(0.9)
    assert min(reached(found, film)) > 0.9


def test_a_scene_that_is_cut_ends_it_and_says_so() -> None:
    film = along(across(8)) + along(across(12, (200, 150), (-6, -4)), seed=77, shape="circle", colour=BLUE)
    found = followed(film)
    assert min(reached(found[:8], film)) > 0.9
    assert [one.missed for one in found[8:]] == [CUT] * 5
    assert all(one.mask is None for one in found[8:])
    assert [one.stopped for one in found[:-1]] == [None] * 12
    assert found[-1].stopped == f"{CUT}: nothing of it in 5 pictures"


@pytest.mark.parametrize("step", [(9, 0), (-9, 0), (0, 9), (0, -9), (25, 3)])
def test_a_thing_that_leaves_ends_it_and_says_so(step: tuple[float, float]) -> None:
    places = across(40, (128, 96), step)
    film = along(places, turning=0)
    found = followed(film)
    visible = [one.truth.sum() for one in film]
    whole = visible[0]
    for one, share in zip(found, reached(found, film), strict=True):
        if visible[one.frame] > 0.3 * whole:
            assert share > 0.9
        if visible[one.frame] == 0:
            assert one.mask is None
    assert found[-1].missed == LEFT
    assert found[-1].stopped is not None
    assert found[-1].stopped.startswith(LEFT)


def test_one_bad_frame_does_not_end_it() -> None:
    film = along(across(16))
    white = Image.new("RGB", SIZE, "white")
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*SIZE[::-1], 3), dtype=np.uint8))
    bad: dict[int, Any] = {3: None, 6: white, 9: noise, 12: Image.new("RGB", SIZE[::-1])}
    pictures = [bad.get(i, one.image) for i, one in enumerate(film)]
    found = list(propagate(ByColour(), pictures, Prompt(points=((50, 60, 1),))))
    assert len(found) == 16
    assert {one.frame: one.missed for one in found if one.missed} == {
        3: UNREADABLE,
        6: CUT,
        9: CUT,
        12: OTHER_SHAPE,
    }
    assert all(one.mask is None and one.stopped is None for one in found if one.missed)
    assert min(share for i, share in enumerate(reached(found, film)) if i not in bad) > 0.9


def test_what_is_hidden_for_a_while_is_found_again() -> None:
    film = along(across(18, step=(8, 4)))
    behind = scenery(1)
    for i in (8, 9, 10):
        film[i] = Moment(behind, np.zeros(SIZE[::-1], bool))
    found = followed(film)
    assert [one.frame for one in found if one.missed] == [8, 9, 10]
    assert {one.missed for one in found[8:11]} == {LOST}
    assert len(found) == 18
    assert min(reached(found[11:], film)) > 0.9


def test_a_jump_is_followed_by_looks() -> None:
    film = along([(50, 60), (55, 62), (190, 130), (194, 132)], turning=0)
    assert min(reached(followed(film), film)) > 0.9


def test_another_thing_in_its_place_is_not_taken_for_it() -> None:
    behind = scenery(1)
    film = [moment(behind, (120, 90)) for _ in range(5)]
    film += [moment(behind, (120, 90), colour=BLUE) for _ in range(8)]
    found = followed(film)
    assert [one.missed for one in found[5:]] == [LOST] * 5
    assert found[-1].stopped is not None
    assert found[-1].stopped.startswith(LOST)
    assert all(one.confidence < 0.6 for one in found[5:])


def test_patience_is_as_long_as_it_is_set() -> None:
    behind = scenery(1)
    film = [moment(behind, (120, 90)), *(Moment(behind, np.zeros(SIZE[::-1], bool)) for _ in range(9))]
    assert len(followed(film, settings=Settings(patience=2))) == 3
    assert len(followed(film, settings=Settings(patience=9))) == 10


def test_a_network_that_doubts_itself_is_not_believed() -> None:
    film = along(across(8))
    doubting = ByColour(quality=0.1)
    found = list(propagate(doubting, [one.image for one in film], Prompt(points=((50, 60, 1),))))
    assert [one.mask is None for one in found] == [False] + [True] * 5
    assert found[-1].stopped is not None


def test_pictures_of_another_size_and_the_same_shape_are_taken() -> None:
    film = along(across(6))
    sizes = [1.0, 1.0, 3.0, 3.0, 1.0, 6.0]
    pictures = [
        one.image.resize((round(SIZE[0] * k), round(SIZE[1] * k)), Image.Resampling.NEAREST)
        for one, k in zip(film, sizes, strict=True)
    ]
    found = list(propagate(ByColour(), pictures, Prompt(points=((50, 60, 1),))))
    for one, picture, true in zip(found, pictures, film, strict=True):
        assert one.mask is not None
        wide = np.asarray(Image.fromarray(true.truth).resize(picture.size, Image.Resampling.NEAREST))
        assert overlap(one.mask.bitmap, wide) > 0.85


def test_pictures_are_taken_one_at_a_time() -> None:
    taken: list[int] = []

    def film() -> Any:
        for i, one in enumerate(along(across(9))):
            taken.append(i)
            yield one.image

    tracking = propagate(ByColour(), film(), Prompt(points=((50, 60, 1),)))
    assert taken == []
    next(tracking)
    next(tracking)
    assert taken == [0, 1]


@pytest.mark.parametrize(
    ("frames", "first", "said"),
    [
        ([], Prompt(points=((1, 1, 1),)), "no picture to begin with"),
        ([None], Prompt(points=((1, 1, 1),)), "first picture cannot be read"),
        ([scenery(1)], mask_of(np.ones((3, 4), bool), 1, 1), "4 x 3 pixels, the first picture 256 x 192"),
        ([scenery(1)], mask_of(np.zeros(SIZE[::-1], bool), 1, 1), "nothing to follow"),
    ],
)
def test_what_cannot_begin_is_told_in_one_line(frames: list[Any], first: Any, said: str) -> None:
    with pytest.raises(SensoriumError, match=said) as told:
        list(propagate(ByColour(), frames, first))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("wrong", [{"sure": 1.5}, {"patience": 0}])
def test_settings_that_cannot_be_meant_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SensoriumError):
        Settings(**wrong)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Segmenter]:
    """Random weights: they follow nothing, but all parts are called with what they take."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENSORIUM_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("SENSORIUM_ENGINE", "torch-f32")
        yield segmenter(tmp_path_factory.mktemp("models") / "sam")


@pytest.mark.parametrize("size", [(256, 192), (1, 1), (300, 9), (700, 40)])
def test_a_real_network_answers_in_every_frame(network: Segmenter, size: tuple[int, int]) -> None:
    film = [scenery(seed, size) for seed in (1, 1, 2)]
    bitmap = np.zeros(size[::-1], bool)
    bitmap[: max(1, size[1] // 2), : max(1, size[0] // 2)] = True
    found = list(propagate(network, film, mask_of(bitmap, 0.9, 1.0), Settings(sure=0)))
    assert [one.frame for one in found] == [0, 1, 2]
    for one in found:
        assert 0 <= one.confidence <= 1
        assert (one.mask is None) == (one.missed is not None)
        assert one.mask is None or one.mask.bitmap.shape == size[::-1]
    assert not storage.folder().exists()  # frames are not kept
    json.dumps([one.mask.document() for one in found if one.mask])


def test_a_trained_network_follows_a_thing_over_a_picture() -> None:
    """Once clicked, on a star that moves, turns and then leaves."""
    film = along(across(33, (60, 60), (8, 5)), side=70)
    found = list(propagate(load(CUT_MODEL), [one.image for one in film], Prompt(((60, 60, 1),))))
    shares = reached(found, film)
    whole = film[0].truth.sum()
    seen = [share for one, share in zip(film, shares, strict=False) if one.truth.sum() > 0.9 * whole]
    assert len(seen) > 15
    assert float(np.mean(seen)) > 0.85
    assert min(seen) > 0.7
    assert found[-1].stopped is not None
    assert found[-1].stopped.startswith(LEFT)
