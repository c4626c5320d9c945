"""Where compiled graphs are kept: one folder a key and machine, holding a choice and the files it names.

Files are written under new names and the choice replaces the former one in a single rename, so a reader never
sees half of a change and a killed writer leaves nothing that is read. Nothing here imports torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import uuid
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from sensorium import settings
from sensorium.errors import SensoriumError
from sensorium.runtime import machine


@dataclass(frozen=True)
class Measurement:
    """One engine on trial: median seconds a call, least cosine to float32, and why it was refused, if so."""

    engine: str
    seconds: float | None = None
    cosine: float | None = None
    refused: str = ""


@dataclass(frozen=True)
class Choice:
    """Which engine runs a network here and why; written as ``choice.json``."""

    engine: str
    reason: str
    measurements: tuple[Measurement, ...]
    int8_tried: bool
    versions: dict[str, str]
    graph: str | None  # file of the compiled graph; None for an engine that needs the network itself
    graph_bytes: int
    golden: str  # file with one real input and the float32 network's output for it


class StoredGraphError(SensoriumError):
    """A stored graph that cannot be used; the text says why, in one line."""


@dataclass(frozen=True)
class Slot:
    """The folder of one key on this machine under one wish (device, precision or a forced engine)."""

    folder: Path

    @property
    def choice_path(self) -> Path:
        """The file whose presence makes the rest valid."""
        return self.folder / "choice.json"

    @property
    def lock_path(self) -> Path:
        """Held by the process that builds; waiting for it is cheaper than building twice."""
        return self.folder / "lock"

    def version(self) -> bytes | None:
        """The stored choice as it stands in its file; None when there is none."""
        try:
            return self.choice_path.read_bytes()
        except FileNotFoundError:
            return None

    def read(self) -> Choice:
        """The stored choice. StoredGraphError: it, or a file that it names, is damaged or missing."""
        try:
            raw = json.loads(self.choice_path.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            raise StoredGraphError(f"choice.json is unreadable ({error})") from error
        try:
            measurements = tuple(Measurement(**entry) for entry in raw.pop("measurements"))
            choice = Choice(**raw, measurements=measurements)
            names = [choice.golden] if choice.graph is None else [choice.golden, choice.graph]
            missing = [name for name in names if not (self.folder / name).is_file()]
            size = 0 if choice.graph is None or missing else (self.folder / choice.graph).stat().st_size
        except (KeyError, TypeError, AttributeError) as error:
            raise StoredGraphError(f"choice.json lacks what this version expects ({error})") from error
        if missing:
            raise StoredGraphError(f"{missing[0]} is missing")
        if size != choice.graph_bytes:
            raise StoredGraphError(f"{choice.graph} has {size} bytes instead of {choice.graph_bytes}")
        return choice

    def golden(self, choice: Choice) -> tuple[list[np.ndarray], np.ndarray]:
        """The stored inputs and the output expected for them. StoredGraphError: the file is damaged."""
        try:
            with np.load(self.folder / choice.golden, allow_pickle=False) as stored:
                output, *inputs = (stored[name] for name in stored.files)
                return inputs, output
        except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise StoredGraphError(f"{choice.golden} is damaged ({error})") from error

    def graph(self, choice: Choice) -> np.ndarray:
        """The compiled graph's bytes, memory-mapped. StoredGraphError: the file cannot be read."""
        try:
            # copy on write: OpenVINO takes only writable memory without copying it, and never writes
            return np.memmap(self.folder / str(choice.graph), np.uint8, "c")
        except (OSError, ValueError) as error:
            raise StoredGraphError(f"{choice.graph} cannot be read ({error})") from error

    def add(self, suffix: str, content: bytes | memoryview) -> str:
        """Store bytes under a new name, on the disk before this returns; the name."""
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"{uuid.uuid4().hex}{suffix}"
        with (self.folder / name).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return name

    def add_golden(self, inputs: list[np.ndarray], output: np.ndarray) -> str:
        """Store one input row and its expected output; the name."""
        buffer = io.BytesIO()
        np.savez(buffer, output, *inputs)
        return self.add(".npz", buffer.getvalue())

    def commit(self, choice: Choice) -> None:
        """Make a choice the valid one and drop the files that no choice names any more."""
        name = self.add(".json", json.dumps(asdict(choice), indent=2).encode())
        (self.folder / name).replace(self.choice_path)
        keep = {"choice.json", "lock", choice.golden, choice.graph}
        for path in self.folder.iterdir():
            if path.name not in keep:
                with contextlib.suppress(OSError):  # another process may still map it (Windows)
                    path.unlink()

    def discard(self) -> None:
        """Forget the stored choice."""
        self.choice_path.unlink(missing_ok=True)


def slot(key: str, wish: str) -> Slot:
    """The slot of a key (any text) on this machine; ``wish`` tells apart what the caller asked for."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", key).strip(".-")[:80]
    digest = hashlib.sha256(key.encode()).hexdigest()[:12]
    return Slot(settings.graphs_dir() / f"{name}-{digest}" / machine.fingerprint() / wish)
