"""The states of the random generators that training draws from: Python's, NumPy's and PyTorch's."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seed_all(seed: int, rank: int = 0) -> None:
    """Seed every generator; processes of other rank draw other numbers."""
    words = np.random.SeedSequence(seed, spawn_key=(2, rank)).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))
    torch.manual_seed(int(words[2]))


def state() -> dict[str, Any]:
    """The states as a value that JSON can hold."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    version, words, python_gauss = random.getstate()
    return {
        "python": [version, list(words), python_gauss],
        "numpy": [kind, np.asarray(keys).tolist(), position, has_gauss, gauss],
        "torch": _packed(torch.get_rng_state()),
        "cuda": _packed(torch.cuda.get_rng_state()) if _cuda_in_use() else None,
    }


def restore(saved: dict[str, Any]) -> None:
    """Put back what ``state`` returned."""
    version, words, python_gauss = saved["python"]
    random.setstate((version, tuple(words), python_gauss))
    kind, keys, position, has_gauss, gauss = saved["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(_unpacked(saved["torch"]))
    if saved["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(_unpacked(saved["cuda"]))


@contextmanager
def preserved() -> Iterator[None]:
    """Whatever is drawn inside leaves no trace outside."""
    python, legacy, torch_state = random.getstate(), np.random.get_state(legacy=True), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state() if _cuda_in_use() else None
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)
        torch.set_rng_state(torch_state)
        if cuda is not None:
            torch.cuda.set_rng_state(cuda)


def _cuda_in_use() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def _packed(words: torch.Tensor) -> str:
    return words.cpu().numpy().tobytes().hex()


def _unpacked(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)
