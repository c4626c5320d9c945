"""``sensorium cut`` as it is typed: what is written, what is said, and what becomes of bad input."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from segment_stand_ins import COLOURS, ColourReader, FlatSegmenter
from sensorium.skills.segment.masks import from_rle

RED, BLUE = (40, 30, 139, 109), (200, 60, 279, 179)


@pytest.fixture
def sensorium(home: Path, sensorium: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command line with networks that cut and read colours."""
    from sensorium.skills import embed
    from sensorium.skills.segment import segmenter

    monkeypatch.setattr(segmenter, "load", lambda name, **_: FlatSegmenter())
    monkeypatch.setattr(embed, "load", lambda name, **_: ColourReader())
    return sensorium


def drawn(size: tuple[int, int] = (320, 240), mode: str = "RGB") -> Image.Image:
    image = Image.new("RGB", size, (150, 150, 150))
    pen = ImageDraw.Draw(image)
    pen.rectangle(RED, fill=COLOURS["red"])
    pen.rectangle(BLUE, fill=COLOURS["blue"])
    return image.convert(mode)


@pytest.fixture
def photo(home: Path) -> Path:
    path = home / "photo.png"
    drawn().save(path)
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def opaque(path: Path) -> tuple[int, int, int, int]:
    """The box of what can be seen of a cut-out, with right and bottom behind it."""
    with Image.open(path) as image:
        assert image.mode == "RGBA"
        box = image.getchannel("A").point([0] * 128 + [255] * 128).getbbox()
        assert box is not None
        return box


def about(box: tuple[int, ...], wanted: tuple[int, int, int, int], within: int = 3) -> bool:
    behind = (wanted[0], wanted[1], wanted[2] + 1, wanted[3] + 1)
    return bool(np.abs(np.subtract(box, behind)).max() <= within)


def refused(result: Any, *words: str) -> None:
    """One line that says these words, and exit code 2."""
    assert result.code == 2, result.out + result.err
    assert result.out == ""
    assert result.err.count("\n") == 1
    for word in words:
        assert word in result.err


def test_a_point_cuts_a_thing_at_full_resolution(sensorium: Any, photo: Path, home: Path) -> None:
    before = digest(photo)
    done = sensorium("cut", photo, "--point", "60,60", "-o", "cut.png")
    assert done.code == 0
    assert "wrote" in done.out
    assert "cut.png" in done.out
    with Image.open(home / "cut.png") as image:
        assert image.size == (320, 240)
        pixels = np.asarray(image)
    assert about(opaque(home / "cut.png"), RED)
    assert pixels[60, 60].tolist() == [*COLOURS["red"], 255]
    assert pixels[120, 240, 3] == 0
    assert digest(photo) == before
    assert sorted(path.name for path in home.glob("*.png")) == [
        "cut.png",
        "photo.png",
    ]  # no part is left over


def test_json_is_one_document_with_masks_that_can_be_read_back(sensorium: Any, photo: Path) -> None:
    told = sensorium("cut", photo, "--box", "190,50,290,190", "--json", "-o", "cut.png").json
    assert set(told) == {"image", "width", "height", "model", "engine", "seconds", "masks"}
    assert (told["width"], told["height"], told["model"]) == (320, 240, "test/flat")
    assert told["engine"] == {"decode": "a stand-in"}
    assert told["seconds"] > 0
    [mask] = told["masks"]
    assert Path(mask["file"]).name == "cut.png"
    assert about(tuple(mask["box"]), BLUE)
    assert np.count_nonzero(from_rle(mask["rle"])) == mask["area"]
    alone = sensorium("cut", photo, "--point", "60,60", "--json")
    assert alone.code == 0
    assert alone.json["masks"][0]["file"] is None


def test_crop_leaves_the_empty_ground_off(sensorium: Any, photo: Path, home: Path) -> None:
    assert sensorium("cut", photo, "--point", "60,60", "--crop", "-o", "cut.png").code == 0
    with Image.open(home / "cut.png") as image:
        assert image.width == pytest.approx(102, abs=6)
        assert image.height == pytest.approx(82, abs=6)


def test_words_find_a_thing_and_say_how_likely(sensorium: Any, photo: Path, home: Path) -> None:
    done = sensorium("cut", photo, "--text", "a blue thing", "-o", "cut.png")
    assert done.code == 0
    assert "likelihood" in done.out
    assert about(opaque(home / "cut.png"), BLUE)
    told = sensorium("cut", photo, "--text", "红色", "--json").json
    assert [mask["label"] for mask in told["masks"]] == ["红色"]
    assert 0 < told["masks"][0]["score"] <= 1


def test_words_for_what_is_not_there_find_nothing(sensorium: Any, photo: Path, home: Path) -> None:
    done = sensorium("cut", photo, "--text", "yellow", "-o", "cut.png")
    assert done.code == 1
    assert done.out.startswith("nothing found")
    assert "yellow" in done.out
    assert not (home / "cut.png").exists()
    told = sensorium("cut", photo, "--text", "yellow", "--json", "-o", "cut.png")
    assert (told.code, told.json["masks"]) == (1, [])


def test_everything_that_is_called_so_becomes_numbered_files(sensorium: Any, home: Path) -> None:
    image = drawn()
    ImageDraw.Draw(image).rectangle((20, 150, 110, 220), fill=COLOURS["red"])
    image.save(home / "two.png")
    done = sensorium("cut", "two.png", "--text", "red", "--all", "-o", "cut.png")
    assert done.code == 0
    assert sorted(path.name for path in home.glob("cut*")) == ["cut-1.png", "cut-2.png"]
    boxes = {opaque(home / f"cut-{i}.png") for i in (1, 2)}
    assert sum(about(box, RED) for box in boxes) == 1
    assert sum(about(box, (20, 150, 110, 220)) for box in boxes) == 1


def test_coco_takes_all_masks_of_everything(sensorium: Any, photo: Path, home: Path) -> None:
    done = sensorium("cut", photo, "--everything", "-o", "all.json")
    assert done.code == 0
    written = json.loads((home / "all.json").read_text())
    assert written["images"] == [{"id": 1, "file_name": "photo.png", "width": 320, "height": 240}]
    boxes = [tuple(one["bbox"]) for one in written["annotations"]]
    assert len(boxes) == 3  # two boxes and the ground
    for wanted in (RED, BLUE):
        assert sum(about((x, y, x + w, y + h), wanted) for x, y, w, h in boxes) == 1
    for one in written["annotations"]:
        assert np.count_nonzero(from_rle(one["segmentation"])) == one["area"]


def test_several_boxes_are_several_things(sensorium: Any, photo: Path, home: Path) -> None:
    boxes = ("--box", "30,20,150,120", "--box", "190,50,290,190")
    assert sensorium("cut", photo, *boxes, "-o", "cut.png").code == 0
    assert about(opaque(home / "cut-1.png"), RED)
    assert about(opaque(home / "cut-2.png"), BLUE)


def test_all_of_one_point_are_its_candidates(sensorium: Any, photo: Path) -> None:
    told = sensorium("cut", photo, "--point", "60,60", "--all", "--json").json
    assert len(told["masks"]) == 3
    assert {mask["level"] for mask in told["masks"]} <= {"part", "object", "whole"}


def test_a_mask_is_a_prompt_by_its_light_or_by_its_opacity(sensorium: Any, photo: Path, home: Path) -> None:
    shape = Image.new("L", (320, 240))
    ImageDraw.Draw(shape).rectangle(BLUE, fill=255)
    shape.save(home / "light.png")
    clear = Image.new("RGBA", (320, 240), (255, 255, 255, 0))
    clear.paste((0, 0, 0, 255), (BLUE[0], BLUE[1], BLUE[2] + 1, BLUE[3] + 1))
    clear.save(home / "clear.png")
    for name in ("light.png", "clear.png"):
        told = sensorium("cut", photo, "--mask", name, "--json").json
        assert about(tuple(told["masks"][0]["box"]), BLUE, within=5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), ("say what to cut",)),
        (("--point", "1,1", "--text", "red"), ("three questions",)),
        (("--everything", "--text", "red"), ("three questions",)),
        (("--text", "  "), ("--text is empty",)),
        (("--point", "320,10"), ("320,10", "outside", "320 x 240")),
        (("--point", "-1,10"), ("outside",)),
        (("--point", "ten,10"), ("--point ten,10", "X,Y")),
        (("--point", "10"), ("--point 10",)),
        (("--point", "nan,10"), ("--point nan,10",)),
        (("--point", "10,10,2"), ("10,10,2",)),
        (("--point", "10,10,0"), ("not meant",)),
        (("--box", "50,50,50,90"), ("holds nothing", "320 x 240")),
        (("--box", "90,50,50,90"), ("left,top,right,bottom",)),
        (("--box", "400,400,500,500"), ("holds nothing",)),
        (("--box", "1,2,3"), ("--box 1,2,3",)),
        (("--box", "1,2,9,9", "--box", "2,2,9,9", "--point", "3,3"), ("several boxes",)),
        (("--mask", "none.png"), ("none.png",)),
    ],
)
def test_a_question_that_makes_no_sense_is_told_in_one_line(
    sensorium: Any, photo: Path, home: Path, options: tuple[str, ...], words: tuple[str, ...]
) -> None:
    refused(sensorium("cut", photo, *options, "-o", "cut.png"), *words)
    assert not (home / "cut.png").exists()


def test_a_mask_of_another_size_or_without_a_pixel_is_refused(
    sensorium: Any, photo: Path, home: Path
) -> None:
    Image.new("L", (20, 30), 255).save(home / "small.png")
    Image.new("L", (320, 240)).save(home / "black.png")
    refused(sensorium("cut", photo, "--mask", "small.png", "--json"), "20 x 30", "320 x 240")
    refused(sensorium("cut", photo, "--mask", "black.png", "--json"), "marks no pixel")


def test_what_is_no_picture_is_refused(sensorium: Any, home: Path) -> None:
    (home / "text.png").write_text("not a picture")
    refused(sensorium("cut", "text.png", "--point", "1,1", "--json"), "text.png", "text")
    refused(sensorium("cut", "gone.png", "--point", "1,1", "--json"), "gone.png")
    refused(sensorium("cut", ".", "--point", "1,1", "--json"), ".")


def test_there_must_be_somewhere_to_write(sensorium: Any, photo: Path, home: Path) -> None:
    point = ("--point", "60,60")
    refused(sensorium("cut", photo, *point), "-o OUT.png")
    refused(sensorium("cut", photo, *point, "-o", "cut.jpg"), "transparent", ".png")
    refused(sensorium("cut", photo, *point, "-o", "none/cut.png"), "folder does not exist")
    (home / "folder.png").mkdir()
    refused(sensorium("cut", photo, *point, "-o", "folder.png"), "is a folder")


def links(photo: Path, home: Path) -> dict[str, Path]:
    hard, soft = home / "hard.png", home / "soft.png"
    os.link(photo, hard)
    soft.symlink_to(photo)
    return {"itself": photo, "hard": hard, "soft": soft, "roundabout": home / "x" / ".." / "photo.png"}


@pytest.mark.parametrize("kind", ["itself", "hard", "soft", "roundabout"])
def test_the_original_is_never_written_over(sensorium: Any, photo: Path, home: Path, kind: str) -> None:
    (home / "x").mkdir()
    target, before = links(photo, home)[kind], digest(photo)
    refused(sensorium("cut", photo, "--point", "60,60", "-o", target), "never changed")
    refused(sensorium("cut", target, "--point", "60,60", "-o", "photo.png"), "never changed")
    assert digest(photo) == before
    assert os.path.samefile(photo, target)  # noqa: PTH121 - a path through a link


def test_a_number_behind_the_name_does_not_reach_the_original_either(sensorium: Any, home: Path) -> None:
    drawn().save(home / "cut-2.png")
    before = digest(home / "cut-2.png")
    boxes = ("--box", "30,20,150,120", "--box", "190,50,290,190")
    refused(sensorium("cut", "cut-2.png", *boxes, "-o", "cut.png"), "cut-2.png", "never changed")
    assert digest(home / "cut-2.png") == before
    assert not (home / "cut-1.png").exists()  # nothing is written when one of the names is refused


def test_a_mask_that_was_given_is_an_original_too(sensorium: Any, photo: Path, home: Path) -> None:
    Image.new("L", (320, 240), 255).save(home / "mask.png")
    refused(sensorium("cut", photo, "--mask", "mask.png", "-o", "mask.png"), "never changed")


def test_only_cut_outs_are_written_over(sensorium: Any, photo: Path, home: Path) -> None:
    drawn().save(home / "other.png")
    (home / "other.json").write_text("{}")
    for name in ("other.png", "other.json"):
        before = digest(home / name)
        refused(sensorium("cut", photo, "--point", "60,60", "-o", name), "there already")
        assert digest(home / name) == before
    for name in ("cut.png", "cut.json"):
        assert sensorium("cut", photo, "--point", "60,60", "-o", name).code == 0
        first = digest(home / name)
        assert sensorium("cut", photo, "--point", "240,120", "-o", name).code == 0
        assert digest(home / name) != first


def test_a_write_that_fails_leaves_nothing_behind(
    sensorium: Any, photo: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    assert sensorium("cut", photo, "--point", "60,60", "-o", "cut.png").code == 0
    before = digest(home / "cut.png")
    monkeypatch.setattr(os, "fsync", full)
    refused(sensorium("cut", photo, "--point", "240,120", "-o", "cut.png"), "cut.png", "No space left")
    assert digest(home / "cut.png") == before
    assert not list(home.glob(".cut*"))


def test_a_turned_photo_is_cut_as_it_is_seen(sensorium: Any, home: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    drawn().transpose(Image.Transpose.ROTATE_90).save(home / "turned.jpg", exif=exif, quality=95)
    told = sensorium("cut", "turned.jpg", "--point", "60,60", "-o", "cut.png", "--json").json
    assert (told["width"], told["height"]) == (320, 240)
    assert about(opaque(home / "cut.png"), RED)
    with Image.open(home / "cut.png") as image:
        assert np.abs(np.subtract(image.getpixel((60, 60))[:3], COLOURS["red"])).max() < 12


def test_transparency_of_the_original_stays(sensorium: Any, home: Path) -> None:
    image = drawn(mode="RGBA")
    alpha = Image.new("L", image.size, 255)
    alpha.paste(100, (40, 30, 90, 110))  # the left half of the red box is half transparent
    image.putalpha(alpha)
    exif = Image.Exif()
    exif[0x0112] = 3
    image.transpose(Image.Transpose.ROTATE_180).save(home / "alpha.png", exif=exif)
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).rectangle(RED, fill=255)
    mask.save(home / "mask.png")
    assert sensorium("cut", "alpha.png", "--mask", "mask.png", "-o", "cut.png").code == 0
    with Image.open(home / "cut.png") as cut:
        assert cut.getpixel((60, 60)) == (*COLOURS["red"], 100)  # and no white is mixed in
        assert cut.getpixel((120, 60)) == (*COLOURS["red"], 255)


def test_grey_and_deep_pictures_are_cut_in_their_greys(sensorium: Any, home: Path) -> None:
    drawn(mode="L").save(home / "grey.png")
    deep = np.asarray(drawn(mode="L"), np.uint16) * 257
    Image.fromarray(deep).save(home / "deep.png")
    level = int(np.asarray(drawn(mode="L"))[60, 60])
    for name in ("grey.png", "deep.png"):
        assert sensorium("cut", name, "--point", "60,60", "-o", f"cut-{name}").code == 0
        assert about(opaque(home / f"cut-{name}"), RED)
        with Image.open(home / f"cut-{name}") as cut:
            assert cut.getpixel((60, 60)) == (level, level, level, 255)


@pytest.mark.parametrize("size", [(1, 1), (20_000, 300), (2, 900)])
def test_odd_sizes_are_cut_at_their_size(sensorium: Any, home: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size, COLOURS["blue"]).save(home / "odd.png")
    done = sensorium("cut", "odd.png", "--point", f"{size[0] - 1},{size[1] // 2}", "-o", "cut.png")
    assert done.code == 0
    with Image.open(home / "cut.png") as cut:
        assert cut.size == size
        assert cut.getpixel((0, 0)) == (*COLOURS["blue"], 255)
    assert sensorium("cut", "odd.png", "--text", "yellow", "--json").code == 1


def test_through_a_burst_one_thing_is_followed(sensorium: Any, photo: Path, home: Path) -> None:
    drawn().save(home / "second.png")
    burst = (photo, "second.png")
    refused(sensorium("cut", *burst, "--everything", "-o", "out"), "one thing")
    refused(sensorium("cut", *burst, "--text", "red", "--all", "-o", "out"), "one thing")
    refused(sensorium("cut", *burst, "--point", "60,60"), "-o")
    refused(sensorium("cut", *burst, "--point", "600,60", "-o", "out"), "outside")
    nothing = sensorium("cut", *burst, "--text", "yellow", "-o", "out")
    assert nothing.code == 1
    assert nothing.out.startswith("nothing found")
    assert not (home / "out").exists()
    before = digest(photo)
    assert sensorium("cut", *burst, "--text", "red", "-o", "out").code == 0
    assert len(list((home / "out").glob("*.png"))) == 2
    assert digest(photo) == before


@pytest.mark.slow
def test_a_real_network_answers_the_same_command(
    home: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tiny SAM of the reference, by its folder: no stand-in between the words typed and the file."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "skills"))
    from test_segment import folder_of

    from sensorium.cli import main

    monkeypatch.setenv("SENSORIUM_ENGINE", "openvino-f32")
    folder, _ = folder_of(home / "sam")
    drawn().save(home / "photo.png")
    arguments = ["photo.png", "--point", "60,60", "--model", str(folder), "-o", "cut.png", "--json"]
    monkeypatch.setattr(sys, "argv", ["sensorium", "cut", *arguments])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 0
    told = json.loads(capsys.readouterr().out)
    assert {"encode", "decode"} <= set(told["engine"])
    [mask] = told["masks"]
    with Image.open(home / "cut.png") as cut:
        alpha = np.asarray(cut.getchannel("A"))
    inside = from_rle(mask["rle"])
    near = cv2.dilate(inside.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    assert (alpha[inside] >= 127).all()
    assert not alpha[~near].any()


def test_a_picture_that_is_not_there_is_named_once(sensorium: Any, tmp_path: Path) -> None:
    result = sensorium("cut", str(tmp_path / "none.jpg"), "--point", "1,1", "-o", str(tmp_path / "out.png"))
    refused(result, "no such file")
    assert result.err.count("none.jpg") == 1
