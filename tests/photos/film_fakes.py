"""Films made for a test: scenes of plain colours or pictures, in any container."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from photo_fakes import COLOURS
from PIL import Image

from sensorium.media.video import MP4_EXTENSIONS

CODECS = {".webm": "libvpx", ".avi": "mpeg4", ".3gp": "mpeg4", ".mpg": "mpeg2video"}
IDENTITY = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)


def film(
    path: Path | io.BytesIO,
    scenes: Sequence[str | Image.Image] = ("red", "green", "blue"),
    *,
    seconds: float = 6.0,
    rate: int = 10,
    size: tuple[int, int] = (64, 48),
    tags: dict[str, str] | None = None,
    sound: bool = False,
    pictures: bool = True,
    kind: str | None = None,
    every: int = 10,
    shape: Fraction | None = None,
) -> Path | io.BytesIO:
    """Write a film whose scenes last equally long; a scene is a colour of ``COLOURS`` or a picture.

    ``every`` is how many frames lie between key frames, ``shape`` that of a pixel.
    """
    if isinstance(path, Path):
        path.parent.mkdir(parents=True, exist_ok=True)
    suffix = path.suffix.lower() if isinstance(path, Path) else ".mp4"
    options = {"movflags": "use_metadata_tags"} if suffix in MP4_EXTENSIONS else {}
    with av.open(path, "w", format=kind or {".mts": "mpegts"}.get(suffix), options=options) as container:
        container.metadata.update(tags or {})
        streams: list[Any] = []
        if pictures:
            stream = container.add_stream(CODECS.get(suffix, "libx264"), rate=rate)
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            stream.codec_context.gop_size = every
            if shape is not None:
                stream.codec_context.sample_aspect_ratio = shape
            streams.append((stream, _frames(scenes, round(seconds * rate), size)))
        if sound:
            stream = container.add_stream("aac" if suffix != ".webm" else "libopus", rate=48000)
            streams.append((stream, _silence(seconds)))
        for stream, frames in streams:
            for frame in frames:
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


def _frames(scenes: Sequence[str | Image.Image], count: int, size: tuple[int, int]):
    shown = [
        Image.new("RGB", size, COLOURS[scene]) if isinstance(scene, str) else scene.resize(size)
        for scene in scenes
    ]
    for number in range(count):
        yield av.VideoFrame.from_image(shown[number * len(shown) // count])


def _silence(seconds: float):
    for number in range(round(seconds * 48000 / 1024)):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, number * 1024, Fraction(1, 48000)
        yield frame


def turned(path: Path, degrees: int) -> Path:
    """Mark an MP4 film as one that is to be turned clockwise, as phones do."""
    matrix = {
        90: (0, 1 << 16, 0, -(1 << 16), 0, 0, 1 << 16, 0, 1 << 30),
        180: (-(1 << 16), 0, 0, 0, -(1 << 16), 0, 1 << 16, 1 << 16, 1 << 30),
        270: (0, -(1 << 16), 0, 1 << 16, 0, 0, 0, 1 << 16, 1 << 30),
    }[degrees]
    content = path.read_bytes()
    place = content.index(IDENTITY, content.index(b"tkhd"))
    path.write_bytes(content[:place] + struct.pack(">9i", *matrix) + content[place + len(IDENTITY) :])
    return path
