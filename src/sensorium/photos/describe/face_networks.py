"""The two networks of faces, YuNet and SFace of OpenCV's zoo, as ONNX files run by OpenVINO.

YuNet (input [1, 3, h, w], blue first, 0 to 255, sides multiples of 32) answers for each cell of three grids,
of 8, 16 and 32 pixels: ``cls`` and ``obj``, whose geometric mean is the score; ``bbox``, the box's centre off
the cell's corner and the logarithm of its size, in cells; ``kps``, five points off the corner, in cells: the
right eye, the left one, the nose, the right corner of the mouth, the left one (of the person: right is left
in the picture). SFace (input [1, 3, 112, 112], red first, 0 to 255) gives 128 numbers for a face whose five
points lie where `TEMPLATE` says; two faces of one person point the same way.

OpenCV's own ``FaceDetectorYN`` and ``FaceRecognizerSF`` do the same; the tests hold these functions to them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.errors import CheckpointError
from sensorium.runtime import signal_stack

STRIDES = (8, 16, 32)
SIDE = 112
"""Pixels of an aligned face."""

TEMPLATE = np.array(
    [
        (38.2946, 51.6963),
        (73.5318, 51.5014),
        (56.0252, 71.7366),
        (41.5493, 92.3655),
        (70.7299, 92.2041),
    ]
)
"""Where an aligned face has its five points [5, 2], in pixels: that of the ArcFace family."""

_MOST_FACES = 500
_OVERLAP = 0.3  # of two boxes of one face, as intersection over union


@dataclass(frozen=True, slots=True)
class Detection:
    """A face: its box (left, top, right, bottom), its five points [5, 2], both in pixels, and its score."""

    box: tuple[float, float, float, float]
    points: NDArray[np.float64]
    score: float


class Network:
    """An ONNX file, opened for one thread.

    Raises:
        CheckpointError: It cannot be read, or has not the inputs and outputs of its kind.
    """

    def __init__(self, path: Path, outputs: tuple[str, ...]) -> None:
        from sensorium.runtime import machine

        openvino = machine.openvino()
        core = openvino.Core()
        # Left to itself OpenVINO computes in bfloat16 where it can: places would be off by several pixels.
        exact = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "ENABLE_CPU_PINNING": False}
        core.set_property("CPU", exact)
        try:
            self._model = core.read_model(path)
            if len(self._model.inputs) != 1 or any(not self._has(name) for name in outputs):
                raise CheckpointError(f"{path.name} is not the network that it is named after")
            shape = self._model.input().get_partial_shape()
            if len(shape) != 4:
                raise CheckpointError(f"{path.name} takes {shape}, not pictures")
            self.side = shape[2].get_length() if shape[2].is_static else None
            self._core, self._path = core, path
            self._request: Any = None
            self._shape: tuple[int, ...] = ()
        except RuntimeError as error:
            raise CheckpointError(f"{path.name} cannot be read as a network: {_line(error)}") from error
        self._outputs = outputs

    def __call__(self, pixels: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """The outputs for a picture float32 [1, 3, h, w]. CheckpointError: it takes no such size."""
        try:
            with signal_stack.kept():
                if self._shape != pixels.shape:
                    self._model.reshape({self._model.input(): list(pixels.shape)})
                    self._request = self._core.compile_model(self._model, "CPU").create_infer_request()
                    self._shape = pixels.shape
                self._request.infer([pixels])
        except RuntimeError as error:
            raise CheckpointError(f"{self._path.name} cannot run: {_line(error)}") from error
        if not self._outputs:
            return [np.array(self._request.get_output_tensor(0).data, np.float32)]
        return [np.array(self._request.get_tensor(name).data, np.float32) for name in self._outputs]

    def _has(self, name: str) -> bool:
        return any(name in output.get_names() for output in self._model.outputs)


class Detector:
    """YuNet. Pictures are laid into a square of ``side`` pixels, so that the network is compiled once.

    Raises:
        CheckpointError: The file is no such network.
    """

    def __init__(self, path: Path, *, side: int, least: float) -> None:
        kinds = ("cls", "obj", "bbox", "kps")
        self._network = Network(path, tuple(f"{kind}_{stride}" for kind in kinds for stride in STRIDES))
        self._least = least
        self.side = side
        declared = self._network.side
        if not self._fits() and declared is not None:
            self.side = declared  # a file that only knows the size which it was exported with
        if not self._fits():
            raise CheckpointError(f"{path.name} does not answer for the cells of three grids")

    def _fits(self) -> bool:
        """Whether the network takes this side, and answers for each cell."""
        try:
            outputs = self._network(np.zeros((1, 3, self.side, self.side), np.float32))
        except CheckpointError:
            return False
        sizes = [(width, (self.side // stride) ** 2) for width in (1, 1, 4, 10) for stride in STRIDES]
        return all(
            output.size == width * cells for output, (width, cells) in zip(outputs, sizes, strict=True)
        )

    def __call__(self, picture: NDArray[np.uint8]) -> list[Detection]:
        """Faces of a picture [h, w, 3], red first, no side above ``side``; the surest first."""
        height, width = picture.shape[:2]
        square = np.zeros((1, 3, self.side, self.side), np.float32)
        square[0, :, :height, :width] = picture[:, :, ::-1].transpose(2, 0, 1)
        outputs = self._network(square)
        count = len(STRIDES)
        grids = [outputs[at::count] for at in range(count)]  # cls, obj, bbox, kps of each stride
        found = [decoded(grid, self.side, stride) for grid, stride in zip(grids, STRIDES, strict=True)]
        boxes, points, scores = (np.concatenate(part) for part in zip(*found, strict=True))
        return [
            Detection(tuple(boxes[index].tolist()), points[index], float(scores[index]))
            for index in chosen(boxes, scores, self._least)
        ]


class Recogniser:
    """SFace."""

    def __init__(self, path: Path) -> None:
        self._network = Network(path, ())

    def __call__(self, face: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The direction of unit length [d] of an aligned face [112, 112, 3], red first."""
        values = np.ascontiguousarray(face.transpose(2, 0, 1)[None], np.float32)
        vector = self._network(values)[0].reshape(-1)
        length = float(np.linalg.norm(vector))
        if not np.isfinite(length) or length == 0:
            raise CheckpointError("the network of faces answers with numbers that mean nothing")
        return (vector / np.float32(length)).astype(np.float32)


def decoded(
    grid: list[NDArray[np.float32]], side: int, stride: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Boxes [n, 4], points [n, 5, 2] and scores [n] of one grid, in pixels.

    Args:
        grid: cls [1, n, 1], obj [1, n, 1], bbox [1, n, 4] and kps [1, n, 10], row by row of the picture.
        side: Pixels of the square.
        stride: Pixels of a cell.
    """
    count = side // stride
    row, column = np.divmod(np.arange(count * count), count)
    corner = np.stack((column, row), axis=1).astype(np.float64)  # [n, 2]
    sure, there, box, points = (part.reshape(count * count, -1).astype(np.float64) for part in grid)
    scores = np.sqrt(np.clip(sure[:, 0], 0, 1) * np.clip(there[:, 0], 0, 1))
    centre, size = (corner + box[:, :2]) * stride, np.exp(np.minimum(box[:, 2:], 20.0)) * stride
    boxes = np.concatenate((centre - size / 2, centre + size / 2), axis=1)
    return boxes, (corner[:, None] + points.reshape(-1, 5, 2)) * stride, scores


def chosen(boxes: NDArray[np.float64], scores: NDArray[np.float64], least: float) -> list[int]:
    """Indexes of the boxes [n, 4] that score enough, one for each face, the surest first."""
    import cv2

    sure = np.flatnonzero((scores >= least) & np.isfinite(boxes).all(axis=1))
    if not len(sure):
        return []
    corners = np.trunc(boxes[sure])
    sized = np.concatenate((corners[:, :2], np.trunc(boxes[sure, 2:] - boxes[sure, :2])), axis=1)
    kept = cv2.dnn.NMSBoxes(sized.tolist(), scores[sure].tolist(), least, _OVERLAP, top_k=5000)
    return [int(sure[index]) for index in np.asarray(kept).reshape(-1)[:_MOST_FACES]]


def aligned(picture: NDArray[np.uint8], points: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The face of five points [5, 2] in a picture [h, w, 3], turned and sized to [112, 112, 3]."""
    import cv2

    matrix = similarity(points, TEMPLATE)
    face = cv2.warpAffine(picture, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR)
    return np.asarray(face, np.uint8)


def similarity(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """The turn, scale and shift [2, 3] that bring points [n, 2] closest to others.

    Umeyama's least squares (IEEE PAMI 13, 1991); mirroring is not allowed.
    """
    middle, aim = source.mean(axis=0), target.mean(axis=0)
    centred, aimed = source - middle, target - aim
    left, values, right = np.linalg.svd(aimed.T @ centred / len(source))
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right)) or 1.0])
    turn = left @ np.diag(signs) @ right
    scale = float(values @ signs) / max(float(centred.var(axis=0).sum()), 1e-12)
    return np.concatenate((scale * turn, (aim - scale * turn @ middle)[:, None]), axis=1)


def _line(error: BaseException) -> str:
    from sensorium.runtime.engines import first_line

    return first_line(error)[:120]
