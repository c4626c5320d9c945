"""What the benchmarks share: a full-size CLIP with random weights, the peer that runs it, and the machine.

The checkpoint is written by ``transformers`` in the hub's layout and read by both sides. Random weights say
nothing about quality, but the arithmetic and so the time are those of openai/clip-vit-base-patch32.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

QUERIES = (
    "sunset at the beach",
    "a photo of a dog",
    "two children playing in the park",
    "snow covered mountains behind a lake",
    "birthday cake with candles",
    "street at night in the rain",
    "an old steam train on a stone bridge",
    "a cat asleep on a red sofa",
)


PAUSE = 0.05
"""Seconds between two turns of `interleaved`."""


def write_random_b32(folder: Path, seed: int = 0) -> None:
    """A CLIP ViT-B/32 folder: config, weights, preparation, and a vocabulary made of QUERIES' words."""
    import torch
    import transformers

    torch.manual_seed(seed)
    network = transformers.CLIPModel(transformers.CLIPConfig())
    with torch.no_grad():
        # initialised as the library does, every input gives nearly the same output: spread them
        for name, parameter in network.named_parameters():
            if parameter.ndim == 2 and "embedding" not in name:
                parameter.normal_(std=1.0 / parameter.shape[1] ** 0.5)
    network.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"] |= {"bos_token_id": 49406, "eos_token_id": 49407}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "image_processor_type": "CLIPImageProcessor",
                "do_resize": True,
                "size": {"shortest_edge": 224},
                "resample": 3,
                "do_center_crop": True,
                "crop_size": {"height": 224, "width": 224},
                "do_rescale": True,
                "do_normalize": True,
                "image_mean": [0.48145466, 0.4578275, 0.40821073],
                "image_std": [0.26862954, 0.26130258, 0.27577711],
            }
        )
    )
    vocabulary, merges = _vocabulary({word for query in QUERIES for word in query.split()})
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": 77})
    )


def _vocabulary(words: set[str]) -> tuple[dict[str, int], list[str]]:
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]
    tokens = letters + [letter + "</w>" for letter in letters]
    merges: list[str] = []
    for word in sorted(words):
        pieces = [*word[:-1], word[-1] + "</w>"]
        while len(pieces) > 1:
            merge = f"{pieces[0]} {pieces[1]}"
            if merge not in merges:
                merges.append(merge)
                tokens.append(pieces[0] + pieces[1])
            pieces[:2] = [pieces[0] + pieces[1]]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    return vocabulary | {"<|startoftext|>": 49406, "<|endoftext|>": 49407}, merges


def describe_machine() -> str:
    """Processor, cores, load and the versions that matter, on two lines."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = platform.processor() or platform.machine()
    flags = ""
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = dict(line.split(":", 1) for line in information.read_text().splitlines() if ":" in line)
        fields = {key.strip(): value.strip() for key, value in lines.items()}
        name = fields.get("model name", name)
        wanted = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
        flags = " ".join(flag for flag in wanted if flag in fields.get("flags", "").split())
    packages = ("torch", "transformers", "openvino", "nncf", "numpy", "pillow")
    load = f", load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    return f"machine: {name}, {cores} cores, {flags}{load}\npython {platform.python_version()}, " + ", ".join(
        f"{p} {version(p)}" for p in packages
    )


def interleaved(
    variants: Mapping[str, Callable[[], Any]], rounds: int, warmup: int = 2
) -> dict[str, list[float]]:
    """Seconds of each variant, in turns, so that a busy moment of the machine hits all alike.

    Each turn begins with a pause: torch's threads go on spinning for a while after their work, and would take
    the processors from whoever comes next, as they never do where a program uses only one of the variants.
    """
    for run in variants.values():
        for _ in range(warmup):
            run()
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, run in variants.items():
            time.sleep(PAUSE)
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def table(seconds: Mapping[str, list[float]], reference: str, items: int = 1) -> str:
    """Median, fastest and slowest time of each variant, and its speed relative to the reference."""
    base = statistics.median(seconds[reference])
    rows = [f"{'variant':42s} {'median ms':>10s} {'min':>9s} {'max':>9s} {'items/s':>9s} {'ratio':>7s}"]
    for name, values in seconds.items():
        median = statistics.median(values)
        rows.append(
            f"{name:42s} {1000 * median:10.1f} {1000 * min(values):9.1f} {1000 * max(values):9.1f} "
            f"{items / median:9.1f} {base / median:6.2f}x"
        )
    return "\n".join(rows)
