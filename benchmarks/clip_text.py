"""One text query through CLIP ViT-B/32: ours against transformers, padded to 77 tokens and unpadded.

    python benchmarks/clip_text.py [--rounds 30] [--checkpoint FOLDER]

The goal is 4 times the speed of float32 eager padded to 77 tokens. Tokenisation is part of both sides.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
import transformers

import sensorium
from peer import QUERIES, describe_machine, interleaved, table, write_random_b32


def main() -> None:
    """Write the checkpoint, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--checkpoint", type=Path, help="a CLIP folder; default: B/32 with random weights")
    options = parser.parse_args()
    print(describe_machine())
    with tempfile.TemporaryDirectory() as scratch:
        os.environ.setdefault("SENSORIUM_HOME", str(Path(scratch, "home")))
        folder = options.checkpoint or Path(scratch, "b32")
        if options.checkpoint is None:
            write_random_b32(folder)
        compare(folder, options.rounds)


def compare(folder: Path, rounds: int) -> None:
    """One query at a time, the three variants in turns."""
    ours = sensorium.load(str(folder))
    network = transformers.CLIPModel.from_pretrained(folder).eval()
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(cores)

    def peer(text: str, padding: str | bool) -> np.ndarray:
        with torch.inference_mode():
            tokens = tokenizer(text, padding=padding, max_length=77, truncation=True, return_tensors="pt")
            vector = network.get_text_features(**tokens).pooler_output
            return torch.nn.functional.normalize(vector, dim=-1).numpy()[0]

    cosines = [float(ours.embed_texts([q])[0] @ peer(q, "max_length")) for q in QUERIES]
    print(f"tokens a query: {[len(tokenizer(q).input_ids) for q in QUERIES]}")
    print(f"cosine to the reference: min {min(cosines):.5f}, mean {statistics.mean(cosines):.5f}")
    print(f"our engine: {ours.engines()['text']}")
    texts = {name: cycle(QUERIES) for name in ("padded", "unpadded", "ours")}
    reference = "transformers float32, padded to 77"
    seconds = interleaved(
        {
            reference: lambda: peer(next(texts["padded"]), "max_length"),
            "transformers float32, unpadded": lambda: peer(next(texts["unpadded"]), padding=False),
            "sensorium": lambda: ours.embed_texts([next(texts["ours"])]),
        },
        rounds,
        warmup=len(QUERIES),  # every length once: graphs prepare a shape when they first meet it
    )
    print(table(seconds, reference))
    ours_median = statistics.median(seconds["sensorium"])
    for name, goal in ((reference, 4.0), ("transformers float32, unpadded", None)):
        ratio = statistics.median(seconds[name]) / ours_median
        wanted = (
            "" if goal is None else f" (goal {goal:.0f}: {'reached' if ratio >= goal else 'NOT reached'})"
        )
        print(f"speed-up over {name}: {ratio:.2f}x{wanted}")


if __name__ == "__main__":
    main()
