"""The log of a run: JSON lines, one a step, the source of every curve and table made of it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium.errors import SensoriumError

if TYPE_CHECKING:
    from sensorium.train.loop import StepRecord


class Log:
    """Appends step records to a file that is first cut back to ``step``, the last step that counts.

    A last line torn by a crash is removed, and so are the lines of steps that will be taken again, so that
    the log of an interrupted run and that of an uninterrupted one hold the same lines.
    """

    def __init__(self, path: Path, step: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        self.cut = cut_back(path, step)
        self._file = path.open("a", encoding="utf-8")

    def write(self, record: StepRecord) -> None:
        """Append one line and hand it to the operating system, where a killed process cannot take it back."""
        self._file.write(json.dumps(asdict(record)) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Force the lines onto the disk, before a checkpoint that counts on them."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def cut_back(path: Path, step: int) -> int:
    """Remove a torn last line and all lines after ``step``; return how many bytes went.

    Raises SensoriumError when a line in the middle cannot be read, since that is no crash of ours.
    """
    content = path.read_bytes()
    lines = content.split(b"\n")
    kept = 0
    for number, line in enumerate(lines[:-1], start=1):  # what follows the last newline is empty or torn
        try:
            when = int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError):
            if number == len(lines) - 1:
                break
            raise SensoriumError(
                f"{path}: line {number} is not a step record; mend or remove the file"
            ) from None
        if when > step:
            break
        kept += len(line) + 1
    if kept < len(content):
        with path.open("r+b") as file:
            file.truncate(kept)
            os.fsync(file.fileno())
    return len(content) - kept


def read_log(path: Path) -> list[dict[str, Any]]:
    """The records of a log as dictionaries, without a last line that is still being written."""
    whole = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in whole]
