"""Commands as people type them, with a made-up model behind every name."""

import json
import subprocess
import sys
from pathlib import Path

PHOTOS = str(Path(__file__).parents[1] / "photos")

_PROGRAM = """
import sys, time
sys.path.insert(0, {photos!r})
from photo_fakes import Models
from sensorium.photos import encoder
models = Models()
embed = models("test/colours").embed_pixels
def slowly(pixels):
    time.sleep({pause})
    return embed(pixels)
models("test/colours").embed_pixels = slowly
encoder.load_encoder = models
from sensorium.cli.main import main
main()
"""


class Result:
    """What a command printed, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self):
        return json.loads(self.out)


def start(*arguments: str | Path, pause: float = 0, **options) -> subprocess.Popen:
    """A command in a process of its own; ``pause`` is how many seconds a batch takes to encode."""
    program = _PROGRAM.format(photos=PHOTOS, pause=pause)
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )
