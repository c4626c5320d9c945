"""Cutting over HTTP, with a model whose masks are known: places, refinement, words, and what is saved."""

from __future__ import annotations

import io
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import cv2
import numpy as np
import pytest
from cutting_fakes import RADII, DiscCutter
from PIL import ExifTags, Image
from serving import application, beside, index, local_client, make_library, problem, stranger, token_of

from sensorium.errors import ModelNotFoundError, SensoriumError
from sensorium.server.api.cutting import outline
from sensorium.server.pictures import editing
from sensorium.server.settings import ServerSettings
from sensorium.skills.segment.masks import from_rle, mask_of

API = "/api/v1"
WIDTH, HEIGHT = 2000, 1500


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A library of one large photo, and the same photo stored lying on its side."""
    folder = tmp_path_factory.mktemp("cut") / "library"
    make_library(folder, ())
    picture = Image.new("RGB", (WIDTH, HEIGHT), (10, 120, 200))
    picture.paste((220, 30, 30), (0, 0, 400, 300))
    pictures = folder.parent / "pictures"
    picture.save(pictures / "large photo.jpg")
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6  # to be turned clockwise: its top is stored at the left
    picture.transpose(Image.Transpose.ROTATE_90).save(pictures / "turned.jpg", exif=turned)
    index(folder, pictures)
    return folder


@pytest.fixture
def cutter():
    return DiscCutter()


@pytest.fixture
def asking(kept, cutter):
    with local_client(application(kept, cutter=cutter)) as client:
        yield client


def photo(asking, name: str = "large photo.jpg") -> int:
    ids = asking.get(f"{API}/grid").json()["ids"]
    cards = asking.get(f"{API}/photos", params={"ids": ",".join(map(str, ids))}).json()["photos"]
    return next(card["id"] for card in cards if card["name"] == name)


def cut(asking, wanted: dict, name: str = "large photo.jpg") -> dict:
    answer = asking.post(f"{API}/photos/{photo(asking, name)}/cut", json=wanted)
    assert answer.status_code == 200, answer.text
    return answer.json()


def saved(asking, wanted: dict, name: str = "large photo.jpg") -> np.ndarray:
    answer = asking.post(f"{API}/photos/{photo(asking, name)}/cut.png", json=wanted)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.mode == "RGBA"
        return np.array(image)


def bits(mask: dict) -> np.ndarray:
    return from_rle(mask["rle"])


@pytest.mark.parametrize("name", ["large photo.jpg", "turned.jpg"])
def test_a_click_gives_three_masks_around_it_in_pixels_of_the_upright_original(asking, cutter, name):
    looked = asking.post(f"{API}/photos/{photo(asking, name)}/cut/embed").json()
    assert (looked["width"], looked["height"]) == (WIDTH, HEIGHT)
    assert cutter.pictures == [(1024, 768)]
    answer = cut(asking, {"points": [[1500, 400, 1]]}, name)
    assert (answer["width"], answer["height"], answer["best"]) == (1024, 768, 1)
    assert [mask["level"] for mask in answer["masks"]] == ["part", "object", "whole"]
    for mask, radius in zip(answer["masks"], RADII, strict=True):
        assert bits(mask).shape == (768, 1024)
        wanted = [max(0, 1500 - radius * WIDTH), max(0, 400 - radius * WIDTH)]
        assert mask["box"][:2] == pytest.approx(wanted, abs=6)
        rows, columns = np.nonzero(bits(mask))
        assert mask["box"][0] <= columns.min() * WIDTH / 1024
        assert mask["box"][3] >= (rows.max() + 1) * HEIGHT / 768
        assert mask["area"] == pytest.approx(bits(mask).sum() * (WIDTH / 1024) ** 2, rel=0.01)
    assert len(cutter.pictures) == 1


def test_the_outline_is_the_mask():
    bitmap = np.zeros((90, 120), bool)
    bitmap[10:70, 20:100] = True
    bitmap[30:50, 40:80] = False
    bitmap[80:85, 3:9] = True
    drawn = np.zeros(bitmap.shape, np.uint8)
    rings = [
        np.array([[float(number) - 0.5 for number in pair.split()] for pair in ring.rstrip("Z").split("L")])
        for ring in outline(bitmap).split("M")[1:]
    ]
    assert len(rings) == 3
    cv2.fillPoly(drawn, [np.round(ring).astype(np.int32) for ring in rings], 1)
    assert (drawn.astype(bool) != bitmap).sum() <= 2 * (20 + 40) + 20  # the edge of the hole
    assert outline(np.zeros((5, 5), bool)) == ""


def test_further_clicks_add_and_remove_from_the_answer_that_was_chosen(asking):
    first = [1000, 700, 1]
    whole = cut(asking, {"points": [first]})["masks"][2]
    added = cut(asking, {"points": [first, [300, 1200, 1]], "choice": 2})
    assert len(added["masks"]) == 1
    assert added["best"] == 0
    grown = bits(added["masks"][0])
    assert grown[bits(whole)].mean() > 0.99
    assert grown[int(1200 * 768 / HEIGHT), int(300 * 1024 / WIDTH)]
    object_only = bits(cut(asking, {"points": [first, [300, 1200, 1]]})["masks"][0])
    assert object_only.sum() < grown.sum()
    removed = bits(cut(asking, {"points": [first, [300, 1200, 1], [1000, 700, 0]], "choice": 2})["masks"][0])
    assert not removed[int(700 * 768 / HEIGHT), int(1000 * 1024 / WIDTH)]
    assert removed.sum() < grown.sum()


def test_an_answer_that_was_forgotten_is_worked_out_again(asking, cutter):
    wanted = {"points": [[1000, 700, 1], [300, 1200, 1], [900, 600, 0]], "choice": 0}
    before = cut(asking, wanted)
    prompts = cutter.prompts
    again = cut(asking, wanted)
    assert cutter.prompts == prompts
    for number in range(40):
        cut(asking, {"points": [[10 + number, 20, 1]]})
    assert cutter.prompts == prompts + 40
    later = cut(asking, wanted)
    assert cutter.prompts == prompts + 43
    assert before["masks"] == again["masks"] == later["masks"]


def test_a_box_is_unambiguous_and_refined_by_clicks(asking):
    box = [200, 300, 1200, 900]
    answer = cut(asking, {"box": box})
    assert len(answer["masks"]) == 1
    assert answer["masks"][0]["box"] == pytest.approx(box, abs=12)
    less = cut(asking, {"box": box, "points": [[700, 600, 0]]})
    assert less["masks"][0]["area"] < answer["masks"][0]["area"]


def test_many_who_ask_at_the_same_time_let_it_look_once(asking, cutter):
    number = photo(asking)
    asking.get(f"{API}/status")

    def ask(x: int) -> int:
        other = beside(asking, address=("127.0.0.1", 50_001))
        other.headers.update(asking.headers)
        return other.post(f"{API}/photos/{number}/cut", json={"points": [[x, 200, 1]]}).status_code

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(ask, range(100, 1300, 100))) == {200}
    assert len(cutter.pictures) == 1


@pytest.fixture
def spoken(monkeypatch):
    """A search by words that knows two red things and no elephant."""
    told = []

    def find(segmenter, embedder, image, words, *, all=False):
        told.append((segmenter.name, image.size, words, all))
        masks = []
        for left in (0, 100):
            bitmap = np.zeros((image.height, image.width), bool)
            bitmap[10:60, left : left + 50] = True
            masks.append(mask_of(bitmap, 0.9, 0.95))
        if words != "red things":
            return []
        return masks if all else masks[:1]

    module = ModuleType("sensorium.skills.segment.words")
    module.find = find
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr("sensorium.skills.segment.words", module, raising=False)
    return told


def test_words_find_things_or_nothing(asking, spoken):
    answer = cut(asking, {"words": "  red   things "})
    assert (len(answer["masks"]), answer["best"]) == (1, 0)
    assert spoken == [("test/discs", (1024, 768), "red things", False)]
    assert cut(asking, {"words": "an elephant"}) | {"took": 0} == {
        "width": 1024, "height": 768, "masks": [], "best": None, "took": 0,
    }  # fmt: skip
    refused = asking.post(f"{API}/photos/{photo(asking)}/cut.png", json={"words": "an elephant"})
    problem(refused, 422, "nothing_found")


def test_all_that_words_find_is_saved_together_or_one_by_one(asking, spoken):
    wanted = {"words": "red things", "all": True}
    assert len(cut(asking, wanted)["masks"]) == 2
    across = WIDTH / 1024
    both, second = saved(asking, wanted), saved(asking, wanted | {"choice": 1})
    places = [(int(35 * across), int(x * across)) for x in (25, 125)]
    assert [both[place][3] for place in places] == [255, 255]
    assert [second[place][3] for place in places] == [0, 255]
    more = cut(asking, wanted | {"points": [[1800, 1400, 1]]})["masks"][0]
    assert more["area"] > (both[..., 3] > 127).sum()


@pytest.mark.parametrize("name", ["large photo.jpg", "turned.jpg"])
def test_the_cut_out_has_the_original_s_size_and_is_opaque_where_was_clicked(asking, kept, name):
    before = (kept.parent / "pictures" / name).read_bytes()
    picture = saved(asking, {"points": [[150, 120, 1]], "choice": 0}, name)
    assert picture.shape == (HEIGHT, WIDTH, 4)
    assert picture[120, 150, 3] == 255
    assert picture[120, 150, :3].tolist() == pytest.approx([220, 30, 30], abs=6)
    assert picture[1000, 1500].tolist() == [0, 0, 0, 0]
    assert not picture[picture[..., 3] == 0].any()
    radius = RADII[0] * WIDTH
    assert (picture[..., 3] > 127).sum() == pytest.approx(np.pi * radius**2, rel=0.05)
    cropped = saved(asking, {"points": [[1000, 700, 1]], "choice": 0, "cropped": True}, name)
    assert cropped.shape[:2] == pytest.approx((2 * radius, 2 * radius), abs=8)
    assert (kept.parent / "pictures" / name).read_bytes() == before


def test_the_transparency_of_the_file_itself_stays(tmp_path, cutter):
    folder = make_library(tmp_path / "library", ("red",))
    glass = Image.new("RGBA", (300, 200), (20, 200, 40, 128))
    glass.save(tmp_path / "pictures" / "glass.png")
    index(folder, tmp_path / "pictures")
    with local_client(application(folder, cutter=cutter)) as asking:
        picture = saved(asking, {"points": [[150, 100, 1]]}, "glass.png")
        assert picture[100, 150].tolist() == [20, 200, 40, 128]
        assert picture[5, 5].tolist() == [0, 0, 0, 0]


def test_the_name_of_the_file_tells_where_it_is_from(asking):
    answer = asking.post(f"{API}/photos/{photo(asking)}/cut.png", json={"points": [[1000, 700, 1]]})
    assert answer.headers["content-disposition"] == "attachment; filename*=utf-8''large%20photo-cut.png"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("wanted", "status", "code"),
    [
        ({}, 422, "invalid"),
        ({"points": [[5, 5]]}, 422, "invalid"),
        ({"points": [[5, 5, 2]]}, 422, "invalid"),
        ({"points": [[5, 5, 1]] * 65}, 422, "invalid"),
        ({"words": ""}, 422, "invalid"),
        ({"words": "x", "box": [1, 2, 3, 4]}, 422, "invalid"),
        ({"points": [[5, 5, 1]], "model": "other"}, 422, "invalid"),
        ({"points": [[2000, 5, 1]]}, 400, "bad_request"),
        ({"points": [[5, -1, 1]]}, 400, "bad_request"),
        ({"box": [50, 50, 50, 80]}, 400, "bad_request"),
        ({"box": [3000, 50, 4000, 80]}, 400, "bad_request"),
    ],
)
def test_what_cannot_be_meant_is_told_in_one_line(asking, wanted, status, code):
    answer = asking.post(f"{API}/photos/{photo(asking)}/cut", json=wanted)
    detail = problem(answer, status, code)["detail"]
    if status == 400:
        assert any(word in detail for word in ("2000 x 1500",)), detail


def test_an_answer_that_was_not_given_cannot_be_chosen(asking):
    answer = asking.post(
        f"{API}/photos/{photo(asking)}/cut.png", json={"points": [[900, 700, 1]], "choice": 7}
    )
    assert problem(answer, 400, "bad_request")["detail"] == "there are 3 answers, no number 7"


def test_a_photo_that_is_not_there(asking):
    for path in ("cut/embed", "cut", "cut.png"):
        answer = asking.post(f"{API}/photos/987654/{path}", json={"points": [[1, 1, 1]]})
        problem(answer, 404, "photo_not_found")


def test_a_model_that_is_not_here(kept):
    def missing(name):
        raise ModelNotFoundError(f"{name} is not on this machine")

    with local_client(application(kept, cutter=missing, cut_model="nobody/sam")) as other:
        for _ in range(2):  # a failure is not kept
            refused = other.post(f"{API}/photos/{photo(other)}/cut/embed")
            assert "nobody/sam" in problem(refused, 503, "cut_model_missing")["detail"]


def test_a_photo_that_changed_meanwhile_is_not_cut_by_the_old_mask(tmp_path, cutter):
    folder = make_library(tmp_path / "library", ("red", "green"))
    with local_client(application(folder, cutter=cutter)) as asking:
        number = photo(asking, "red.jpg")
        assert asking.post(f"{API}/photos/{number}/cut", json={"points": [[30, 30, 1]]}).status_code == 200
        Image.new("RGB", (64, 64), (1, 2, 3)).save(tmp_path / "pictures" / "red.jpg", quality=50)
        answer = asking.post(f"{API}/photos/{number}/cut.png", json={"points": [[30, 30, 1]]})
        problem(answer, 409, "photo_changed")
        (tmp_path / "pictures" / "red.jpg").unlink()
        answer = asking.post(f"{API}/photos/{number}/cut.png", json={"points": [[30, 30, 1]]})
        problem(answer, 410, "photo_gone")


def test_whoever_may_look_may_cut(kept, cutter):
    app = application(kept, cutter=cutter, host="0.0.0.0", without_tls=True, host_names=("photos.example",))
    with stranger(app) as asking:
        address = f"{API}/photos/1/cut"
        problem(asking.post(address, json={"points": [[1, 1, 1]]}), 401, "sign_in_needed")
        asking.headers["authorization"] = f"Bearer {token_of(app, 'view')}"
        number = photo(asking)
        answer = asking.post(f"{API}/photos/{number}/cut.png", json={"points": [[900, 700, 1]]})
        assert answer.status_code == 200


@pytest.fixture
def editor(tmp_path):
    """A program that notes which file it was told to open, and the note."""
    program, note = tmp_path / "painter.py", tmp_path / "note"
    program.write_text(f"import pathlib, sys\npathlib.Path({str(note)!r}).write_text(sys.argv[1], 'utf-8')\n")
    return (sys.executable, str(program)), note


def test_a_cut_out_is_opened_in_the_editor_and_kept(kept, editor):
    command, note = editor
    with local_client(application(kept, editor=command)) as asking:
        number = photo(asking)
        looked = asking.post(f"{API}/photos/{number}/cut/embed").json()
        assert looked["editor"] == "painter"
        wanted = {"points": [[1000, 750, 1]]}
        answers = [asking.post(f"{API}/photos/{number}/cut/edit", json=wanted) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert [answer.json()["name"] for answer in answers] == [
            "large photo-cut.png",
            "large photo-cut-2.png",
        ]
        for _ in range(200):
            if note.exists() and note.read_text("utf-8").endswith(".png"):
                break
            time.sleep(0.05)
        opened = note.read_text("utf-8")
        files = sorted(str(path) for path in (kept / "cut-outs").iterdir())
        assert opened in files
        assert len(files) == 2
        with Image.open(opened) as image:
            assert (image.mode, image.size) == ("RGBA", (WIDTH, HEIGHT))
            assert np.array_equal(np.array(image), saved(asking, wanted))


def test_without_an_editor_the_page_is_offered_none(asking):
    number = photo(asking)
    assert asking.post(f"{API}/photos/{number}/cut/embed").json()["editor"] is None
    refused = asking.post(f"{API}/photos/{number}/cut/edit", json={"points": [[1000, 750, 1]]})
    problem(refused, 409, "no_editor")


def test_an_editor_that_does_not_start_is_told_and_the_cut_out_kept(kept, tmp_path):
    gone = tmp_path / "gone"
    with local_client(application(kept, editor=(str(gone),))) as asking:
        path = f"{API}/photos/{photo(asking, 'turned.jpg')}/cut/edit"
        told = problem(asking.post(path, json={"points": [[1000, 750, 1]]}), 502, "editor_failed")
        assert "turned-cut.png" in told["detail"]
        assert str(tmp_path) not in told["detail"]
        assert (kept / "cut-outs" / "turned-cut.png").is_file()


@pytest.mark.parametrize("options", [{"sign_in": True}, {"host": "192.0.2.1", "without_tls": True}])
def test_an_editor_goes_only_with_a_server_of_this_machine_alone(tmp_path, options):
    with pytest.raises(SensoriumError, match="--editor opens windows on this machine"):
        ServerSettings(library=tmp_path, editor=("gimp",), **options)


def test_the_editor_is_a_program_and_its_arguments():
    assert editing.command_of(f'"{sys.executable}" -a Preview')[1:] == ("-a", "Preview")
    assert editing.name_of(("/usr/bin/open", "-a", "Preview")) == "Preview"
    for wrong in ("", "no-such-program-here", '"open'):
        with pytest.raises(SensoriumError, match="--editor"):
            editing.command_of(wrong)


def test_long_names_are_shortened_and_nothing_is_left_of_what_failed(tmp_path):
    path = editing.keep(b"content", tmp_path, "\u6a31" * 80 + "-cut.png")
    assert path.read_bytes() == b"content"
    assert path.name == "\u6a31" * 66 + ".png"
    with pytest.raises(TypeError):
        editing.keep("no bytes", tmp_path, "other.png")
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
