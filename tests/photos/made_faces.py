"""Networks with the inputs and outputs of YuNet and SFace, and the "faces" that they see.

A made-up face is a square that is red all over; green and blue say whose it is, in blocks of four by four.
The detector looks for red squares of 64 pixels, the recogniser at the blocks. Corners that are 8 more than a
multiple of 16 are found to the pixel.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

SIDE = 64
STRIDES = (8, 16, 32)
POINTS = np.array(((0.34, 0.46), (0.66, 0.46), (0.5, 0.64), (0.37, 0.82), (0.63, 0.82)))
"""Of a face, as shares of its square."""

_KINDS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}


class _Graph:
    """The parts of a network, by and by."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, array: np.ndarray) -> str:
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def add(self, kind: str, inputs: list[str], output: str = "", **attributes: object) -> str:
        output = output or f"value{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def save(self, path: Path, shape: list[int | str], outputs: dict[str, list[int | None]]) -> None:
        graph = helper.make_graph(
            self.nodes,
            "made",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in outputs.items()],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.checker.check_model(model)
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(model, path)


def _heads(graph: _Graph, values: dict[int, str]) -> None:
    """Part 16 channels of each grid into the twelve outputs."""
    for stride, value in values.items():
        start = 0
        for kind, width in _KINDS.items():
            bounds = [graph.constant(np.array([number])) for number in (start, start + width, 1)]
            part = graph.add("Slice", [value, *bounds])
            turned = graph.add("Transpose", [part], perm=[0, 2, 3, 1])
            flat = [turned, graph.constant(np.array([1, -1, width]))]
            if width == 1:
                graph.add("Sigmoid", [graph.add("Reshape", flat)], f"{kind}_{stride}")
            else:
                graph.add("Reshape", flat, f"{kind}_{stride}")
            start += width


def random_detector(path: Path, seed: int = 0, side: int | None = 640) -> Path:
    """A detector of nothing: random weights, so that every number matters. ``side`` None: of any size."""
    rng = np.random.default_rng(seed)
    graph, values = _Graph(), {}
    for stride in STRIDES:
        weights = rng.normal(0, 0.03 / stride, (16, 3, stride, stride)).astype(np.float32)
        weights[2:6] *= 0.1  # boxes of one to a few cells
        bias = rng.normal(0, 0.6, 16).astype(np.float32)
        bias[4:6] += 0.7
        names = ["input", graph.constant(weights), graph.constant(bias)]
        values[stride] = graph.add("Conv", names, strides=[stride] * 2, kernel_shape=[stride] * 2)
    _heads(graph, values)
    size = side or "side"
    shapes = {
        f"{kind}_{stride}": [1, (side // stride) ** 2 if side else None, width]
        for kind, width in _KINDS.items()
        for stride in STRIDES
    }
    graph.save(path, [1, 3, size, size], shapes)
    return path


def red_detector(path: Path) -> Path:
    """Finds red squares of 64 pixels, on the grid of 16 alone."""
    graph, values = _Graph(), {}
    for stride in STRIDES:
        half = SIDE // 2
        weights = np.zeros((16, 3, SIDE, SIDE), np.float32)
        bias = np.full(16, -12.0, np.float32)
        if stride == 16:
            weights[:2, 2] = 24 / (255 * SIDE * SIDE)  # the share of red, which comes last
            bias[:2] = -18
            bias[2:4] = 0.5
            bias[4:6] = np.log(SIDE / stride)
            bias[6:] = ((POINTS - 0.5) * SIDE / stride + 0.5).reshape(-1)
        pads = [half - stride // 2] * 2 + [half - stride + stride // 2] * 2
        names = ["input", graph.constant(weights), graph.constant(bias)]
        values[stride] = graph.add(
            "Conv", names, strides=[stride] * 2, kernel_shape=[SIDE] * 2, pads=pads
        )  # fmt: skip
    _heads(graph, values)
    shapes: dict[str, list[int | None]] = {
        f"{kind}_{stride}": [1, None, width] for kind, width in _KINDS.items() for stride in STRIDES
    }
    graph.save(path, [1, 3, "height", "width"], shapes)
    return path


def block_recogniser(path: Path) -> Path:
    """Tells faces apart by the green and blue of their blocks."""
    graph = _Graph()
    pooled = graph.add("AveragePool", ["input"], kernel_shape=[14, 14], strides=[14, 14])
    bounds = [graph.constant(np.array([number])) for number in (1, 3, 1)]
    seen = graph.add("Slice", [pooled, *bounds])
    centred = graph.add("Sub", [seen, graph.constant(np.array(127.5, np.float32))])
    flat = graph.add("Reshape", [centred, graph.constant(np.array([1, -1]))])
    mixing = np.linalg.qr(np.random.default_rng(1).normal(size=(128, 128)))[0].astype(np.float32)
    graph.add("MatMul", [flat, graph.constant(mixing)], "fc1")
    graph.save(path, [1, 3, 112, 112], {"fc1": [1, 128]})
    return path


def install(home: Path) -> None:
    """Both networks, where ``models pull`` would put the real ones."""
    models = home / "models"
    red_detector(models / "opencv--face_detection_yunet" / "face_detection_yunet_2023mar.onnx")
    block_recogniser(models / "opencv--face_recognition_sface" / "face_recognition_sface_2021dec.onnx")


def face(identity: int, side: int = SIDE, strength: float = 1.0) -> Image.Image:
    """The face of somebody, made up from their number; ``strength`` below 1 is a paler look of them."""
    rng = np.random.default_rng(identity)
    blocks = np.full((4, 4, 3), 255, np.uint8)
    values = rng.choice([-1.0, 1.0], (4, 4, 2)) * rng.uniform(60, 110, (4, 4, 2)) * strength
    blocks[:, :, 1:] = np.clip(128 + values, 0, 255)
    return Image.fromarray(blocks).resize((side, side), Image.Resampling.NEAREST)


def scene(
    people: dict[int, tuple[int, int]],
    size: tuple[int, int] = (480, 320),
    side: int = SIDE,
    shade: int = 60,
    strength: float = 1.0,
) -> Image.Image:
    """A photo with faces, each at its upper left corner."""
    image = Image.new("RGB", size, (20, shade, 90))
    for identity, corner in people.items():
        image.paste(face(identity, side, strength), corner)
    return image
