"""What people chose in the page for this library: a small file beside it, replaced as a whole."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from sensorium.errors import LibraryError

MOST_BYTES = 65_536


class Choices(BaseModel):
    """What can be chosen. ``language`` null: that of the browser; ``model`` null: the one that answers."""

    model_config = ConfigDict(extra="ignore")

    language: Literal["en", "zh"] | None = None
    model: str | None = None
    watch: bool = True


class Preferences:
    """The choices of one library. Safe to use from several threads; a broken file counts as none."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()

    def read(self) -> Choices:
        """The choices as they are now."""
        try:
            with self._file.open("rb") as file:
                return Choices.model_validate_json(file.read(MOST_BYTES))
        except (OSError, ValidationError):
            return Choices()

    def change(self, **changes: object) -> Choices:
        """Keep some choices and give back all. Raises LibraryError when they cannot be written."""
        with self._lock:
            chosen = Choices.model_validate({**self.read().model_dump(), **changes})
            content = json.dumps(chosen.model_dump(), ensure_ascii=False, indent=2).encode()
            try:
                descriptor, beside = tempfile.mkstemp(prefix=".settings-", dir=self._file.parent)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                Path(beside).replace(self._file)
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise LibraryError(f"the settings cannot be written: {reason}") from error
        return chosen
