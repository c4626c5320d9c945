"""Films: posters, durations, telling frames, tags; and files that are damaged, endless or hostile."""

import errno
import io
import struct
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from film_fakes import film, turned
from hypothesis import given, settings
from hypothesis import strategies as st
from photo_fakes import COLOURS, picture
from PIL import Image

from sensorium.errors import BadImageError
from sensorium.media import video
from sensorium.media.video import copy_without_metadata, is_video, read_poster, read_video
from sensorium.photos.describe.video import describe_film

SUFFIXES = (".mp4", ".mov", ".m4v", ".3gp", ".webm", ".mkv", ".avi", ".mts")


def near(colour: tuple[int, ...], name: str, most: int = 25) -> bool:
    return max(abs(a - b) for a, b in zip(colour, COLOURS[name], strict=True)) <= most


def reason(content: bytes | Path) -> str:
    with pytest.raises(BadImageError) as caught:
        read_video(content)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_container(tmp_path, suffix):
    size = (176, 144) if suffix == ".3gp" else (64, 48)
    path = film(tmp_path / f"a{suffix}", size=size, sound=suffix in (".mp4", ".webm"))
    with path.open("rb") as file:
        assert is_video(file)
        assert file.tell() == 0
    found = read_video(path)
    assert (found.width, found.height) == size
    assert found.duration == pytest.approx(
        6, abs=1.8 if suffix == ".mpg" else 0.35
    )  # its last packet is long
    middles = [frame.image.getpixel((size[0] // 2, size[1] // 2)) for frame in found.frames]
    assert [[near(pixel, name) for name in ("red", "green", "blue")] for pixel in middles] == np.eye(
        3, dtype=bool
    ).tolist()
    for frame, start in zip(found.frames, (0, 2, 4), strict=True):
        assert start - 0.2 <= frame.at < start + 2
    assert found.format in ("MP4", "MOV", "WEBM", "MKV", "AVI", "MPEG", "OGG")
    assert read_poster(path).size == size


def test_a_program_stream_whose_last_packet_is_a_third_of_it(tmp_path):
    found = read_video(film(tmp_path / "a.mpg"))
    assert (found.format, found.width, found.height) == ("MPEG", 64, 48)
    assert 4 < found.duration < 6.5
    assert near(found.frames[0].image.getpixel((30, 20)), "red")


def test_a_film_of_one_scene_gives_one_frame_and_one_of_many_no_more_than_the_most(tmp_path):
    still = film(tmp_path / "still.mp4", [picture(1)], seconds=9)
    assert len(read_video(still).frames) == 1
    many = film(tmp_path / "many.mp4", [picture(seed) for seed in range(20)], seconds=20)
    frames = read_video(many).frames
    assert len(frames) == video.MOST_FRAMES
    assert [frame.at for frame in frames] == sorted({frame.at for frame in frames})


def test_scenes_between_far_key_frames_are_found(tmp_path):
    """A screen recording has one key frame, and everything else lies behind it."""
    path = film(tmp_path / "a.mp4", [picture(seed) for seed in range(6)], seconds=12, every=1000)
    assert len(read_video(path).frames) == 6


def test_the_poster_is_no_black_opening(tmp_path):
    black = Image.new("RGB", (64, 48))
    path = film(tmp_path / "a.mp4", [black, picture(3), black], seconds=6)
    found = read_video(path)
    assert [2 <= frame.at < 4 for frame in found.frames] == [True]
    want = np.asarray(picture(3).resize((64, 48)), float)
    assert np.abs(np.asarray(read_poster(path), float) - want).mean() < 12


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_frames_are_upright(tmp_path, degrees):
    scene = Image.new("RGB", (96, 48))
    scene.paste(COLOURS["red"], (0, 0, 48, 24))
    path = turned(film(tmp_path / "a.mp4", [scene], size=(96, 48), seconds=2), degrees)
    found = read_video(path)
    upright = scene.rotate(-degrees, expand=True)
    assert (found.width, found.height) == upright.size
    shown = found.frames[0].image
    assert shown.size == upright.size
    assert np.abs(np.asarray(shown, float) - np.asarray(upright, float)).mean() < 8


def test_pixels_that_are_not_square_and_a_smaller_side(tmp_path):
    path = film(tmp_path / "a.mkv", [picture(1)], size=(72, 96), shape=Fraction(4, 3), seconds=2)
    found = read_video(path)
    assert (found.width, found.height) == (96, 96)
    assert read_video(path, side=48).frames[0].image.size == (48, 48)
    assert read_video(path, side=500).frames[0].image.size == (96, 96)


def test_tags_become_facts(tmp_path):
    apple = {
        "com.apple.quicktime.creationdate": "2021-05-01T19:00:00+0900",
        "com.apple.quicktime.location.ISO6709": "+35.0116+135.7681+050.000/",
        "com.apple.quicktime.make": "Apple",
        "com.apple.quicktime.model": "iPhone 12",
        "creation_time": "2021-05-01T10:00:07.000000Z",
    }
    found = read_video(film(tmp_path / "a.mov", seconds=1, tags=apple), looks=1)
    facts = describe_film(found, "IMG_1.MOV")
    assert (facts.kind, facts.format, facts.duration) == ("video", "MOV", 1.0)
    assert (facts.taken_at, facts.taken_offset, facts.taken_source) == (1619863200000000, 540, "original")
    assert (facts.latitude, facts.longitude, facts.altitude) == (35.0116, 135.7681, 50.0)
    assert (facts.camera_make, facts.camera_model) == ("Apple", "iPhone 12")
    android = {"creation_time": "2021-05-01T10:00:00.000000Z", "location": "-33.8568+151.2153/"}
    found = read_video(film(tmp_path / "b.mp4", seconds=1, tags=android), looks=1)
    facts = describe_film(found, "VID_20210501_195958.mp4")
    assert (facts.taken_at, facts.taken_offset) == (1619863200000000, 600)
    assert (facts.latitude, facts.longitude, facts.altitude) == (-33.8568, 151.2153, None)
    assert describe_film(found, "clip.mp4").taken_offset == 0


@pytest.mark.parametrize(
    ("tags", "name", "taken"),
    [
        ({"creation_time": "1904-01-01T00:00:00.000000Z"}, "a.mp4", None),
        ({"creation_time": "1970-01-01T00:00:00Z"}, "VID_20190203_040506.mp4", "2019-02-03T04:05:06"),
        ({"creation_time": "nonsense"}, "a.mp4", None),
        ({"date": "2014-07-08"}, "a.mp4", None),
        ({}, "20190203.mp4", "2019-02-03T00:00:00"),
    ],
)
def test_clocks_that_were_never_set(tags, name, taken):
    found = video.Film("MP4", 4, 3, 1.0, tags, (), 0)
    moment = describe_film(found, name).taken_at
    assert (None if moment is None else str(np.datetime64(moment, "us"))[:19]) == taken


@pytest.mark.parametrize(
    ("told", "place"),
    [
        ("+48.8584+002.2945/", (48.8584, 2.2945, None)),
        ("-1230.5-04530.0+100/", (-12.508333, -45.5, 100.0)),
        ("+123045.5+0453000/", (12.512639, 45.5, None)),
        ("+00.0000+000.0000/", (None, None, None)),
        ("+99.0000+000.0000/", (None, None, None)),
        ("somewhere", (None, None, None)),
    ],
)
def test_positions_of_iso_6709(told, place):
    facts = describe_film(video.Film("MP4", 4, 3, 1.0, {"location": told}, (), 0), "a.mp4")
    found = (facts.latitude, facts.longitude, facts.altitude)
    assert found == tuple(None if value is None else pytest.approx(value, abs=1e-5) for value in place)


@given(
    st.dictionaries(st.sampled_from(["location", "creation_time", "title", "keywords", "date"]), st.text())
)
def test_no_tag_fails_a_film(tags):
    facts = describe_film(video.Film("MP4", 4, 3, 1.0, tags, (), 0), "a.mp4")
    assert (facts.latitude is None) == (facts.longitude is None)


# Bad input


def test_what_is_no_film_or_shows_nothing(tmp_path):
    assert reason(b"") == "not a film that can be read"
    assert "not a film" in reason(b"#EXTM3U\nfile:///etc/passwd\n" * 9)
    assert "not a film" in reason(Path(__file__))
    assert reason(tmp_path / "absent.mp4") == "no such file"
    sound = film(tmp_path / "sound.mp4", sound=True, pictures=False, seconds=1)
    assert reason(sound) == "it holds sound and no pictures"


def test_cut_off_films_are_refused(tmp_path):
    content = film(tmp_path / "a.mp4", [picture(seed) for seed in range(6)]).read_bytes()
    for share in (0.01, 0.3, 0.7, 0.97):
        assert "damaged or cut off" in reason(content[: int(len(content) * share)])
    # Its table of contents in front: everything seems to be there.
    ready = tmp_path / "ready.mp4"
    options = {"movflags": "faststart"}
    with av.open(io.BytesIO(content)) as source, av.open(ready, "w", options=options) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    whole = ready.read_bytes()
    assert whole.index(b"moov") < whole.index(b"mdat")
    assert read_video(whole).duration == pytest.approx(6, abs=0.1)
    for share in (0.7, 0.97):
        assert reason(whole[: int(len(whole) * share)]).startswith("the film is cut off")


def test_a_play_list_in_the_clothes_of_a_film_opens_nothing(tmp_path):
    secret = film(tmp_path / "secret.mp4")
    lists = f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{secret}\n#EXT-X-ENDLIST\n".encode()
    for content in (lists, b"\0\0\0\x08free" + lists, b"ffconcat version 1.0\nfile " + bytes(secret)):
        assert reason(content)


def test_pictures_beyond_the_limit_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    path = film(tmp_path / "a.mp4", size=(96, 64))
    monkeypatch.setattr(video, "MOST_PIXELS", 96 * 64 - 1)
    assert reason(path) == "its pictures have 0 megapixels; the limit is 0"


def test_a_size_that_only_the_stream_tells_is_limited_too(tmp_path, monkeypatch):
    path = film(tmp_path / "a.mp4", size=(96, 64))
    content = path.read_bytes()
    place = content.index(b"avc1", content.index(b"stsd")) + 28
    assert struct.unpack(">HH", content[place : place + 4]) == (96, 64)
    small = content[:place] + struct.pack(">HH", 16, 16) + content[place + 4 :]
    monkeypatch.setattr(video, "MOST_PIXELS", 2000)
    assert reason(small)


def test_decoding_ends_when_its_time_is_up(tmp_path, monkeypatch):
    path = film(tmp_path / "a.mp4", [picture(seed) for seed in range(20)], seconds=20)
    monkeypatch.setattr(video, "SECONDS", 0.0)
    started = time.monotonic()
    assert "none of its pictures" in reason(path)
    assert time.monotonic() - started < 1
    clock = iter(np.arange(0, 100, 0.5))
    monkeypatch.setattr(video, "SECONDS", 10.0)
    monkeypatch.setattr(video.time, "monotonic", lambda: next(clock))
    assert 1 <= len(read_video(path).frames) < 8


class Dying(io.BytesIO):
    """A disk that fails behind the first bytes."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() > 4000:
            raise OSError(errno.EIO, "Input/output error")
        return super().read(min(size or 0, 1000) if size and size > 0 else 1000)


def test_a_fault_of_the_disk_is_not_one_of_the_film(tmp_path):
    scenes = [picture(seed) for seed in range(12)]
    path = film(tmp_path / "a.mkv", scenes, seconds=12, size=(160, 120))
    with pytest.raises(OSError, match="Input/output error"):
        read_video(Dying(path.read_bytes()))
    with path.open("rb") as source, pytest.raises(OSError, match="No space left"):
        copy_without_metadata(source, Full())


class Full(io.BytesIO):
    """A disk without room."""

    def write(self, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


class Pipe:
    """A file that nobody can go back in, to write how long the film became."""

    def __init__(self) -> None:
        self.content = b""

    def write(self, content: bytes) -> int:
        self.content += bytes(content)
        return len(content)


def test_a_film_that_tells_no_duration_or_a_wrong_one(tmp_path):
    """As browsers record: WebM written as it comes."""
    written = Pipe()
    with av.open(written, "w", format="webm") as container:
        stream = container.add_stream("libvpx", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(40):
            image = Image.new("RGB", (64, 48), COLOURS["red" if number < 20 else "blue"])
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode(None))
    found = read_video(written.content)
    assert found.duration == pytest.approx(4, abs=0.3)
    assert len(found.frames) == 2
    path = film(tmp_path / "a.avi", seconds=3)
    content = bytearray(path.read_bytes())
    place = content.index(b"avih") + 8 + 16  # the number of frames
    content[place : place + 4] = struct.pack("<I", 0xFFFFFFF)
    assert 1 <= len(read_video(bytes(content)).frames) <= 3


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_damaged_bytes_give_frames_or_one_line(data):
    content = bytearray(DAMAGED[data.draw(st.sampled_from(sorted(DAMAGED)))])
    for _ in range(data.draw(st.integers(1, 12))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    told, frames = "", ()
    try:
        frames = read_video(bytes(content)).frames
    except BadImageError as error:
        told = str(error)
    assert bool(told) != bool(frames)
    assert "\n" not in told
    assert all(np.isfinite(frame.at) and frame.at >= 0 for frame in frames)


def test_what_ffmpeg_does_not_know_yet_is_one_line_too():
    content = bytearray(DAMAGED["webm"])
    content[12] = 2  # of the lengths of the first element
    with pytest.raises(BadImageError, match="the film is damaged: not yet implemented"):
        read_video(bytes(content))


@pytest.mark.parametrize(("kind", "codec"), [("mp4", b"avc1"), ("webm", b"V_VP8"), ("avi", b"FMP4")])
def test_pictures_coded_in_an_unknown_way_are_told(kind, codec):
    content = DAMAGED[kind].replace(codec, b"V_XX8" if kind == "webm" else b"zz9x")
    with pytest.raises(BadImageError, match="coded in a way that is not known here"):
        read_video(content)


def _damaged() -> dict[str, bytes]:
    made = {}
    for kind, codec in (("mp4", "libx264"), ("webm", "libvpx"), ("avi", "mpeg4")):
        buffer = io.BytesIO()
        with av.open(buffer, "w", format=kind) as container:
            stream = container.add_stream(codec, rate=10)
            stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
            for seed in range(10):
                container.mux(stream.encode(av.VideoFrame.from_image(picture(seed, (32, 32)))))
            container.mux(stream.encode(None))
        made[kind] = buffer.getvalue()
    return made


DAMAGED = _damaged()


# Copies


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".webm", ".mkv", ".avi"])
def test_a_copy_has_pictures_and_sound_and_says_nothing(tmp_path, suffix):
    told = {
        "location": "+35.0116+135.7681/",
        "com.apple.quicktime.location.ISO6709": "+35.0116+135.7681+050.000/",
        "title": "at home in Kyoto",
        "creation_time": "2021-05-01T10:00:00.000000Z",
    }
    path = film(
        tmp_path / f"a{suffix}", [picture(seed) for seed in range(3)], tags=told, sound=suffix != ".avi"
    )
    assert b"Kyoto" in path.read_bytes()
    copied = tmp_path / "copy"
    with path.open("rb") as source, copied.open("w+b") as target:
        assert copy_without_metadata(source, target).startswith("video/")
    content = copied.read_bytes()
    for secret in (b"Kyoto", b"35.0116", b"135.7681", b"2021", b"x264"):
        assert secret not in content, secret
    before, after = read_video(path), read_video(copied)
    assert after.duration == pytest.approx(before.duration, abs=0.2)
    assert [frame.at for frame in after.frames] == pytest.approx(
        [frame.at for frame in before.frames], abs=0.2
    )
    for one, other in zip(before.frames, after.frames, strict=True):
        assert np.abs(np.asarray(one.image, float) - np.asarray(other.image, float)).mean() < 1
    with av.open(str(copied)) as container:
        assert len(container.streams.audio) == (suffix != ".avi")
        assert not container.streams.subtitles
        assert not container.streams.data


def test_a_copy_is_still_to_be_shown_turned(tmp_path):
    path = turned(film(tmp_path / "a.mp4", [picture(1)], seconds=1), 90)
    copied = tmp_path / "copy.mp4"
    with path.open("rb") as source, copied.open("w+b") as target:
        copy_without_metadata(source, target)
    assert (read_video(copied).width, read_video(copied).height) == (48, 64)
