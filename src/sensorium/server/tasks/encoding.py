"""The one worker that runs networks for the server: warm, one batch at a time, concurrent questions together.

A library gets its models from here (``Library.open(loader=encoding.load)``). What it then asks of a model in
any thread waits for the worker; everything that came while a batch was running makes up the next one. Vectors
of recent sentences are remembered, so that the next page of a search, or a word taken away, costs no network.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from sensorium.photos.encoder import Encoder, EncoderLoader, load_encoder

if TYPE_CHECKING:
    from sensorium.media.image import ImageSpec

Vectors = NDArray[np.float32]
_Result = TypeVar("_Result")

REMEMBERED = 2048
"""Sentences of each model whose vectors are kept: 4 MB for 512 numbers each."""


class Encoding:
    """Opens models and runs them in one thread. Safe to use from any thread but the event loop's."""

    def __init__(self, loader: EncoderLoader | None = None) -> None:
        self._loader = loader or load_encoder
        self._worker = ThreadPoolExecutor(1, "encoder")
        self._opened: dict[str, BatchingEncoder] = {}
        self._opening = threading.Lock()

    def load(self, name: str) -> BatchingEncoder:
        """A model by name, opened once. Raises ModelNotFoundError when its files are not here."""
        with self._opening:
            if name not in self._opened:
                self._opened[name] = BatchingEncoder(self._loader(name), self._worker)
            return self._opened[name]

    def submit(self, work: Callable[..., _Result], *arguments: object) -> Future[_Result]:
        """Let the worker do something with networks, after what it was given before.

        Models are used there as ``bare`` gives them: what ``load`` gives would wait for the worker itself.
        """
        return self._worker.submit(work, *arguments)

    def bare(self, name: str) -> Encoder:
        """A model by name, for work that the worker does (``submit``). Raises ModelNotFoundError."""
        return self.load(name).encoder

    def ahead(self, encoder: Encoder, texts: list[str]) -> Future[dict[str, Vectors]] | None:
        """As ``BatchingEncoder.ahead``, for a model that was opened here."""
        return encoder.ahead(texts) if isinstance(encoder, BatchingEncoder) else None

    def close(self) -> None:
        """End the worker after what it is at; whoever still waits gets an error."""
        self._worker.shutdown(wait=True, cancel_futures=True)


class _Batch:
    """Sentences that will be encoded together; closed when the worker begins with it."""

    def __init__(self) -> None:
        self.texts: dict[str, None] = {}
        self.vectors: Future[dict[str, Vectors]]


class BatchingEncoder:
    """An ``Encoder`` whose calls are done by the one worker, those of several threads in one batch."""

    def __init__(self, encoder: Encoder, worker: ThreadPoolExecutor) -> None:
        self.encoder = encoder
        self._worker = worker
        self._lock = threading.Lock()
        self._open: _Batch | None = None
        self._recent: OrderedDict[str, Vectors] = OrderedDict()

    @property
    def name(self) -> str:
        """As ``Encoder.name``."""
        return self.encoder.name

    @property
    def dim(self) -> int:
        """As ``Encoder.dim``."""
        return self._worker.submit(lambda: self.encoder.dim).result()

    @property
    def pipeline(self) -> str:
        """As ``Encoder.pipeline``."""
        return self.encoder.pipeline

    @property
    def image_spec(self) -> ImageSpec:
        """As ``Encoder.image_spec``."""
        return self.encoder.image_spec

    def embed_pixels(self, pixels: NDArray[np.uint8]) -> Vectors:
        """Prepared pictures, uint8 [b, h, w, 3]: float32 [b, dim], rows of unit length."""
        return self._worker.submit(self.encoder.embed_pixels, pixels).result()

    def embed_texts(self, texts: list[str]) -> Vectors:
        """Sentences: float32 [b, dim], rows of unit length; one batch with those of other threads."""
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        found: dict[str, Vectors] = {}
        batch = None
        with self._lock:
            for text in texts:
                if text in self._recent:
                    self._recent.move_to_end(text)
                    found[text] = self._recent[text]
            missing = [text for text in texts if text not in found]
            if missing:
                batch = self._join(missing)
        if batch is not None:
            found.update(batch.vectors.result())
        return np.stack([found[text] for text in texts])

    def ahead(self, texts: list[str]) -> Future[dict[str, Vectors]] | None:
        """Have sentences encoded soon, with those of others; what to wait for, None when all are known.

        ``embed_texts`` then answers at once. A network that runs for many sentences takes little longer than
        for one, so whoever waits should not hold anything meanwhile.
        """
        with self._lock:
            missing = [text for text in texts if text not in self._recent]
            return self._join(missing).vectors if missing else None

    def _join(self, texts: list[str]) -> _Batch:
        """Add sentences to the batch that waits for the worker, a new one if there is none."""
        batch = self._open
        if batch is None:
            batch = self._open = _Batch()
            batch.vectors = self._worker.submit(self._encode, batch)
        batch.texts.update(dict.fromkeys(texts))
        return batch

    def _encode(self, batch: _Batch) -> dict[str, Vectors]:
        with self._lock:
            self._open = None
        texts = list(batch.texts)
        rows = dict(zip(texts, self.encoder.embed_texts(texts), strict=True))
        with self._lock:
            self._recent.update(rows)
            while len(self._recent) > REMEMBERED:
                self._recent.popitem(last=False)
        return rows
