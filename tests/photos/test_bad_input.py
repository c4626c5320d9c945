"""Files that are not what they seem: one clear line each, in bounded time and memory; nothing is changed."""

from __future__ import annotations

import io
import os
import re
import resource
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pillow_heif
import pylibjxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from photo_fakes import picture
from PIL import Image
from PIL.PngImagePlugin import putchunk
from raw_files import dng

from sensorium.errors import BadImageError
from sensorium.media.image import decode, open_file, open_image, read_image
from sensorium.photos.describe.picture import describe, stored_orientation

pillow_heif.register_heif_opener()
pylibjxl.register_pillow()

SIZE = (40, 32)
BOMB = 30_000


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise() -> Image.Image:
    values = np.random.default_rng(5).integers(0, 255, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    return Image.fromarray(values)


def small_files() -> dict[str, bytes]:
    exif = Image.Exif()
    exif.update({271: "Acme", 272: "Snap", 274: 6})
    exif.get_ifd(0x8769)[0x9003] = "2021:07:04 09:08:07"
    exif.get_ifd(0x8825).update({1: "N", 2: (35.0, 1.0, 2.0), 3: "E", 4: (135.0, 1.0, 2.0)})
    frames = [noise().rotate(90), noise().rotate(180)]
    return {
        **{kind: encoded(noise(), kind, exif=exif) for kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")},
        "HEIF": encoded(noise(), "HEIF"),
        "JPEG progressive": encoded(noise(), "JPEG", progressive=True),
        "JPEG CMYK": encoded(noise().convert("CMYK"), "JPEG"),
        "MPO": encoded(noise(), "MPO", save_all=True, append_images=frames[:1]),
        "BMP": encoded(noise(), "BMP"),
        "JPEG2000": encoded(noise(), "JPEG2000"),
        "JXL": pylibjxl.encode(np.asarray(noise()), effort=1, exif=exif.tobytes()[6:]),
        "TIFF deflate": encoded(noise(), "TIFF", compression="tiff_adobe_deflate"),
        "TIFF LZW": encoded(noise(), "TIFF", compression="tiff_lzw"),
        **{
            kind + " animated": encoded(noise(), kind, save_all=True, append_images=frames, duration=50)
            for kind in ("GIF", "PNG", "WEBP")
        },
        "RAW": dng(noise()),
        "RAW preview": dng(noise(), preview=noise()),
    }


FILES = small_files()


def reason(content: bytes | Path, **options: int) -> str:
    """The one line with which it is refused."""
    with pytest.raises(BadImageError) as caught:
        read_image(content, **options)
    line = str(caught.value)
    assert line
    assert "\n" not in line
    assert len(line) < 200
    return line


def facts_of(content: bytes):
    with open_image(content) as image:
        size = image.size
        turned = None if image.format == "PNG" else stored_orientation(image)
        decode(image, pixel_limit=3_000_000)
        turned = stored_orientation(image) if turned is None else turned
        return describe(image, size=size, orientation=turned, name="x.jpg")


def bombs() -> dict[str, bytes]:
    """Small files that announce 900 megapixels."""
    side = struct.pack(">I", BOMB)
    png = io.BytesIO(b"\x89PNG\r\n\x1a\n")
    png.seek(0, io.SEEK_END)
    putchunk(png, b"IHDR", side + side + bytes((8, 2, 0, 0, 0)))
    putchunk(png, b"IDAT", zlib.compress(bytes(90_000)))
    putchunk(png, b"IEND", b"")
    jpeg = bytearray(FILES["JPEG"])
    frame = jpeg.index(b"\xff\xc0") + 5
    jpeg[frame : frame + 4] = struct.pack(">HH", BOMB, BOMB)
    bmp = bytearray(FILES["BMP"])
    bmp[18:26] = struct.pack("<ii", BOMB, BOMB)
    gif = bytearray(encoded(noise(), "GIF"))
    gif[6:10] = struct.pack("<HH", BOMB, BOMB)
    webp = bytearray(FILES["WEBP animated"])
    webp[24:30] = 2 * (BOMB - 1).to_bytes(3, "little")
    jpeg2000 = FILES["JPEG2000"]
    return {
        "PNG": png.getvalue(),
        "JPEG": bytes(jpeg),
        "BMP": bytes(bmp),
        "GIF": bytes(gif),
        "GIF full frame": gif_bomb(),
        "WEBP": bytes(webp),
        "TIFF": tiff_with_size(FILES["TIFF"]),
        "TIFF deflate": tiff_with_size(FILES["TIFF deflate"]),
        "RAW": tiff_with_size(FILES["RAW"]),
        "JXL": jxl_bomb(),
        "AVIF": with_extents(FILES["AVIF"]),
        "HEIF": with_extents(FILES["HEIF"]),
        "JPEG2000": jpeg2000.replace(struct.pack(">II", *SIZE), side + side).replace(
            struct.pack(">II", *SIZE[::-1]), side + side
        ),
    }


def jxl_bomb() -> bytes:
    """Its header, bit by bit: no multiple of eight, the height in 18 bits, square, all else as usual."""
    bits, at = 0, 0
    for value, width in ((0, 1), (2, 2), (BOMB - 1, 18), (1, 3), (1, 1), (1, 1)):
        bits |= value << at
        at += width
    return b"\xff\x0a" + bits.to_bytes(8, "little") + bytes(40)


def gif_bomb() -> bytes:
    """Its only frame is as large as its screen, and to be cleared after it was shown."""
    head = b"GIF89a" + struct.pack("<HHBBB", BOMB, BOMB, 0x80, 0, 0) + bytes(6)
    control = b"\x21\xf9\x04\x08\x0a\0\0\0"
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, BOMB, BOMB, 0)
    return head + control + frame + b"\x02\x02\x44\x01\0\x3b"


def tiff_with_size(content: bytes) -> bytes:
    """A TIFF (little-endian) whose first directory announces the bomb's size."""
    changed = bytearray(content)
    directory = struct.unpack_from("<I", changed, 4)[0]
    for index in range(struct.unpack_from("<H", changed, directory)[0]):
        at = directory + 2 + 12 * index
        if struct.unpack_from("<H", changed, at)[0] in (256, 257):
            struct.pack_into("<HII", changed, at + 2, 4, 1, BOMB)
    return bytes(changed)


def with_extents(content: bytes) -> bytes:
    """HEIC and AVIF say the size in ``ispe`` boxes."""
    parts = content.split(b"ispe")
    size = struct.pack(">II", BOMB, BOMB)
    return parts[0] + b"".join(b"ispe" + part[:4] + size + part[12:] for part in parts[1:])


MEASURE = """
import pathlib, resource, sys, time, warnings
warnings.simplefilter("ignore")
from sensorium.errors import BadImageError
from sensorium.media.image import read_image
import pillow_heif, sensorium.media.jxl, sensorium.media.raw
read_image(pathlib.Path(sys.argv[1]))
before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
for path in map(pathlib.Path, sys.argv[2:]):
    try:
        print(path.name, "READ", read_image(path, smallest=384).size)
    except BadImageError as error:
        print(path.name, error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, time.process_time() - started)
"""


def test_bombs_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    good = tmp_path / "good.jpg"
    good.write_bytes(FILES["JPEG"])
    paths = []
    for name, content in bombs().items():
        paths.append(tmp_path / name)
        paths[-1].write_bytes(content)
        assert len(content) < 10_000
    command = [sys.executable, "-c", MEASURE, str(good), *map(str, paths)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    print(*output, sep="\n")
    lines = dict(zip(bombs(), output[:-1], strict=True))
    told = {name for name, line in lines.items() if re.search(r"900 megapixels; the limit|too large", line)}
    assert told >= lines.keys() - {"AVIF", "HEIF"}  # there the codec itself finds the lie
    assert not any("READ" in line for line in lines.values())
    grown, seconds = output[-1].split()
    assert int(grown) < 50_000  # kilobytes
    assert float(seconds) < 3


@pytest.mark.parametrize("chunk", [b"zTXt", b"iTXt", b"iCCP"])
def test_packed_texts_and_profiles_are_bounded(chunk: bytes) -> None:
    packed = zlib.compress(bytes(300_000_000), 9)
    head = {b"zTXt": b"Comment\0\0", b"iTXt": b"Comment\0\1\0\0\0", b"iCCP": b"icc\0\0"}[chunk]
    plain = encoded(noise(), "PNG")
    part = io.BytesIO()
    putchunk(part, chunk, head + packed)
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    line = reason(plain[:33] + part.getvalue() + plain[33:])
    assert "too large to unpack safely" in line
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
    assert time.process_time() - started < 3


def test_files_by_their_content_not_their_name(tmp_path: Path) -> None:
    for kind, content in FILES.items():
        path = tmp_path / "picture.jpg"
        path.write_bytes(content)
        assert read_image(path).mode == "RGB", kind
    for content, words in (
        (b"", "empty"),
        (b"holiday plans\n" * 99, "text"),
        (b"\0" * 999, "zeros"),
        (b"{}", "text"),
        (b"\xff\xd8\xff", "header cannot be read"),
        (b"\x89PNG\r\n\x1a\n", "cut off"),
        (b"RIFF\x10\0\0\0WAVEfmt ", "sound or film"),
        (b"FUJIFILMCCD-RAW 0201" + bytes(500), "raw"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(500), "raw"),
        (b"\0\0\0\x18ftypmp42\0\0\0\1mp42isom" + bytes(500), "video"),
        (b"\xff\x0a" + bytes(50), "damaged"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(50), "damaged|cut off"),
        (b"II*\0\x08\0\0\0" + bytes(50), "damaged"),
    ):
        path.write_bytes(content)
        with pytest.raises(BadImageError, match=words):
            read_image(path)


@pytest.mark.parametrize("kind", sorted(FILES))
def test_cut_files_are_refused(kind: str) -> None:
    content = FILES[kind]
    # What follows the first picture of an animation or a stereo pair is not needed to see it.
    shares = (0.05, 0.2) if kind in ("MPO", "GIF animated", "PNG animated") else (0.05, 0.2, 0.5, 0.8, 0.97)
    for share in shares:
        assert reason(content[: int(len(content) * share)])
    assert read_image(content).size in (SIZE, SIZE[::-1])


def test_one_pixel() -> None:
    dot = Image.new("RGB", (1, 1), (250, 10, 10))
    contents = {kind: encoded(dot, kind) for kind in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF")}
    contents |= {"JXL": pylibjxl.encode(np.asarray(dot)), "JPEG2000": encoded(dot, "JPEG2000")}
    for kind, content in contents.items():
        assert read_image(content, smallest=384).size == (1, 1), kind
        assert facts_of(content).kind == "photo"


def ifd(*entries: tuple[int, int, int, bytes], following: int = 0) -> bytes:
    """A little-endian TIFF of one directory: tag, type, count and the four bytes of value or offset."""
    body = b"".join(struct.pack("<HHI", tag, kind, count) + value for tag, kind, count, value in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + body + struct.pack("<I", following)


LOOPS_AND_COUNTS = {
    "EXIF inside itself": ifd((0x8769, 4, 1, b"\x08\0\0\0"), (0x8825, 4, 1, b"\x08\0\0\0"), following=8),
    "huge text": ifd((0x010F, 2, 0xFFFFFFFF, b"\x08\0\0\0")),
    "huge array": ifd((0x0110, 12, 0x7FFFFFFF, b"\x08\0\0\0")),
    "many entries": b"II*\0\x08\0\0\0\xff\xff" + bytes(60000),
    "offset far away": ifd((0x010F, 2, 100, b"\xff\xff\xff\x7f"), (0x8769, 4, 1, b"\xff\xff\xff\xff")),
    "directory of floats": ifd((0x8769, 11, 1, b"\0\0\xc0\x7f")),
    "nothing": b"II*\0",
    "no TIFF": b"XX" * 40,
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("name", sorted(LOOPS_AND_COUNTS))
def test_corrupt_exif_costs_the_facts_never_the_photo(kind: str, name: str) -> None:
    content = encoded(noise(), kind, exif=b"Exif\0\0" + LOOPS_AND_COUNTS[name])
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    facts = facts_of(content)
    assert (facts.width, facts.height) == SIZE
    assert (facts.taken_at, facts.latitude) == (None, None)
    assert time.process_time() - started < 3
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_warnings_of_decoders_are_not_for_people(recwarn: pytest.WarningsRecorder) -> None:
    for broken in LOOPS_AND_COUNTS.values():
        facts_of(encoded(noise(), "JPEG", exif=b"Exif\0\0" + broken))
    assert [str(warning.message) for warning in recwarn] == []


def test_what_is_no_file_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe, plug, link, gone = (tmp_path / name for name in ("pipe.jpg", "socket.jpg", "link.jpg", "gone.jpg"))
    os.mkfifo(pipe)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(plug))
    link.symlink_to("/dev/zero")
    gone.symlink_to(tmp_path / "nowhere")
    lines = [reason(path) for path in (pipe, plug, link, gone, Path("/dev/tty0"), Path("/dev/null"))]
    for word, line in zip(("pipe", "socket", "device", "no such", "", "device"), lines, strict=True):
        assert word in line
    # It was a file when it was looked at, and is a pipe when it is opened.
    ordinary = Path(__file__).stat()
    monkeypatch.setattr("sensorium.media.formats.os.stat", lambda path: ordinary)
    with pytest.raises(BadImageError, match="pipe"):
        open_file(pipe)
    listener.close()


def test_names_of_any_bytes(tmp_path: Path) -> None:
    for name in (b"two\nlines.jpg", b"latin-\xe9\xff.jpg", "雪山 🏔.jpg".encode(), b" .jpg", b"-rf.jpg"):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        path.write_bytes(FILES["JPEG"])
        assert read_image(path).size == SIZE[::-1]
        path.write_bytes(b"text")
        assert "text" in reason(path)


def test_a_file_that_is_being_written(tmp_path: Path) -> None:
    path, content = tmp_path / "copy.png", encoded(picture(3, (400, 300)), "PNG")
    path.write_bytes(content[: len(content) // 2])
    assert "cut off" in reason(path)
    stop = threading.Event()

    def grow() -> None:
        with path.open("ab") as file:
            file.write(content[len(content) // 2 :])
            while not stop.is_set():
                file.write(bytes(4096))
                file.flush()
                time.sleep(0.001)

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            try:
                assert read_image(path).size == (400, 300)
                break
            except BadImageError:
                continue  # still being written
    finally:
        stop.set()
        writer.join()
    assert read_image(path).size == (400, 300)


def test_originals_are_never_written(tmp_path: Path) -> None:
    for kind, content in FILES.items():
        path = tmp_path / kind
        path.write_bytes(content)
        path.chmod(0o444)
        os.utime(path, ns=(10**18, 10**18))
        read_image(path, smallest=20)
        facts_of(path.read_bytes())
        assert path.read_bytes() == content
        assert path.stat().st_mtime_ns == 10**18


damage = st.lists(
    st.tuples(
        st.integers(0, 1 << 16),
        st.one_of(
            st.binary(min_size=1, max_size=4),
            st.sampled_from([b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4), b"\0\0\0\x08"]),
        ),
    ),
    min_size=1,
    max_size=12,
)


@pytest.mark.parametrize("kind", sorted(FILES))
@settings(
    max_examples=60,
    deadline=10_000,  # milliseconds
    derandomize=True,  # a crash in a decoder written in C would take the other tests along
    suppress_health_check=[HealthCheck.too_slow],
)
@given(changes=damage, header=st.booleans())
def test_damaged_files_are_read_or_refused(kind: str, changes: list[tuple[int, bytes]], header: bool) -> None:
    content = bytearray(FILES[kind])
    for at, value in changes:
        at %= min(len(content), 200) if header else len(content)
        content[at : at + len(value)] = value
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    line = ""
    try:
        with open_image(bytes(content)) as image:
            announced = image.size
            pixels = decode(image, pixel_limit=3_000_000)
        assert pixels.mode == "RGB"
        assert pixels.size in (announced, announced[::-1]) or kind.startswith("RAW")
        assert facts_of(bytes(content)).width in announced
    except BadImageError as error:
        line = str(error)
    assert "\n" not in line
    assert len(line) < 200
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes
