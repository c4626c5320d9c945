"""Compiling leaves no alternate signal stack behind, so that Ctrl-C afterwards is a signal like any other."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from sensorium.runtime import signal_stack

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the stacks of Linux are meant")

# In a process of its own: OpenVINO sets its stack up once a process, and only where the processor has AMX.
PROGRAM = """
import ctypes
import numpy as np, torch
from sensorium.runtime import engines, quantize, signal_stack

def announced():
    stack = signal_stack._Stack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))
    return stack.pointer, stack.flags, stack.size

class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution, self.out = torch.nn.Conv2d(3, 64, 3), torch.nn.Linear(64, 64)
    def forward(self, pixels):
        return self.out(torch.relu(self.convolution(pixels)).mean((2, 3)))

before = announced()
samples = [(np.random.default_rng(i).random((1, 3, 64, 64), np.float32),) for i in range(20)]
for axes in ((), (0,)):
    model = engines.export_graph(Network().eval(), samples[0], (axes,))
    for engine in ("openvino-f32", "openvino-bf16", "openvino-int8"):
        graph = quantize.int8(model, samples) if engine.endswith("int8") else model
        run = engines.open_graph(engines.compile_graph(graph, engine).copy(), engine)
        run(*samples[0])
        assert announced() == before, (axes, engine)
"""


def announced() -> tuple[int | None, int, int]:
    stack = signal_stack._Stack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))
    return stack.pointer, stack.flags, stack.size


def test_every_way_to_compile_and_run_gives_the_signal_stack_back() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]


def test_a_stack_that_was_changed_is_put_back() -> None:
    before = announced()
    room = ctypes.create_string_buffer(1 << 16)
    other = signal_stack._Stack(ctypes.addressof(room), 0, len(room))
    with signal_stack.kept():
        ctypes.CDLL(None).sigaltstack(ctypes.byref(other), None)
        assert announced() != before
    assert announced() == before


DESCRIBING = """
import ctypes, sys
from pathlib import Path
import numpy as np
from PIL import Image, ImageDraw
sys.path.append(sys.argv[1])
import made_faces
from sensorium.photos.describe import face_networks, text_in_images
from sensorium.runtime import signal_stack

def announced():
    stack = signal_stack._Stack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))
    return stack.pointer, stack.flags, stack.size

before = announced()
if sys.argv[2] == "text":
    page = Image.new("RGB", (400, 100), "white")
    ImageDraw.Draw(page).text((20, 20), "KYOTO", "black", font_size=40)
    assert text_in_images.read_lines(text_in_images.open_engine(), page)
else:
    path = made_faces.random_detector(Path(sys.argv[3], "detector.onnx"))
    face_networks.Detector(path, side=640, least=0.75)(np.zeros((300, 400, 3), np.uint8))
assert announced() == before
"""


@pytest.mark.parametrize("kind", ["text", "faces"])
def test_describing_photos_gives_it_back(tmp_path: Path, kind: str) -> None:
    made = Path(__file__).parents[1] / "photos"
    command = [sys.executable, "-c", DESCRIBING, str(made), kind, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
