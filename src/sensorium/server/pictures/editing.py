"""Handing a cut-out to the image editor of this machine: a file of its own, and the program that opens it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path, PurePath

from sensorium.errors import SensoriumError

FOLDER = "cut-outs"
"""Of the library's: what was sent to the editor stays there, and nothing is ever written over."""

_MOST = 200  # bytes of a name without number and ending
_claiming = threading.Lock()


def command_of(editor: str) -> tuple[str, ...]:
    """The program and its arguments, as a person writes them ("gimp", "open -a Preview").

    Raises SensoriumError when the program is not there.
    """
    try:
        command = shlex.split(editor, posix=os.name == "posix")
    except ValueError as error:
        raise SensoriumError(f"--editor {editor!r} cannot be read: {error}") from error
    program = shutil.which(command[0]) if command else None
    if program is None:
        raise SensoriumError(
            f"--editor {editor!r}: there is no such program; name one that opens pictures, such as gimp"
        )
    return (program, *command[1:])


def name_of(command: tuple[str, ...]) -> str:
    """What people call the editor: the last word, without its folder and ending."""
    return PurePath(command[-1]).stem


def keep(content: bytes, folder: Path, name: str) -> Path:
    """Write a PNG under its name, or its name and a number; returns its path. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=folder, prefix=".", suffix=".partial")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        with _claiming:
            stem = PurePath(name).stem.encode()[:_MOST].decode(errors="ignore")
            target, number = folder / f"{stem}.png", 1
            while target.exists():
                number += 1
                target = folder / f"{stem}-{number}.png"
            Path(partial).replace(target)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
    return target


def start(command: tuple[str, ...], path: Path) -> None:
    """Open a picture in the editor, which lives on without the server. Raises OSError."""
    nowhere = subprocess.DEVNULL
    editor = subprocess.Popen(  # noqa: S603  # the owner named it, no shell
        [*command, str(path.absolute())],
        stdin=nowhere,
        stdout=nowhere,
        stderr=nowhere,
        start_new_session=True,
    )
    threading.Thread(target=editor.wait, name="editor", daemon=True).start()
