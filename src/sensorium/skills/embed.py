"""Pictures and sentences as vectors in one space: what searching photos in words stands on.

The towers run on graphs that `sensorium.runtime` compiled for this machine. A process that finds its graph
cached reads neither the checkpoint nor torch.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sensorium.errors import SensoriumError
from sensorium.media.image import PREPARATION_VERSION, fit_image

if TYPE_CHECKING:
    from PIL import Image
    from torch import nn

    from sensorium.media.image import ImageSpec
    from sensorium.media.text import Tokenizer
    from sensorium.runtime.graph import Graph
    from sensorium.weights.files import ModelFiles

DEFAULT = "sensorium/mini-clip"
BATCH = 32
SAMPLE = 96  # real pictures that engines are tried on; for int8 64 set its scales and 32 test it
INT8_AFTER = 60.0  # seconds spent in the image tower, after which half a minute of quantising can pay off

SENTENCES = (
    "a photo of a dog",
    "a cat asleep on a red sofa",
    "sunset at the beach",
    "two children playing football in the park",
    "snow-covered mountains behind a lake, early morning",
    "a bowl of noodle soup with an egg on top",
    "street at night in the rain, neon signs reflected on the wet road",
    "birthday cake with candles",
    "my passport",
    "an old steam train crossing a stone bridge over a river in autumn, seen from far below",
    "a screenshot of a chat",
    "bicycle",
    "portrait of a smiling woman wearing glasses and a green scarf",
    "a drawing of a house with a tree",
    "receipts and documents on a wooden desk",
    "fireworks over the city skyline",
    "a close-up of a bee on a yellow flower",
    "airport departure hall, people waiting with suitcases",
    "a white bird flying low over the sea",
    "blue car parked in front of a bakery",
    "an empty classroom with rows of chairs",
    "grandmother cooking in the kitchen",
    "a concert stage with purple lights and a large crowd holding up their phones",
    "handwritten notes on a whiteboard",
    "一只狗的照片",
    "海边的日落",
    "在沙发上睡觉的猫",
    "公园里踢足球的孩子",
    "清晨湖边的雪山",
    "一碗牛肉面",
    "雨夜的街道和霓虹灯",
    "生日蛋糕",
    "护照",
    "秋天里一列蒸汽火车开过河上的石桥",
    "聊天截图",
    "自行车",
    "戴眼镜围着绿围巾微笑的女人",
    "一幅画着房子和树的儿童画",
    "木桌上的发票和文件",
    "城市上空的烟花",
    "黄色花朵上的蜜蜂特写",
    "机场候机大厅里拖着行李箱的人群",
    "低飞在海面上的白鸟",
    "停在面包店门口的蓝色汽车",
    "空荡荡的教室",
    "奶奶在厨房做饭",
    "紫色灯光下的演唱会舞台",
    "白板上的手写笔记",
)
"""What people type when they look for a photo: real inputs to measure, test and calibrate text towers on."""


def load(name: str = DEFAULT, *, device: str | None = None, dtype: str | None = None) -> DualEncoder:
    """Open a dual encoder by hub name, folder or embedded default; nothing is computed until it is used.

    ``device`` is ``cpu``, ``cuda`` or ``mps``, ``dtype`` ``float32`` or ``bfloat16``; by default the fastest
    engine whose vectors agree with float32 is measured and taken. ModelNotFoundError: says which files to put
    where. SensoriumError: an unknown device or dtype.
    """
    from sensorium.weights.files import find

    return DualEncoder(find(name), device=device, dtype=dtype)


class DualEncoder:
    """Two towers, one space: the cosine of a picture's and a sentence's vector says how well they fit."""

    def __init__(self, files: ModelFiles, *, device: str | None = None, dtype: str | None = None) -> None:
        if device is not None or dtype is not None:
            from sensorium.runtime.device import choose

            choose(device or "cpu", dtype)  # a wrong name is an error now, not at the first picture
        self.files = files
        self.name = files.name
        self.image_spec: ImageSpec = files.image
        self.device = device
        self.dtype = dtype
        self._graphs: dict[str, Graph] = {}
        self._opening = threading.RLock()
        self._sample: list[np.ndarray] = []  # drawn evenly from all pictures, until int8 has been tried
        self._seen = 0
        self._random = np.random.default_rng(0)
        self._seconds = 0.0  # spent in the image tower by this process

    @property
    def pipeline(self) -> str:
        """Identity of the vectors: weights, preparation and its version. Others never compare with them."""
        return f"{self.files.fingerprint}-{PREPARATION_VERSION}"

    @cached_property
    def network(self) -> nn.Module:
        """The network itself: torch, float32, eval mode, on the CPU. Changing it changes no graph."""
        return self._build_network()

    def _build_network(self) -> nn.Module:
        from sensorium.weights.load import build

        return build(self.files)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The checkpoint's tokenizer."""
        from sensorium.media.text import Tokenizer

        return Tokenizer.from_folder(self.files.folder, self.files.text)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        opened = self._graphs.get("image") or self._graphs.get("text")
        return (opened or self._text_graph()).width

    def embed_images(self, images: list[Image.Image]) -> np.ndarray:
        """Upright RGB pictures of any sizes -> float32 [b, dim], each row of unit length."""
        if not images:
            return np.zeros((0, self.dim), np.float32)
        return self.embed_pixels(np.stack([fit_image(image, self.image_spec) for image in images]))

    def embed_pixels(self, pixels: np.ndarray) -> np.ndarray:
        """Prepared pictures (`media.image.fit_image`) uint8 [b, h, w, 3] -> float32 [b, dim], unit rows."""
        self._check(pixels)
        if not len(pixels):
            return np.zeros((0, self.dim), np.float32)
        graph = self._image_graph(pixels)
        start = time.perf_counter()
        vectors = np.concatenate([graph(pixels[i : i + BATCH]) for i in range(0, len(pixels), BATCH)])
        self._seconds += time.perf_counter() - start
        return _unit(vectors)

    def embed_texts(self, texts: list[str]) -> np.ndarray:
        """Sentences in any order -> float32 [b, dim], each row of unit length."""
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        graph, tokenizer = self._text_tower()
        # alike lengths together: a batch is as wide as its longest sentence
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        vectors = np.empty((len(texts), graph.width), np.float32)
        for i in range(0, len(order), BATCH):
            chosen = order[i : i + BATCH]
            tokens = tokenizer.encode([texts[j] for j in chosen])
            vectors[chosen] = graph(tokens.ids, tokens.mask)
        return _unit(vectors)

    def prepare_images(self, pixels: np.ndarray) -> None:
        """Build the fastest image graph now, int8 included, from real pictures uint8 [b, h, w, 3], b >= 24.

        The more they differ the better int8 is judged. Worth calling before many thousands of pictures;
        without it int8 is tried once a minute of work has shown that there are many. Does nothing when it was
        tried before on this machine.
        """
        self._check(pixels)
        with self._opening:
            self._build_image(pixels[:: max(1, len(pixels) // SAMPLE)][:SAMPLE], int8=True)

    def engines(self) -> dict[str, str]:
        """Tower -> which engine runs it and why; only towers used so far."""
        return {tower: graph.reason for tower, graph in self._graphs.items()}

    def _check(self, pixels: np.ndarray) -> None:
        expected = (self.image_spec.height, self.image_spec.width, 3)
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != expected:
            raise SensoriumError(
                f"{self.name} takes uint8 pixels of shape [b, {', '.join(map(str, expected))}], "
                f"not {pixels.dtype} {list(pixels.shape)}; prepare pictures with media.image.fit_image"
            )

    def _image_graph(self, pixels: np.ndarray) -> Graph:
        with self._opening:
            graph = self._graphs.get("image") or self._cached("image")
            if graph is None:
                graph = self._build_image(pixels[:SAMPLE], int8=False)
            if graph.choice.int8_tried or not self._int8_allowed():
                self._sample = []
            elif self._seconds > INT8_AFTER and len(self._sample) == SAMPLE:
                graph = self._build_image(np.stack(self._sample), int8=True)
            else:
                self._draw(pixels)
            return graph

    def _draw(self, pixels: np.ndarray) -> None:
        """Reservoir sampling (Vitter 1985, algorithm R): neighbours in a folder look alike, so spread out."""
        for row in pixels:
            self._seen += 1
            if len(self._sample) < SAMPLE:
                self._sample.append(row.copy())
            elif (place := int(self._random.integers(self._seen))) < SAMPLE:
                self._sample[place] = row.copy()

    def _int8_allowed(self) -> bool:
        return self.dtype is None and self.device in (None, "cpu")

    def _build_image(self, pixels: np.ndarray, *, int8: bool) -> Graph:
        from sensorium.runtime.graph import accelerate
        from sensorium.skills.towers import ImageTower

        if (
            len(pixels) < 4
        ):  # mirror images are real enough to compare engines on, though not to calibrate int8
            pixels = np.concatenate([pixels, pixels[:, :, ::-1], pixels[:, ::-1], pixels[:, ::-1, ::-1]])
        self._graphs["image"] = accelerate(
            ImageTower(self._build_network(), self.image_spec).eval(),
            [(pixels[i : i + 1],) for i in range(len(pixels))],
            key=self._key("image"),
            dynamic=((0,),),
            batch=8,
            int8=int8 and self._int8_allowed(),
            device=self.device,
            dtype=self.dtype,
        )
        return self._graphs["image"]

    def _text_tower(self) -> tuple[Graph, Tokenizer]:
        opened = self._graphs.get("text")
        if opened is not None:
            return opened, self.tokenizer
        with ThreadPoolExecutor(1) as opener:  # a cold process reads the vocabulary meanwhile
            opening = opener.submit(self._text_graph)
            tokenizer = self.tokenizer
            return opening.result(), tokenizer

    def _text_graph(self) -> Graph:
        with self._opening:
            graph = self._graphs.get("text") or self._cached("text")
            if graph is None:
                graph = self._build_text()
            return graph

    def _build_text(self) -> Graph:
        from sensorium.runtime.graph import accelerate
        from sensorium.skills.towers import TextTower

        tokens = [self.tokenizer.encode([sentence]) for sentence in SENTENCES]
        varying = (0,) if self.tokenizer.spec.padding == "fixed" else (0, 1)
        self._graphs["text"] = accelerate(
            TextTower(self._build_network()).eval(),
            [(row.ids, row.mask) for row in tokens],
            key=self._key("text"),
            dynamic=(varying, varying),
            device=self.device,
            dtype=self.dtype,
        )
        return self._graphs["text"]

    def _cached(self, tower: str) -> Graph | None:
        from sensorium.runtime.graph import cached

        graph = cached(self._key(tower), device=self.device, dtype=self.dtype)
        if graph is not None:
            self._graphs[tower] = graph
        return graph

    def _key(self, tower: str) -> str:
        return f"{self.name}-{tower}-{self.pipeline}"


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; a zero row stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Any = vectors / np.maximum(lengths, np.float32(1e-12))
    return np.asarray(scaled, np.float32)
