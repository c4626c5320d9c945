"""Indexing 12-megapixel JPEGs with CLIP ViT-B/32: ours against Pillow and transformers, end to end.

    python benchmarks/clip_index.py [--photos 384] [--rounds 2] [--peer-photos 48] [--folder KEEP_PHOTOS]

Ours is ``Library.index``: scan, decode in worker processes, encode, one transaction a batch. The peer decodes
in full with Pillow, prepares like CLIP's image processor and runs ``CLIPModel`` eager in float32, three ways:
batch 1, batch 32, and batch 8 behind a ``DataLoader`` with one worker a core. All use the same cores.
Starting our worker processes is part of our time, so a round must hold enough photos to look like a
folder. The goal is 5 times the photos/s of the best of the three, at cosine >= 0.99 to its embeddings.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image
from torch.utils.data import DataLoader

import sensorium
from peer import describe_machine, write_random_b32
from sensorium.media.image import fit_image, read_image
from sensorium.photos import Library
from sensorium.photos.database.store import Store
from sensorium.skills.embed import DualEncoder

SOURCES = Path(__file__).parent.parent / "examples" / "photos"
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
OURS = "sensorium index"
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


def main() -> None:
    """Make the photos, warm both sides, measure in turns, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=384, help="how many in all; shared out over the rounds")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--peer-photos", type=int, default=48, help="of each round, for the slower peer")
    parser.add_argument("--folder", type=Path, help="where to make the photos, or find those made before")
    parser.add_argument("--checkpoint", type=Path, help="a B/32 folder; default: random weights")
    options = parser.parse_args()
    print(describe_machine())
    with tempfile.TemporaryDirectory() as scratch:
        os.environ.setdefault("SENSORIUM_HOME", str(Path(scratch, "home")))
        checkpoint = options.checkpoint or Path(scratch, "b32")
        if options.checkpoint is None:
            write_random_b32(checkpoint)
        rounds = make_photos(options.folder or Path(scratch, "photos"), options.photos, options.rounds)
        compare(rounds, checkpoint, Path(scratch, "library"), options.peer_photos)


def make_photos(folder: Path, count: int, rounds: int) -> list[list[Path]]:
    """``count`` JPEGs of 4000 x 3000 pixels, quality 90: crops of real photos enlarged, with sensor grain."""
    sources = sorted(SOURCES.glob("IMG_*"))
    parts: list[list[Path]] = [[] for _ in range(rounds)]
    for i in range(count):
        path = folder / f"round{i % rounds}" / f"{i:04d}.jpg"
        parts[i % rounds].append(path)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            enlarge(sources[i // rounds % len(sources)], seed=i).save(path, quality=90)
    sizes = [path.stat().st_size / 1e6 for part in parts for path in part]
    print(f"{count} photos of 12 megapixels, {min(sizes):.1f} to {max(sizes):.1f} MB (median "
          f"{statistics.median(sizes):.1f}), in {rounds} rounds")  # fmt: skip
    return parts


def enlarge(source: Path, seed: int) -> Image.Image:
    """A seeded crop of a photo as a camera of 12 megapixels might have taken it."""
    rng = np.random.default_rng(seed)
    photo = read_image(source)
    side = min(photo.width / 4, photo.height / 3) * rng.uniform(0.7, 1.0)
    left, top = rng.uniform(0, photo.width - 4 * side), rng.uniform(0, photo.height - 3 * side)
    box = (left, top, left + 4 * side, top + 3 * side)
    large = np.asarray(photo.resize((4000, 3000), Image.Resampling.BICUBIC, box=box), np.int16)
    grain = rng.normal(0, 5.0, (3000, 4000, 1)).astype(np.int16)
    return Image.fromarray(np.clip(large + grain, 0, 255).astype(np.uint8))


def peer_pixels(path: Path) -> torch.Tensor:
    """CLIP's preparation after a full decode: shortest side to 224 bicubic, centre crop, normalise."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    width, height = image.size
    scale = 224 / min(width, height)
    image = image.resize((int(width * scale), int(height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    values = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32) / 255
    return torch.from_numpy(((values - MEAN) / STD).transpose(2, 0, 1).copy())


class Photos(torch.utils.data.Dataset[torch.Tensor]):
    """The peer's photos for its DataLoader."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return peer_pixels(self.paths[index])


def peer_runs(checkpoint: Path) -> dict[str, Callable[[list[Path]], np.ndarray]]:
    """The three ways to run the peer: paths to unit vectors."""
    network = transformers.CLIPModel.from_pretrained(checkpoint).eval()
    torch.set_num_threads(CORES)

    def encode(batch: torch.Tensor) -> np.ndarray:
        with torch.inference_mode():
            vectors = network.get_image_features(pixel_values=batch).pooler_output
            return torch.nn.functional.normalize(vectors, dim=-1).numpy()

    def batches(paths: list[Path], size: int) -> np.ndarray:
        parts = [paths[i : i + size] for i in range(0, len(paths), size)]
        return np.concatenate([encode(torch.stack([peer_pixels(path) for path in part])) for part in parts])

    def loader(paths: list[Path]) -> np.ndarray:
        return np.concatenate([encode(batch) for batch in DataLoader(Photos(paths), 8, num_workers=CORES)])

    return {
        "peer, batch 1": lambda paths: batches(paths, 1),
        "peer, batch 32": lambda paths: batches(paths, 32),
        f"peer, batch 8, {CORES} loader processes": loader,
    }


def compare(rounds: list[list[Path]], checkpoint: Path, folder: Path, peer_photos: int) -> None:
    """Each round: ours over its photos, then each peer over the first of them."""
    start = time.perf_counter()
    encoder = sensorium.load(str(checkpoint))
    first = [
        fit_image(read_image(path, smallest=224), encoder.image_spec) for part in rounds for path in part
    ]
    encoder.prepare_images(np.stack(first[:48]))
    print(f"engine, measured and built once for this machine in {time.perf_counter() - start:.0f} s: "
          f"{encoder.engines()['image']}")  # fmt: skip
    variants = peer_runs(checkpoint)
    speeds: dict[str, list[float]] = {name: [] for name in [*variants, OURS]}
    worked: dict[str, list[float]] = {name: [] for name in speeds}

    def clock(name: str, photos: int, run: Callable[[], object]) -> None:
        start, before = time.perf_counter(), processor_seconds()
        run()
        speeds[name].append(photos / (time.perf_counter() - start))
        worked[name].append((processor_seconds() - before) / photos)

    cosines: list[float] = []
    vectors: dict[int, np.ndarray] = {}  # the latest of the peer
    warm(encoder, variants, rounds[0][:4])
    with Library.open(folder, create=True, loader=lambda _: encoder) as library:
        for part in rounds:
            clock(OURS, len(part), lambda p=part: list(library.index([p[0].parent], model=str(checkpoint))))
            few = part[:peer_photos]
            for name, run in variants.items():
                clock(name, len(few), lambda r=run, f=few: vectors.update({0: r(f)}))
            cosines += agreement(folder, few, vectors[0])
    report(speeds, worked, cosines)


def processor_seconds() -> float:
    """Processor time of this process and of its children that have ended, all cores together."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def warm(
    encoder: DualEncoder, variants: dict[str, Callable[[list[Path]], np.ndarray]], few: list[Path]
) -> None:
    """Both sides meet their batch sizes once before the clock runs."""
    encoder.embed_texts(["warm"])
    for size in (32, 16):
        shape = (size, encoder.image_spec.height, encoder.image_spec.width, 3)
        encoder.embed_pixels(np.zeros(shape, np.uint8) + np.arange(size, dtype=np.uint8)[:, None, None, None])
    for run in variants.values():
        run(few)


def agreement(folder: Path, paths: list[Path], vectors: np.ndarray) -> list[float]:
    """Cosine of what the library stored (16-bit) to the peer's vector of the same photo."""
    store = Store(folder, create=False)
    pipeline = store.active_pipeline()
    assert pipeline is not None
    ids, stored = store.vectors(pipeline)
    names = store.photos(ids.tolist())
    rows = {
        Path(names[i].path).name: row for i, row in zip(ids.tolist(), stored.astype(np.float32), strict=True)
    }
    store.close()
    ours = np.stack([rows[path.name] for path in paths])
    ours /= np.linalg.norm(ours, axis=1, keepdims=True)
    return [float(value) for value in (ours * vectors).sum(axis=1)]


def report(speeds: dict[str, list[float]], worked: dict[str, list[float]], cosines: list[float]) -> None:
    """Photos/s of each round, medians, and the ratio that the goal is about."""
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    ours = medians.pop(OURS)
    print(f"{'variant':42s} {'photos/s':>9s} {'cpu s/photo':>12s}   photos/s of each round")
    for name, values in speeds.items():
        each = ", ".join(f"{value:.2f}" for value in values)
        print(f"{name:42s} {statistics.median(values):9.2f} {statistics.median(worked[name]):12.3f}   {each}")
    best = max(medians, key=lambda name: medians[name])
    ratio = ours / medians[best]
    print(f"speed-up over {best}: {ratio:.2f}x (goal 5: {'reached' if ratio >= 5 else 'NOT reached'})")
    for name, median in medians.items():
        if name != best:
            print(f"speed-up over {name}: {ours / median:.2f}x")
    least, mean = min(cosines), statistics.mean(cosines)
    verdict = "reached" if least >= 0.99 else "NOT reached"
    print(f"cosine to the peer's embeddings, {len(cosines)} photos: min {least:.5f}, mean {mean:.5f} "
          f"(goal 0.99: {verdict})")  # fmt: skip
    if hasattr(os, "getloadavg"):
        print(f"load of the machine at the end: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
