"""Runs a function in several processes joined by gloo, for tests of what happens between processes."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing

from sensorium.train.world import joined

# A server that has imported the heavy part once starts the processes: faster than a new interpreter each.
# It has computed nothing, so that its children are as fresh as new ones.
FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(["torch", "sensorium.train.loop"])


def run_in_processes(function: Callable[..., Any], folder: Path, *arguments: Any, size: int = 2) -> list[Any]:
    """What ``function(*arguments)`` returns in each of ``size`` processes (tensors and plain values)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.start_processes(
        _enter, (size, port, folder, function, arguments), nprocs=size, start_method="forkserver"
    )
    return [torch.load(folder / f"result-{rank}.pt") for rank in range(size)]


def _enter(
    rank: int, size: int, port: int, folder: Path, function: Callable[..., Any], arguments: Any
) -> None:
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    with joined() as here:
        assert here == (rank, size)
        torch.save(function(*arguments), folder / f"result-{rank}.pt")
