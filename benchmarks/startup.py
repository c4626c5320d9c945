"""Cold starts: ``sensorium --help``, a search whose graph is cached, and the peer's import.

    python benchmarks/startup.py [--runs 7] [--model NAME_OR_FOLDER]

Goals: help within 0.3 s; a search from a new process within 1 s. The peer only imports CLIPModel. Indexes
``examples/photos`` into a temporary library first. Every run is a new process; files are in the disk cache.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from peer import describe_machine

PHOTOS = Path(__file__).parent.parent / "examples" / "photos"


def main() -> None:
    """Index once, then time new processes in turns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--model", help="a model name or folder; default: the embedded one")
    options = parser.parse_args()
    print(describe_machine())
    sensorium = str(Path(sysconfig.get_path("scripts"), "sensorium"))
    with tempfile.TemporaryDirectory() as scratch:
        environment = {"SENSORIUM_HOME": str(Path(scratch, "home")), "SENSORIUM_OFFLINE": "1"}
        os.environ |= environment
        library = ["--library", str(Path(scratch, "library"))]
        model = ["--model", options.model] if options.model else []
        first, _ = seconds([sensorium, "index", str(PHOTOS), *library, *model])
        print(f"first index of {len(list(PHOTOS.glob('IMG*')))} photos, graphs built: {first:.1f} s")
        variants = {
            "sensorium --help": [sensorium, "--help"],
            "sensorium search, graph cached": [sensorium, "search", "sunset at the beach", *library],
            "python -c pass": [sys.executable, "-c", "pass"],
            "peer: import transformers CLIPModel": [
                sys.executable,
                "-c",
                "from transformers import CLIPModel",
            ],
        }
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
        for turn in range(options.runs + 1):
            for name, command in variants.items():
                took = seconds(command)
                if turn:  # the first turn fills the disk cache
                    times[name].append(took)
    report(times)


def seconds(command: list[str]) -> tuple[float, float]:
    """Wall-clock and processor time of one process; its output is dropped, its failure is ours."""
    before, start = os.times(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, os.times()
    worked = after.children_user - before.children_user + after.children_system - before.children_system
    return wall, worked


def report(times: dict[str, list[tuple[float, float]]]) -> None:
    """Medians and the goals. Processor time beside wall time shows what a busy machine added."""
    goals = {"sensorium --help": 0.3, "sensorium search, graph cached": 1.0}
    print(f"{'process':40s} {'median s':>9s} {'min':>7s} {'max':>7s} {'cpu s':>7s}")
    for name, values in times.items():
        walls, worked = zip(*values, strict=True)
        median = statistics.median(walls)
        goal = goals.get(name)
        verdict = "" if goal is None else f"  goal {goal} s: {'reached' if median <= goal else 'NOT reached'}"
        print(
            f"{name:40s} {median:9.3f} {min(walls):7.3f} {max(walls):7.3f} "
            f"{statistics.median(worked):7.3f}{verdict}"
        )
    if hasattr(os, "getloadavg"):
        print(f"load of the machine at the end: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
