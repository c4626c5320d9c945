"""Checkpoints of a run: folders that are whole or absent, of safetensors and JSON, and never of pickles.

    checkpoints/step-00000100/state.json             structure of every part; size and SHA-256 of each file
                              network.safetensors    one file a part that holds tensors

A checkpoint is written beside its place, forced onto the disk, and renamed; a process killed at any moment
leaves the earlier ones as they were. A damaged one is noticed by its hashes and the one before is used.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from sensorium.errors import CheckpointError

FORMAT = 1
_TENSOR, _TUPLE, _ITEMS = "$tensor", "$tuple", "$items"


@dataclass(frozen=True)
class Checkpoint:
    """What was read back: the parts as saved, and a line for each newer checkpoint passed over."""

    step: int
    parts: dict[str, Any]
    refused: list[str] = field(default_factory=list)


def save(folder: Path, step: int, parts: Mapping[str, Any], *, keep: int) -> Path:
    """Write the checkpoint of ``step`` and remove all but the newest ``keep``, and any of later steps.

    A part is a tree of dictionaries, lists, tuples, tensors and JSON values. Call it in one process only.
    Raises CheckpointError when it cannot be written; the earlier ones then are as they were.
    """
    final = folder / f"step-{step:08d}"
    try:
        writing = _written(folder / ".writing", step, parts)
        _remove(final)
        writing.rename(final)
        _force(folder)
        older = [number for number in steps(folder) if number < step]
        for number in steps(folder):
            if number > step or number in older[: max(len(older) - keep + 1, 0)]:
                _remove(folder / f"step-{number:08d}")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot write the checkpoint {final} ({_reason(error)})") from None
    return final


def newest(folder: Path) -> Checkpoint | None:
    """Read the newest whole checkpoint; None when there is none at all.

    Raises CheckpointError when there are checkpoints and every one is damaged.
    """
    refused: list[str] = []
    for step in reversed(steps(folder)):
        path = folder / f"step-{step:08d}"
        try:
            return Checkpoint(step, _read(path), refused)
        except CheckpointError as error:
            refused.append(str(error))
    if refused:
        raise CheckpointError(f"no checkpoint in {folder} is whole: {'; '.join(refused)}")
    return None


def steps(folder: Path) -> list[int]:
    """Steps that have a checkpoint in ``folder``, in ascending order."""
    names = [path.name.removeprefix("step-") for path in folder.glob("step-*")]
    return sorted(int(name) for name in names if name.isdecimal())


def _written(folder: Path, step: int, parts: Mapping[str, Any]) -> Path:
    """A new ``folder`` with the whole checkpoint, forced onto the disk."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    structures, files = {}, {}
    for name, part in parts.items():
        tensors: dict[str, Tensor] = {}
        structures[name] = _flatten(part, "", tensors, {})
        if tensors:
            path = folder / f"{name}.safetensors"
            safetensors.torch.save_file(tensors, path)
            _force(path)
            files[path.name] = {"bytes": path.stat().st_size, "sha256": _sha256(path)}
    _write_state(folder / "state.json", {"format": FORMAT, "step": step, "parts": structures, "files": files})
    _force(folder)
    return folder


def _read(path: Path) -> dict[str, Any]:
    """The parts of one checkpoint. Raises CheckpointError naming the file at fault."""
    try:
        document = json.loads((path / "state.json").read_text(encoding="utf-8"))
        content = document["content"]
        if document["sha256"] != _digest(content):
            raise ValueError("its hash is not the one it states")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path / 'state.json'} is damaged ({_reason(error)})") from None
    if content["format"] != FORMAT:
        raise CheckpointError(f"{path} has format {content['format']}; this version reads {FORMAT}")
    for name, stated in content["files"].items():
        file = path / name
        if not file.is_file() or file.stat().st_size != stated["bytes"] or _sha256(file) != stated["sha256"]:
            raise CheckpointError(f"{file} is missing or damaged")
    parts = {}
    for name, structure in content["parts"].items():
        file = path / f"{name}.safetensors"
        try:
            tensors = safetensors.torch.load_file(file) if file.name in content["files"] else {}
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{file} is damaged ({_reason(error)})") from None
        parts[name] = _unflatten(structure, tensors)
    return parts


def _flatten(tree: Any, name: str, tensors: dict[str, Tensor], seen: dict[tuple[Any, ...], str]) -> Any:
    """JSON twin of ``tree``; tensors go to ``tensors`` by dotted names, those that share memory once."""
    if isinstance(tree, Tensor):
        value = tree.detach()
        place = (value.data_ptr(), value.shape, value.stride(), value.dtype, value.device)
        if value.numel() and place in seen:
            return {_TENSOR: seen[place]}
        seen[place] = name
        alone = value.untyped_storage().nbytes() == value.nbytes
        tensors[name] = (value if alone else value.clone()).cpu().contiguous()
        return {_TENSOR: name}
    if isinstance(tree, Mapping):
        if all(isinstance(key, str) and not key.startswith("$") for key in tree):
            return {key: _flatten(value, _join(name, key), tensors, seen) for key, value in tree.items()}
        return {_ITEMS: [[k, _flatten(v, _join(name, str(k)), tensors, seen)] for k, v in tree.items()]}
    if isinstance(tree, list | tuple):
        values = [_flatten(value, _join(name, str(i)), tensors, seen) for i, value in enumerate(tree)]
        return {_TUPLE: values} if isinstance(tree, tuple) else values
    if tree is None or isinstance(tree, str | bool | int | float):
        return tree
    raise CheckpointError(f"a checkpoint cannot hold {name or 'its root'}: {type(tree).__name__}")


def _unflatten(structure: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(structure, list):
        return [_unflatten(value, tensors) for value in structure]
    if not isinstance(structure, dict):
        return structure
    if _TENSOR in structure:
        return tensors[structure[_TENSOR]]
    if _TUPLE in structure:
        return tuple(_unflatten(value, tensors) for value in structure[_TUPLE])
    if _ITEMS in structure:
        return {key: _unflatten(value, tensors) for key, value in structure[_ITEMS]}
    return {key: _unflatten(value, tensors) for key, value in structure.items()}


def _join(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _write_state(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps({"sha256": _digest(content), "content": content}), encoding="utf-8")
    _force(path)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _force(path: Path) -> None:
    """Have the system put a file, or the names in a folder, onto the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    """Remove a checkpoint so that a crash half-way leaves none that looks whole."""
    if path.exists():
        doomed = path.with_name(".removing")
        if doomed.exists():
            shutil.rmtree(doomed)
        path.rename(doomed)
        shutil.rmtree(doomed)


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
