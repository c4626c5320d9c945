"""The processes that train together.

One process by default. Under ``torchrun`` (which sets RANK, WORLD_SIZE and LOCAL_RANK) ``joined`` makes them
one group: gloo for tensors in memory, and nccl beside it for tensors on CUDA devices. The nccl half is
written as the PyTorch documentation says and has not been run here: this project's machines have no such
device.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.distributed as dist


class World(NamedTuple):
    """Which process this is, of how many."""

    rank: int
    size: int


def world() -> World:
    """The process group as it stands; ``World(0, 1)`` when there is none."""
    if dist.is_available() and dist.is_initialized():
        return World(dist.get_rank(), dist.get_world_size())
    return World(0, 1)


@contextmanager
def joined() -> Iterator[World]:
    """Join the processes that ``torchrun`` started, and leave them at the end; without it, do nothing."""
    if "RANK" not in os.environ or dist.is_initialized():
        yield world()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group("cpu:gloo,cuda:nccl")
    else:
        dist.init_process_group("gloo")
    try:
        yield world()
    finally:
        dist.destroy_process_group()


def gathered_bytes(message: bytes) -> list[bytes]:
    """The message of every process, in order of rank, on every process."""
    if world().size == 1:
        return [message]
    lengths = gathered_integer(len(message), torch.device("cpu"))
    padded = torch.zeros(max(lengths), dtype=torch.uint8)
    padded[: len(message)] = torch.frombuffer(bytearray(message), dtype=torch.uint8)
    received = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(received, padded)
    return [bytes(part[:length].numpy()) for part, length in zip(received, lengths, strict=True)]


def gathered_integer(value: int, device: torch.device) -> list[int]:
    """The integer of every process, in order of rank, sent by way of ``device``."""
    size = world().size
    if size == 1:
        return [value]
    received = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(size)]
    dist.all_gather(received, torch.tensor([value], dtype=torch.int64, device=device))
    return [int(part.item()) for part in received]


def wait_for_all() -> None:
    """Return once every process has come here."""
    if world().size > 1:
        dist.barrier()
