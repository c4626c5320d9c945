"""A Segment Anything ready to use: pictures to embeddings, prompts to masks of the original's pixels."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sensorium.errors import SensoriumError
from sensorium.media.image import PREPARATION_VERSION, extent, fit_image, placement, to_rgb
from sensorium.models.sam.agreement import expected_overlaps
from sensorium.models.sam.tidy import tidied
from sensorium.skills.segment import prompts, storage
from sensorium.skills.segment.masks import Geometry, Mask, levelled, mask_of, stability_of
from sensorium.skills.segment.pictures import upright
from sensorium.skills.segment.prompts import SURE, Prompt

if TYPE_CHECKING:
    from PIL import Image

    from sensorium.models.sam.sam import Sam
    from sensorium.runtime.graph import Graph
    from sensorium.weights.files import ModelFiles

Floats = NDArray[np.float32]
TOGETHER = 16  # prompts that are decoded at once: more gain nothing, and each takes some 20 MB at full size
_FORM = 7  # of the graphs: raised whenever one takes other inputs or computes otherwise
KEPT = 4  # embeddings kept in memory, some 8 MB each at full size


def load(name: str, *, device: str | None = None, dtype: str | None = None) -> Segmenter:
    """Open a Segment Anything by hub name, folder, or a file of its authors (``sam_vit_b_01ec64.pth``).

    ``device`` and ``dtype`` as for `sensorium.skills.embed.load`. Raises ModelNotFoundError, CheckpointError,
    SensoriumError when the model is of another kind.
    """
    from sensorium.weights.files import find

    files = find(name)
    if files.family not in ("sam", "sam_original"):
        raise SensoriumError(f"{name} is a {files.family} and cuts nothing out: name a SAM or MobileSAM")
    return Segmenter(files, device=device, dtype=dtype)


@dataclass(frozen=True, eq=False)
class Embedding:
    """A picture that was looked at: all that prompts need. ``content`` is float32 [1, width, grid, grid]."""

    key: str
    geometry: Geometry
    content: Floats
    looks: int = 1
    """How many looks lie behind one another in ``content``."""

    @cached_property
    def places(self) -> Floats:
        """The first look place by place, [1, grid * grid, width], as every click takes it."""
        first = self.content[:, : self.content.shape[1] // self.looks]
        return np.ascontiguousarray(first.reshape(1, first.shape[1], -1).transpose(0, 2, 1))


@dataclass(frozen=True, eq=False)
class Cut:
    """The answer to a prompt.

    ``masks``, smallest first; ``best``, the likeliest of them; ``memory``, with which the next prompt refines
    it (``Prompt.and_point``).
    """

    masks: tuple[Mask, ...]
    best: Mask
    memory: Floats


class Segmenter:
    """Embeds pictures and answers prompts. Safe to use from several threads."""

    def __init__(self, files: ModelFiles, *, device: str | None = None, dtype: str | None = None) -> None:
        self.files = files
        self.name = files.name
        self.device = device
        self.dtype = dtype
        self._opening = threading.RLock()
        self._graphs: dict[str, Graph] = {}
        self._kept: OrderedDict[str, Embedding] = OrderedDict()

    @property
    def pipeline(self) -> str:
        """Identity of the embeddings: weights, preparation and its version."""
        return f"{self.files.fingerprint}-{PREPARATION_VERSION}"

    @cached_property
    def network(self) -> Sam:
        """The network itself: torch, float32, eval mode, on the CPU."""
        from sensorium.models.sam.sam import Sam
        from sensorium.weights.load import build

        network = build(self.files)
        assert isinstance(network, Sam)
        side = network.config.vision.image_size
        if (self.files.image.height, self.files.image.width) != (side, side):
            raise SensoriumError(
                f"{self.name} sees {side} pixels, its preparation makes {self.files.image.height}"
            )
        return network

    @cached_property
    def is_small(self) -> bool:
        """Whether it is one of ours: it looks twice, its masks are freed of specks, its candidates compared.

        As ``models/sam/mirrored`` knows from the network; read in the config, since torch is slow to load.
        """
        return bool(self.files.config.get("vision", {}).get("kind") == "pyramid")

    def embed(self, image: Image.Image, *, keep: bool = True) -> Embedding:
        """A picture of any size -> its embedding; the same picture is computed once.

        One that carries an EXIF orientation is turned by it: prompts and masks are in upright pixels.
        What was computed is kept on disk as well (``SENSORIUM_HOME``), keyed by content and model, unless
        ``keep`` is off: the frames of a film would push everything else out. Raises SensoriumError for a
        picture without pixels.
        """
        if not image.width * image.height:
            raise SensoriumError(f"the picture has no pixels: it is {image.width} x {image.height}")
        spec = self.files.image
        rgb = to_rgb(upright(image))
        left, top, right, bottom = extent(rgb)
        width, height = round(right - left), round(bottom - top)
        place = placement(width, height, spec)
        pixels = fit_image(rgb, spec)[None]
        digest = hashlib.sha256(f"{self.pipeline} {width} {height} ".encode() + pixels.tobytes())
        key = digest.hexdigest()[:32]
        with self._opening:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        inside = np.array([[place.width, place.height]], np.int64)
        content = storage.read(key)
        if content is None:
            content = self._graph("encode", pixels, inside)(pixels, inside)
            if keep:
                storage.write(key, content)
        grid = 4 * content.shape[2]
        geometry = Geometry((width, height), (place.width, place.height), spec.height, grid)
        embedding = Embedding(key, geometry, content, looks=2 if self.is_small else 1)
        with self._opening:
            self._kept[key] = embedding
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return embedding

    def cut(self, embedding: Embedding, prompt: Prompt) -> Cut:
        """The masks that a prompt means: three where it is ambiguous, else one.

        Raises SensoriumError with one line for a prompt outside the picture or without content.
        """
        geometry = embedding.geometry
        prompt = prompts.check(prompt, *geometry.size)
        points, labels = prompts.tokens(prompt, self._scale(geometry))
        if prompt.mask is not None or prompt.memory is not None:
            logits, quality = self._decode_masked(embedding, self._earlier(prompt, geometry), points, labels)
        else:
            logits, quality = self.decode(embedding, points, labels)
        wanted = slice(1, None) if prompt.is_ambiguous else slice(0, 1)
        chosen, qualities = logits[0, wanted], quality[0, wanted]
        raw = chosen
        if self.is_small:
            cells = (points[0] + 0.5) * (geometry.grid / geometry.square)
            chosen = np.stack([tidied(one, cells, labels[0]) for one in chosen])
        stable = stability_of(chosen)
        if self.is_small and len(chosen) > 1:
            qualities = expected_overlaps(chosen > 0, stable).astype(np.float32)
        memory = np.clip(raw[int(qualities.argmax())], -32, 32)
        masks = [
            mask_of(
                geometry.spread(chosen[i]) > 0, float(qualities[i]), float(stable[i]), (geometry, chosen[i])
            )
            for i in range(len(chosen))
        ]
        if len(masks) == 1:
            return Cut((masks[0],), masks[0], memory)
        ordered = levelled(masks)
        found = max(ordered, key=lambda mask: mask.quality)
        return Cut(tuple(ordered), found, memory)

    def decode(
        self, embedding: Embedding, points: Floats, labels: NDArray[np.int64]
    ) -> tuple[Floats, Floats]:
        """Logits float32 [p, 1 + c, grid, grid] and qualities [p, 1 + c] of prompts without earlier masks.

        Points float32 [p, n, 2] in the network's square, labels int64 [p, n]: see ``prompts.tokens``.
        """
        graph = self._graph("decode", embedding.places, points[:1], labels[:1])
        parts = [
            graph(embedding.places, points[i : i + TOGETHER], labels[i : i + TOGETHER])
            for i in range(0, len(points), TOGETHER)
        ]
        return _parted(np.concatenate(parts) if len(parts) > 1 else parts[0], embedding.geometry.grid)

    def engines(self) -> dict[str, str]:
        """Part -> which engine runs it and why; only parts used so far."""
        return {part: graph.reason for part, graph in self._graphs.items()}

    def _decode_masked(
        self, embedding: Embedding, earlier: Floats, points: Floats, labels: NDArray[np.int64]
    ) -> tuple[Floats, Floats]:
        graph = self._graph("refine", embedding.content, earlier, points, labels)
        return _parted(graph(embedding.content, earlier, points, labels), embedding.geometry.grid)

    def _earlier(self, prompt: Prompt, geometry: Geometry) -> Floats:
        if prompt.mask is not None:
            logits = (2 * geometry.narrowed(prompt.mask) - 1) * SURE
        else:
            assert prompt.memory is not None
            logits = prompt.memory
            if logits.shape != (geometry.grid, geometry.grid):
                raise SensoriumError("the memory belongs to another model: begin again without it")
        return logits.astype(np.float32)[None, None]

    def _scale(self, geometry: Geometry) -> tuple[float, float]:
        return geometry.scaled[0] / geometry.size[0], geometry.scaled[1] / geometry.size[1]

    def _graph(self, part: str, *inputs: np.ndarray) -> Graph:
        from sensorium.runtime.graph import cached

        with self._opening:
            graph = self._graphs.get(part)
            if graph is None:
                key = f"{self.name}-{part}{_FORM}-{self.pipeline}"
                graph = cached(key, device=self.device, dtype=self.dtype) or self._build(part, key, inputs)
                self._graphs[part] = graph
            return graph

    def _build(self, part: str, key: str, inputs: tuple[np.ndarray, ...]) -> Graph:
        """The fastest graph of a part whose outputs agree with float32 on inputs like these."""
        from sensorium.runtime.graph import accelerate
        from sensorium.skills.segment import networks

        kinds: dict[str, tuple[Any, tuple[tuple[int, ...], ...]]] = {
            "encode": (networks.Encode(self.network, self.files.image), ((0,), (0,))),
            "decode": (networks.Decode(self.network), ((), (0, 1), (0, 1))),
            "refine": (networks.DecodeMasked(self.network), ((), (0,), (0, 1), (0, 1))),
        }
        module, dynamic = kinds[part]
        return accelerate(
            module.eval(),
            _varied(part, inputs, self.files.image.height),
            key=key,
            dynamic=dynamic,
            shared=[i for i, axes in enumerate(dynamic) if not axes],
            device=self.device,
            dtype=self.dtype,
        )


def _varied(part: str, inputs: tuple[np.ndarray, ...], side: int) -> list[tuple[np.ndarray, ...]]:
    """Real inputs like the given ones, on which engines are compared: other views, other prompts."""
    first = [array[:1] for array in inputs]
    if part == "encode":
        pixels, inside = first
        return [
            (pixels, inside),
            (np.ascontiguousarray(pixels.transpose(0, 2, 1, 3)), inside[:, ::-1].copy()),
        ]
    fixed = first[:-2]
    places = (0.25, 0.5, 0.75)
    made: list[tuple[np.ndarray, ...]] = []
    for x in places:
        for y in places:
            points = np.array([[[x * side, y * side], [0, 0]]], np.float32)
            labels = np.array([[prompts.FOREGROUND, prompts.PADDING]], np.int64)
            made.append((*fixed, points, labels))
    box = np.array([[[0.3 * side, 0.3 * side], [0.7 * side, 0.6 * side]]], np.float32)
    made.append((*fixed, box, np.array([[prompts.TOP_LEFT, prompts.BOTTOM_RIGHT]], np.int64)))
    return made


def _parted(rows: Floats, grid: int) -> tuple[Floats, Floats]:
    return rows[..., 1:].reshape(*rows.shape[:2], grid, grid), rows[..., 0]


def scattered(points: Sequence[tuple[float, float]]) -> tuple[Floats, NDArray[np.int64]]:
    """Clicks, each a prompt of its own: points float32 [p, 2, 2] and labels int64 [p, 2] for ``decode``."""
    placed = np.zeros((len(points), 2, 2), np.float32)
    placed[:, 0] = points
    labels = np.tile(np.array([prompts.FOREGROUND, prompts.PADDING], np.int64), (len(points), 1))
    return placed, labels
