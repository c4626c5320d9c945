"""Films and bursts through ``sensorium cut``: what is written, what is told, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image

from moving_scenes import ByColour, Moment, across, along, film_of
from sensorium.cli.cut_video import cut_video, first_frame, is_moving
from sensorium.errors import SensoriumError
from sensorium.media.video import frames
from sensorium.skills.segment.film import save_cut_outs
from sensorium.skills.segment.masks import from_rle, overlap
from sensorium.skills.segment.prompts import Prompt

STAR = Prompt(points=((50, 60, 1),))


@pytest.fixture(autouse=True)
def by_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sensorium.skills.segment.segmenter.load", lambda name: ByColour())


@pytest.fixture(scope="module")
def moments() -> list[Moment]:
    return along(across(12))


@pytest.fixture(scope="module")
def movie(tmp_path_factory: pytest.TempPathFactory, moments: list[Moment]) -> Path:
    return film_of(tmp_path_factory.mktemp("film") / "star.mp4", [one.image for one in moments])


@pytest.fixture
def burst(tmp_path: Path, moments: list[Moment]) -> list[Path]:
    paths = [tmp_path / f"picture {i}.png" for i in range(6)]
    for path, one in zip(paths, moments, strict=False):
        one.image.save(path)
    return paths


def test_films_and_bursts_are_told_from_pictures(movie: Path, burst: list[Path]) -> None:
    assert is_moving([movie])
    assert is_moving(burst)
    assert not is_moving(burst[:1])
    with pytest.raises(SensoriumError, match="missing"):
        is_moving([movie.parent / "missing.mp4"])


def test_frames_come_from_a_moment_on(movie: Path, moments: list[Moment]) -> None:
    times = [frame.at for frame in frames(movie)]
    assert times == pytest.approx([i / 10 for i in range(12)], abs=0.001)
    later = list(frames(movie, start=0.5))
    assert [frame.at for frame in later] == pytest.approx([i / 10 for i in range(5, 12)], abs=0.001)
    shown = np.asarray(later[0].image, float)
    assert np.abs(shown - np.asarray(moments[5].image, float)).mean() < 6
    assert list(frames(movie, start=60)) == []
    assert np.array_equal(np.asarray(first_frame([movie], 0.5)), np.asarray(later[0].image))


def test_a_film_becomes_a_folder_of_cut_outs_and_a_list_of_masks(
    movie: Path, moments: list[Moment], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = movie.read_bytes()
    cut_video([movie], STAR, tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [*(f"{i:04d}.png" for i in range(1, 13)), "masks.json"]
    document = json.loads((tmp_path / "out" / "masks.json").read_text("utf-8"))
    assert [image["seconds"] for image in document["images"]] == pytest.approx([i / 10 for i in range(12)])
    for i, (one, told) in enumerate(zip(moments, document["annotations"], strict=True)):
        drawn = Image.open(tmp_path / "out" / f"{i + 1:04d}.png")
        assert (drawn.mode, drawn.size) == ("RGBA", one.image.size)
        opaque = np.asarray(drawn.getchannel("A")) > 127
        assert overlap(opaque, one.truth) > 0.85  # the film has blurred its edges
        assert np.array_equal(from_rle(told["segmentation"]), opaque)
        assert told["image_id"] == i + 1
        assert told["bbox"][2] * told["bbox"][3] >= told["area"]
        assert told["score"] > 0.6
    assert movie.read_bytes() == before
    assert "cut out of 12 of 12 pictures" in capsys.readouterr().out


def test_it_begins_where_it_is_told_to(movie: Path, tmp_path: Path) -> None:
    cut_video([movie], Prompt(points=((50 + 6 * 6, 60 + 4 * 6, 1),)), tmp_path / "out", at=0.6)
    document = json.loads((tmp_path / "out" / "masks.json").read_text("utf-8"))
    assert document["images"][0]["seconds"] == pytest.approx(0.6)
    assert len(document["annotations"]) == 6


def test_a_film_of_the_cut_out_begins_at_once(movie: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mkv"
    cut_video([movie], Prompt(points=((50 + 6 * 6, 60 + 4 * 6, 1),)), out, at=0.6)
    assert [frame.at for frame in frames(out)] == pytest.approx([i / 10 for i in range(6)], abs=0.002)
    with pytest.raises(SensoriumError, match="outside the picture"):
        cut_video([movie], Prompt(points=((5000, 60, 1),)), tmp_path / "none.mkv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.json", "out.mkv"]


@pytest.mark.parametrize("suffix", [".mkv", ".webm"])
def test_a_film_becomes_a_film_with_alpha(
    suffix: str, movie: Path, moments: list[Moment], tmp_path: Path
) -> None:
    import av

    out = tmp_path / f"out{suffix}"
    cut_video([movie], STAR, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.json", f"out{suffix}"]
    with av.open(str(out)) as container:
        stream: Any = container.streams.video[0]
        reader: Any = stream.codec_context
        if suffix == ".webm":  # FFmpeg's own reader of VP9 passes over the alpha
            assert stream.metadata["alpha_mode"] == "1"
            reader = av.CodecContext.create("libvpx-vp9", "r")
        drawn = [
            frame
            for packet in container.demux(stream)
            for frame in reader.decode(packet if packet.size else None)
        ]
    assert len(drawn) == 12
    assert [float(frame.pts * frame.time_base) for frame in drawn] == pytest.approx(
        [i / 10 for i in range(12)], abs=0.002
    )
    for one, frame in zip(moments, drawn, strict=True):
        alpha = frame.to_ndarray(format="rgba")[..., 3]
        assert overlap(alpha > 127, one.truth) > 0.85


def test_a_burst_goes_on_over_a_picture_that_cannot_be_read(
    burst: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    burst[2].write_bytes(b"no picture")
    with pytest.raises(typer.Exit) as ended:
        cut_video(burst, STAR, tmp_path / "out")
    assert ended.value.exit_code == 1
    said = capsys.readouterr()
    assert "cut out of 5 of 6 pictures" in said.out
    assert "missed in picture 3: the picture cannot be read" in said.out
    assert f"{burst[2]}: cannot be read" in said.err
    blank = Image.open(tmp_path / "out" / "0003.png")
    assert np.asarray(blank.getchannel("A")).max() == 0
    document = json.loads((tmp_path / "out" / "masks.json").read_text("utf-8"))
    assert [image["file_name"] for image in document["images"]] == [path.name for path in burst]
    assert [image.get("missed") for image in document["images"]].count(None) == 5
    assert [one["image_id"] for one in document["annotations"]] == [1, 2, 4, 5, 6]


def test_damaged_pictures_of_a_film_are_stepped_over(moments: list[Moment], tmp_path: Path) -> None:
    import av

    film = film_of(tmp_path / "damaged.mkv", [one.image for one in moments], codec="mjpeg")
    with av.open(str(film)) as container:
        packets = [bytes(packet) for packet in container.demux(container.streams.video[0]) if packet.size]
    content = bytearray(film.read_bytes())
    for packet in packets[4:6]:
        where = content.find(packet)
        content[where : where + len(packet)] = bytes(len(packet))
    film.write_bytes(content)
    whole = [0, 1, 2, 3, 6, 7, 8, 9, 10, 11]
    assert [frame.at for frame in frames(film)] == pytest.approx([i / 10 for i in whole], abs=0.002)
    cut_video([film], STAR, tmp_path / "out")
    document = json.loads((tmp_path / "out" / "masks.json").read_text("utf-8"))
    for i, told in zip(whole, document["annotations"], strict=True):
        assert overlap(from_rle(told["segmentation"]), moments[i].truth) > 0.8


def test_a_thing_that_leaves_is_told_and_nothing_is_written_after_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = film_of(tmp_path / "away.mp4", [one.image for one in along(across(22, (150, 96), (9, 0)))])
    cut_video([film], Prompt(points=((150, 96, 1),)), tmp_path / "out", as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["stopped"].startswith("it has left the picture")
    assert told["frames"] == told["found"] + 5
    assert len(list((tmp_path / "out").glob("*.png"))) == told["found"]
    assert [one["box"] is None for one in told["tracked"]] == [False] * told["found"] + [True] * 5
    document = json.loads((tmp_path / "out" / "masks.json").read_text("utf-8"))
    assert document["info"]["stopped"] == told["stopped"]


def test_what_cannot_be_written_is_refused_before_anything_is_done(
    movie: Path, burst: list[Path], tmp_path: Path
) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "holiday.jpg").write_bytes(b"mine")
    copy = tmp_path / "film.mkv"
    copy.write_bytes(movie.read_bytes())
    wrong: list[tuple[list[Path], Path, str]] = [
        ([movie], full, "not an empty folder"),
        ([movie], tmp_path / "out.mp4", "ending in .mkv or .webm"),
        ([movie], tmp_path / "nowhere" / "out.mkv", "is no folder"),
        ([copy], copy, "is the original"),
        (burst, burst[0], "name a new folder"),
    ]
    for sources, output, said in wrong:
        with pytest.raises(SensoriumError, match=said) as told:
            cut_video(sources, STAR, output)
        assert "\n" not in str(told.value)
    assert [path.name for path in full.iterdir()] == ["holiday.jpg"]
    assert copy.read_bytes() == movie.read_bytes()


def test_what_is_written_can_be_read_by_whom_other_files_can(burst: list[Path], tmp_path: Path) -> None:
    cut_video(burst, STAR, tmp_path / "out")
    usual = tmp_path / "usual"
    usual.write_text("")
    modes = {path.stat().st_mode for path in (tmp_path / "out").iterdir()}
    assert modes == {usual.stat().st_mode}


def test_a_folder_that_cannot_be_made_is_told(movie: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SensoriumError, match="cannot be made") as told:
        cut_video([movie], STAR, tmp_path / "file" / "out")
    assert "\n" not in str(told.value)


def test_a_moment_behind_the_end_and_a_point_beside_the_picture_are_told(movie: Path, tmp_path: Path) -> None:
    with pytest.raises(SensoriumError, match=r"star\.mp4 shows nothing from 60 seconds on"):
        cut_video([movie], STAR, tmp_path / "out", at=60)
    with pytest.raises(SensoriumError, match="missing"):
        cut_video([movie.parent / "missing.mp4"], STAR, tmp_path / "out2")
    assert not list(tmp_path.glob("out*/*"))


def test_a_film_that_is_broken_off_leaves_no_half_film(
    movie: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Breaking(ByColour):
        def cut(self, embedding: Any, prompt: Prompt) -> Any:
            if self.looks > 4:
                raise SensoriumError("broken off")
            return super().cut(embedding, prompt)

    monkeypatch.setattr("sensorium.skills.segment.segmenter.load", lambda name: Breaking())
    with pytest.raises(SensoriumError, match="broken off"):
        cut_video([movie], STAR, tmp_path / "out.mkv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["out.webm", "out.json"])
def test_what_is_there_already_is_not_written_over(movie: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"somebody's")
    with pytest.raises(SensoriumError, match=f"{name} is there already"):
        list(save_cut_outs(ByColour(), [movie], Prompt(points=((60, 60, 1),)), tmp_path / "out.webm"))
    assert (tmp_path / name).read_bytes() == b"somebody's"
