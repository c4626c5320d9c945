"""Pictures that were sent here to search by: their vectors, for ten minutes, in memory only."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SECONDS = 600.0
MOST = 256


@dataclass(frozen=True, slots=True)
class Upload:
    """A picture as a vector [d] of a pipeline, and small to be shown (WebP)."""

    pipeline: str
    vector: NDArray[np.float32]
    shown: bytes
    until: float


class Uploads:
    """What was uploaded lately. All methods belong to the event loop's thread."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Upload] = OrderedDict()

    def add(self, pipeline: str, vector: NDArray[np.float32], shown: bytes) -> str:
        """Keep a picture; the id under which it is found, which nobody can guess."""
        self._forget_old()
        upload_id = secrets.token_urlsafe(12)
        self._kept[upload_id] = Upload(pipeline, vector, shown, time.monotonic() + SECONDS)
        while len(self._kept) > MOST:
            self._kept.popitem(last=False)
        return upload_id

    def get(self, upload_id: str) -> Upload | None:
        """A picture that is still kept."""
        self._forget_old()
        found = self._kept.get(upload_id)
        return None if found is None or found.until < time.monotonic() else found

    def _forget_old(self) -> None:
        now = time.monotonic()
        while self._kept and next(iter(self._kept.values())).until < now:
            self._kept.popitem(last=False)
