"""Faces: the same numbers as OpenCV's own detector and recogniser, and the same faces after every change."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from made_faces import SIDE, face, install, random_detector, red_detector, scene
from photo_fakes import run, write
from PIL import Image

from sensorium.errors import CheckpointError, ModelNotFoundError
from sensorium.photos.database.schema import faces, photos
from sensorium.photos.describe import face_networks
from sensorium.photos.describe import faces as pass_of_faces
from sensorium.photos.describe.face_networks import Detector, Recogniser, aligned, similarity
from sensorium.photos.describe.faces import FacePass, find_faces, overlap
from sensorium.photos.describe.passes import Skipped
from sensorium.weights import catalog
from sensorium.weights.files import find_onnx


@pytest.fixture
def networks(tmp_path, monkeypatch):
    monkeypatch.setenv("SENSORIUM_HOME", str(tmp_path / "home"))
    install(tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def eyes(networks):
    detector = Detector(find_onnx(pass_of_faces.DETECTOR), side=480, least=0.75)
    return detector, Recogniser(find_onnx(pass_of_faces.RECOGNISER))


def smooth(seed, size):
    """A picture with structure at every scale."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (9, 9, 3)).astype(np.float32)
    fine = rng.integers(0, 255, (60, 60, 3)).astype(np.float32)
    mixed = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC) * 0.7
    mixed += cv2.resize(fine, size, interpolation=cv2.INTER_CUBIC) * 0.3
    return np.clip(mixed, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("size", [(640, 640), (500, 333)])
def test_detections_are_those_of_opencv(tmp_path, seed, size):
    path = random_detector(tmp_path / "detector.onnx", seed)
    picture = smooth(seed, size)
    square = np.zeros((640, 640, 3), np.uint8)
    square[: size[1], : size[0]] = picture[:, :, ::-1]
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    reference = cv2.FaceDetectorYN.create(str(path), "", (640, 640), 0.75, 0.3, 5000)
    _, wanted = reference.detect(square)
    found = Detector(path, side=640, least=0.75)(picture)
    assert wanted is not None
    assert len(wanted) > 3
    assert len(found) == min(len(wanted), 500)
    scores = [seen.score for seen in found]
    assert (np.diff(scores) < 1e-6).all()
    np.testing.assert_allclose(scores, wanted[: len(found), 14], atol=1e-4)
    for seen in found[:400]:
        left, top, right, bottom = seen.box
        numbers = np.concatenate(([left, top, right - left, bottom - top], seen.points.reshape(-1)))
        # Of equally sure ones the order is free.
        nearest = wanted[np.abs(wanted[:, :4] - numbers[:4]).sum(axis=1).argmin()]
        np.testing.assert_allclose(numbers, nearest[:14], rtol=1e-3, atol=0.05)


def test_aligned_faces_and_their_numbers_are_those_of_opencv(networks):
    path = find_onnx(pass_of_faces.RECOGNISER)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    reference = cv2.FaceRecognizerSF.create(str(path), "")
    rng = np.random.default_rng(3)
    for seed in range(6):
        picture = smooth(seed, (400, 300))
        angle, scale = rng.uniform(-3.1, 3.1), rng.uniform(0.4, 2.5)
        turn = scale * np.array(((np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))))
        points = (face_networks.TEMPLATE - 56) @ turn.T + rng.uniform(120, 180, 2) + rng.normal(0, 2, (5, 2))
        row = np.zeros((1, 15), np.float32)
        row[0, 4:14] = points.reshape(-1)
        wanted = reference.alignCrop(picture[:, :, ::-1].copy(), row)
        found = aligned(picture, row[0, 4:14].reshape(5, 2).astype(np.float64))
        difference = np.abs(found[:, :, ::-1].astype(int) - wanted)
        assert difference.mean() < 0.2
        assert difference.max() <= 12  # where an edge falls between two pixels
        vector = reference.feature(wanted)[0]
        ours = Recogniser(path)(found)
        assert float(ours @ vector / np.linalg.norm(vector)) > 0.9999
        assert np.linalg.norm(ours) == pytest.approx(1, abs=1e-5)


@given(
    arrays(np.float64, (5, 2), elements=st.floats(-100, 100, width=32)),
    st.floats(-3.14, 3.14),
    st.floats(0.1, 10),
    st.floats(-50, 50),
)
def test_a_similarity_is_found_again(points, angle, scale, shift):
    if np.linalg.matrix_rank(points - points.mean(axis=0), tol=1) < 2:
        points = points + face_networks.TEMPLATE
    turn = scale * np.array(((np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))))
    matrix = similarity(points, points @ turn.T + shift)
    np.testing.assert_allclose(matrix[:, :2], turn, atol=1e-6 * max(1, scale))
    moved = points @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(moved, points @ turn.T + shift, atol=1e-6 * (1 + scale * 100))


def test_a_mirrored_face_is_not_mirrored_back():
    matrix = similarity(face_networks.TEMPLATE * (-1, 1), face_networks.TEMPLATE)
    assert np.linalg.det(matrix[:, :2]) > 0


def test_faces_are_found_where_they_are(eyes):
    corners = {1: (40, 40), 2: (200, 104), 3: (328, 216)}
    found = find_faces(*eyes, scene(corners))
    assert len(found) == 3
    boxes = [np.array(one.box) * (480, 320, 480, 320) for one in sorted(found, key=lambda one: one.box)]
    for box, corner in zip(boxes, corners.values(), strict=True):
        np.testing.assert_allclose(box, (*corner, corner[0] + SIDE, corner[1] + SIDE), atol=2)
    vectors = np.stack([np.frombuffer(one.vector, "<f2") for one in found]).astype(np.float32)
    likeness = vectors @ vectors.T
    assert (np.abs(likeness[~np.eye(3, dtype=bool)]) < 0.5).all()
    assert all(0 < one.quality <= 1 for one in found)


def test_a_large_photo_is_searched_small_and_cut_from_the_large_one(eyes):
    large = scene({5: (400, 200)}, (1920, 1280), side=256)
    (found,) = find_faces(*eyes, large)
    (small,) = find_faces(*eyes, scene({5: (104, 56)}))
    np.testing.assert_allclose(np.array(found.box) * 1920 / (1, 1.5, 1, 1.5), (400, 200, 656, 456), atol=40)
    assert found.quality > small.quality
    assert _cosine(found, small) > 0.6


def _cosine(one, other):
    first, second = (np.frombuffer(part.vector, "<f2").astype(np.float32) for part in (one, other))
    return float(first @ second)


def test_small_blurred_and_turned_faces_are_poor_looks():
    seen = face_networks.Detection((0, 0, 112, 112), face_networks.TEMPLATE.copy(), 0.9)
    sharp = np.asarray(face(3, 112))
    best = pass_of_faces.judged(seen, sharp, 150)
    assert best > 0.8
    assert pass_of_faces.judged(seen, sharp, 30) < 0.4 * best
    assert pass_of_faces.judged(seen, cv2.GaussianBlur(sharp, (0, 0), 12), 150) < 0.6 * best
    profile = face_networks.TEMPLATE.copy()
    profile[2, 0] += 25
    assert pass_of_faces.judged(replace(seen, points=profile), sharp, 150) < 0.8 * best


def test_files_that_are_no_such_networks(tmp_path, networks):
    (tmp_path / "text.onnx").write_text("not a network")
    (tmp_path / "empty.onnx").write_bytes(b"")
    recogniser = find_onnx(pass_of_faces.RECOGNISER)
    for path in (tmp_path / "text.onnx", tmp_path / "empty.onnx", tmp_path / "absent.onnx", recogniser):
        with pytest.raises(CheckpointError) as caught:
            Detector(path, side=640, least=0.7)
        assert "\n" not in str(caught.value)
        assert path.name in str(caught.value)


def test_a_detector_may_know_one_size_only(tmp_path):
    free = Detector(random_detector(tmp_path / "free.onnx", 1, None), side=320, least=0.6)
    fixed = Detector(random_detector(tmp_path / "fixed.onnx", 1, 640), side=320, least=0.6)
    picture = smooth(8, (300, 300))
    assert free.side == fixed.side == 320
    assert [one.box for one in free(picture)] == [one.box for one in fixed(picture)]


def test_without_weights_the_pass_says_what_to_do(library, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SENSORIUM_HOME", str(tmp_path / "nothing"))
    write(folder / "a.jpg", scene({1: (40, 40)}))
    run(library, folder)
    first, last = library.describe(["faces"])
    assert isinstance(first, Skipped)
    assert "sensorium models pull opencv/face_detection_yunet" in first.reason
    assert "sensorium models pull opencv/face_recognition_sface" in first.reason
    assert "\n" not in first.reason
    assert last.tallies["faces"].skipped == first.reason
    with library.store.reading() as connection:
        assert connection.execute(sa.select(faces)).all() == []


def test_broken_weights_are_no_fault_of_the_photos(library, folder, networks):
    for name in "ab":
        write(folder / f"{name}.jpg", scene({1: (40, 40)}, shade=ord(name)))
    run(library, folder)
    path = find_onnx(pass_of_faces.DETECTOR)
    sound = path.read_bytes()
    path.write_bytes(sound[: len(sound) // 2])
    tally = list(library.describe(["faces"], workers=1))[-1].tallies["faces"]
    assert (tally.described, tally.failed) == (0, [])
    assert len(tally.waiting) == 2
    assert all(path.name in failure.reason for failure in tally.waiting)
    path.write_bytes(sound)
    assert list(library.describe(["faces"], workers=1))[-1].tallies["faces"].described == 2


def rows(library):
    """Faces by the name of their photo, from left to right."""
    with library.store.reading() as connection:
        statement = sa.select(faces, photos.c.path).join_from(faces, photos).order_by(faces.c.left)
        found = {}
        for row in connection.execute(statement):
            found.setdefault(row.path, []).append(row)
    return found


def test_the_pass_writes_faces_and_finds_them_again(library, folder, networks):
    write(folder / "two.jpg", scene({1: (40, 40), 2: (200, 104)}))
    exif = Image.Exif()
    exif[0x0112] = 8
    write(folder / "turned.jpg", scene({3: (104, 200)}, (320, 480)).rotate(-90, expand=True), exif=exif)
    write(folder / "none.jpg", scene({}))
    run(library, folder)
    *_, last = library.describe(["faces"], workers=1)
    assert last.tallies["faces"].described == 3
    before = rows(library)
    assert {name: len(found) for name, found in before.items()} == {"two.jpg": 2, "turned.jpg": 1}
    turned = before["turned.jpg"][0]
    np.testing.assert_allclose((turned.left, turned.top), (104 / 320, 200 / 480), atol=0.01)
    assert all(row.model == pass_of_faces.MODEL for found in before.values() for row in found)
    # Better networks: all faces are looked at anew, and each stays the same face.
    library.people.assign(before["two.jpg"][0].id, "Anna")
    with library.store.writing() as connection:
        connection.exec_driver_sql("UPDATE described SET version = 0")
        connection.execute(sa.update(faces).values(model="older", embedding=bytes(256)))
    *_, last = library.describe(["faces"], workers=1)
    assert last.tallies["faces"].described == 3
    after = rows(library)
    assert {n: [row.id for row in found] for n, found in after.items()} == {
        n: [row.id for row in found] for n, found in before.items()
    }
    assert [row.embedding for row in after["two.jpg"]] == [row.embedding for row in before["two.jpg"]]
    (anna,) = library.people.everybody()
    assert (anna.name, anna.photos) == ("Anna", 1)


def test_an_edited_photo_keeps_its_faces_by_their_look(library, folder, networks):
    image = scene({1: (40, 40), 2: (200, 104)})
    write(folder / "a.jpg", image)
    run(library, folder)
    list(library.describe(["faces"], workers=1))
    before = rows(library)["a.jpg"]
    library.people.assign(before[0].id, "Anna")
    library.people.not_this_person(before[1].id, library.people.called("Anna").id)
    # The left third is cut off: Anna's face goes from the picture, the other one moves.
    cut = image.crop((160, 0, 480, 320))
    write(folder / "a.jpg", cut)
    os.utime(folder / "a.jpg", ns=(7, 7))
    run(library, folder)
    list(library.describe(["faces"], workers=1))
    after = rows(library)["a.jpg"]
    kept = {row.id: row for row in after}
    assert kept[before[1].id].left == pytest.approx(40 / 320, abs=0.01)
    assert kept[before[0].id].confirmed  # what a hand said stays, though the network sees it no more
    write(folder / "a.jpg", scene({}))
    os.utime(folder / "a.jpg", ns=(9, 9))
    run(library, folder)
    list(library.describe(["faces"], workers=1))
    assert [row.id for row in rows(library)["a.jpg"]] == [before[0].id]


BOXES = st.tuples(*[st.floats(0, 1)] * 4).map(
    lambda box: (min(box[0], box[2]), min(box[1], box[3]), max(box[0], box[2]), max(box[1], box[3]))
)


@given(BOXES, BOXES)
def test_overlap_is_a_share(one, other):
    assert overlap(one, other) == pytest.approx(overlap(other, one))
    assert 0 <= overlap(one, other) <= 1 + 1e-9
    if (one[2] - one[0]) * (one[3] - one[1]) > 1e-9:
        assert overlap(one, one) == pytest.approx(1)


def test_weights_are_pinned_and_pulled(tmp_path, monkeypatch):
    """Against a hub on this machine: the one file, checked against the catalog's hash."""
    from sensorium.weights import pull

    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "weights"))
    from hub import COMMIT, Hub, serve

    monkeypatch.setenv("SENSORIUM_HOME", str(tmp_path))
    monkeypatch.delenv("SENSORIUM_OFFLINE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    content = red_detector(tmp_path / "made.onnx").read_bytes()
    entry = catalog.entry(pass_of_faces.DETECTOR)
    assert len(entry.sha256[entry.weights]) == 64
    with pytest.raises(ModelNotFoundError, match="sensorium models pull opencv/face_detection_yunet"):
        find_onnx(pass_of_faces.DETECTOR)
    hub = Hub({entry.weights: content, "README.md": b"a card", "other.onnx": b"x"}, entry.name)
    server = serve(hub)
    try:
        with pytest.raises(CheckpointError, match="the catalog says 8f2383e4dd3c"):
            list(pull.pull(entry.name, revision=COMMIT, endpoint=hub.address))
        digest = hashlib.sha256(content).hexdigest()
        pinned = replace(entry, sha256=MappingProxyType({entry.weights: digest}), revision=COMMIT)
        entries = tuple(pinned if one.name == entry.name else one for one in catalog.ENTRIES)
        monkeypatch.setattr(catalog, "ENTRIES", entries)
        list(pull.pull(entry.name, endpoint=hub.address))
    finally:
        server.shutdown()
        server.server_close()
    path = find_onnx(entry.name)
    assert path.read_bytes() == content
    assert {one.name for one in path.parent.iterdir()} == {entry.weights, pull.RECORD}
    assert pull.verify_hashes(entry.name, path.parent) == []
    assert FacePass().absent().count("models pull") == 1
