"""Bring a checkpoint from the hub: pinned, only the files that are needed, resumed, checked, whole or absent.

huggingface_hub answers what a revision consists of and carries the requests (proxies, tokens, endpoints).
The bytes are streamed here, because its own downloads start again from zero when a process was killed.
Files grow in a hidden folder and appear under their name only when every one of them passed its check.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from sensorium import settings
from sensorium.errors import CheckpointError, ModelNotFoundError, SensoriumError
from sensorium.weights import catalog
from sensorium.weights.files import COMPANIONS, WEIGHTS, WITHOUT_SPECS, family_of, folder_of, sha256
from sensorium.weights.preprocess import read_image_spec, read_json, read_text_spec

RECORD = "sensorium.json"
"""Beside the files of a pulled model: where they came from, and their hashes."""

_ATTEMPTS = 5
# In a row and without a single byte, before a pull gives up.
_PAUSE = 1.0
# Seconds before the first retry; each later one waits that much longer.
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Progress:
    """How far a pull is."""

    file: str
    done: int
    """Bytes of the whole pull that are on disk."""
    total: int


@dataclass(frozen=True)
class RemoteFile:
    """What the hub declares about one file of a revision."""

    name: str
    size: int
    sha256: str | None
    """For files in large-file storage."""
    git_sha1: str | None
    """The identity of the small ones: SHA-1 of git's blob."""


@dataclass(frozen=True)
class Record:
    """What was pulled: written beside the files as ``sensorium.json``."""

    name: str
    revision: str
    sha256: dict[str, str] = field(default_factory=dict)


def pull(name: str, *, revision: str | None = None, endpoint: str | None = None) -> Iterator[Progress]:
    """Download a model, yielding progress; nothing happens until the iterator is consumed.

    Files that an interrupted pull left are continued. A model that is already whole is left alone.

    Args:
        name: Repository on the hub, in the catalog or not.
        revision: A commit; the catalog's pin when absent, else the newest, which is then recorded.
        endpoint: Address of the hub; ``HF_ENDPOINT`` or the public one when absent.

    Raises:
        ModelNotFoundError: Offline, unreachable or unknown; the text says which files to put where.
        CheckpointError: A file does not have the declared hash, or the model is of no supported kind.
        SensoriumError: The disk is too small.
    """
    entry, folder = catalog.entry(name), folder_of(name)
    if entry is not None and entry.embedded:
        return
    if name.count("/") != 1 or folder.parent != settings.models_dir():
        raise ModelNotFoundError(f"{name!r} is no name of a hub repository: it must look like owner/name")
    wanted = revision or (entry.revision if entry else None)
    present = read_record(folder)
    if present is not None and wanted in (None, present.revision):
        if all((folder / part).is_file() for part in present.sha256):
            return
        wanted = present.revision
    if settings.offline():
        raise ModelNotFoundError(_by_hand(name, folder, "SENSORIUM_OFFLINE forbids downloads"))
    commit, listed = _list_remote(name, wanted, endpoint, folder)
    staging = settings.models_dir() / ".partial" / f"{folder.name}@{commit}"
    try:
        staging.mkdir(parents=True, exist_ok=True)
        yield from _fetch_all(_Source(name, commit, endpoint, folder), listed, staging)
        hashes = {name: sha256(staging / name) for name in _staged(staging) if not name.endswith(".part")}
        record = Record(name, commit, hashes)
        (staging / RECORD).write_text(json.dumps(asdict(record), indent=2) + "\n", "utf-8")
        _publish(staging, folder)
    except OSError as error:  # of this machine's disk: those of the network were answered where they rose
        raise SensoriumError(f"{name} cannot be stored in {folder}: {error.strerror or error}") from error


def read_record(folder: Path) -> Record | None:
    """What was pulled into ``folder``; None when its files came some other way."""
    raw = read_json(folder / RECORD)
    return None if raw is None else Record(raw["name"], raw["revision"], raw.get("sha256", {}))


def verify_hashes(name: str, folder: Path) -> list[str]:
    """What is wrong with the files of a model in ``folder``, one line each; empty when all is well.

    Compared with the record of its pull and with the catalog's hashes, unless another revision was pulled.
    Files that were put there by hand are held to the catalog too.
    """
    record = read_record(folder)
    entry = catalog.entry(record.name if record else name)
    expected = dict(record.sha256) if record else {}
    pinned: dict[str, str] = {}
    if entry is not None and (record is None or record.revision == entry.revision):
        pinned = {known: digest for known, digest in entry.sha256.items() if (folder / known).is_file()}
    faults = []
    for part, declared in sorted({**expected, **pinned}.items()):
        path = folder / part
        if not path.is_file():
            faults.append(f"{part} is missing")
        elif (found := sha256(path)) != declared:
            faults.append(f"{part} has SHA-256 {found[:12]}..., not {declared[:12]}...: pull it again")
    return faults


@dataclass(frozen=True)
class _Source:
    name: str
    commit: str
    endpoint: str | None
    folder: Path


def _list_remote(
    name: str, revision: str | None, endpoint: str | None, folder: Path
) -> tuple[str, dict[str, RemoteFile]]:
    """The commit that ``revision`` stands for, and its files."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        info = HfApi(endpoint=endpoint).model_info(name, revision=revision, files_metadata=True, timeout=20)
    except GatedRepoError as error:
        raise ModelNotFoundError(
            f"{name} asks for its terms to be accepted: do so on the hub, log in, pull again"
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        at = f" at revision {revision}" if revision else ""
        raise ModelNotFoundError(f"the hub has no model {name}{at}: check the name") from error
    except _network_errors() as error:
        raise ModelNotFoundError(
            _by_hand(name, folder, f"the hub cannot be reached ({_brief(error)})")
        ) from error
    files = {}
    for sibling in info.siblings or ():
        if Path(sibling.rfilename).name != sibling.rfilename and sibling.rfilename not in COMPANIONS:
            continue  # in a folder of the repository: nothing that a model here consists of
        large = sibling.lfs.sha256 if sibling.lfs else None
        files[sibling.rfilename] = RemoteFile(
            sibling.rfilename, int(sibling.size or 0), large, None if large else sibling.blob_id
        )
    if not info.sha:
        raise ModelNotFoundError(f"the hub names no commit for {name}: try again later")
    return info.sha, files


def _fetch_all(source: _Source, listed: dict[str, RemoteFile], staging: Path) -> Iterator[Progress]:
    """Small files first: they tell whether the large ones are worth the wait."""
    entry = catalog.entry(source.name)
    bare = entry is not None and entry.bare
    small = (
        []
        if bare
        else [name for name in ("config.json", "open_clip_config.json", *COMPANIONS) if name in listed]
    )
    large = _choose_weights(source.name, listed)
    index = [name for name in large if name.endswith(".index.json")]
    total = sum(listed[name].size for name in {*small, *large})
    done = 0
    for name in [*small, *index]:
        for part in _fetch(source, listed[name], staging):
            yield Progress(name, done + part, total)
        done += listed[name].size
    if not bare:
        _refuse_unsupported(source.name, staging)
    if index:
        shards = sorted(set((read_json(staging / index[0]) or {}).get("weight_map", {}).values()))
        missing = [shard for shard in shards if shard not in listed]
        if missing or not shards:
            raise CheckpointError(
                f"{source.name}: {index[0]} lists {missing or 'nothing'}, which the hub lacks"
            )
        large, total = shards, total + sum(listed[shard].size for shard in shards)
    free = shutil.disk_usage(staging).free
    if free < total:
        raise SensoriumError(
            f"{source.name} needs {total / 1e9:.1f} GB and {staging} has {free / 1e9:.1f} GB free"
        )
    for name in large:
        for part in _fetch(source, listed[name], staging):
            yield Progress(name, done + part, total)
        done += listed[name].size


def _choose_weights(name: str, listed: dict[str, RemoteFile]) -> list[str]:
    entry = catalog.entry(name)
    preferred = (entry.weights, *(() if entry.bare else WEIGHTS)) if entry else WEIGHTS
    for candidate in preferred:
        if candidate in listed:
            return [candidate]
    raise CheckpointError(f"{name} has no weights that can be read: one of {', '.join(preferred)} is needed")


def _refuse_unsupported(name: str, staging: Path) -> None:
    """Raise for a model that could not be used anyway, before its weights are downloaded."""
    config = read_json(staging / "config.json") or read_json(staging / "open_clip_config.json")
    if config is None:
        raise CheckpointError(f"{name} has no config.json: it is no model of a supported kind")
    family = family_of(config, staging)
    if family not in WITHOUT_SPECS:
        read_image_spec(staging)
    read_text_spec(staging, family, config)


def _fetch(source: _Source, file: RemoteFile, staging: Path) -> Iterator[int]:
    """Download one file, yielding the bytes of it that are on disk. Leaves it checked under its name."""
    target = staging / file.name
    target.parent.mkdir(exist_ok=True)
    if target.is_file():
        yield file.size
        return
    part = staging / f"{file.name}.part"
    failures = 0
    while failures < _ATTEMPTS:
        before = part.stat().st_size if part.is_file() else 0
        try:
            yield from _stream(source, file, part)
            break
        except _network_errors() as error:
            grew = part.is_file() and part.stat().st_size > before
            failures = 1 if grew else failures + 1
            if failures == _ATTEMPTS:
                reason = f"the connection broke {failures} times ({_brief(error)}); pull again to continue"
                raise ModelNotFoundError(_by_hand(source.name, source.folder, reason)) from error
            time.sleep(_PAUSE * failures)
    fault = _wrong(part, source.name, file)
    if fault is not None:
        part.unlink()
        raise CheckpointError(f"{file.name} of {source.name} {fault}; it was removed, pull again")
    part.replace(target)


def _stream(source: _Source, file: RemoteFile, part: Path) -> Iterator[int]:
    """One request: the rest of the file, appended to what an earlier one left."""
    from huggingface_hub import get_session, hf_hub_url, hf_raise_for_status
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # exported lazily

    start = part.stat().st_size if part.is_file() else 0
    if start >= file.size:
        start = 0
    url = hf_hub_url(source.name, file.name, revision=source.commit, endpoint=source.endpoint)
    # Compressed transfer would make byte ranges count something else than the file's bytes.
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with get_session().stream("GET", url, headers=headers, follow_redirects=True, timeout=30) as response:
        if response.status_code == 416:
            part.unlink(missing_ok=True)
        hf_raise_for_status(response)
        continued = response.status_code == 206
        with part.open("ab" if continued else "wb") as output:
            done = start if continued else 0
            for block in response.iter_bytes():
                output.write(block)
                done += len(block)
                yield done
    if part.stat().st_size < file.size:
        raise ConnectionError(f"{part.stat().st_size} of {file.size} bytes came")


def _wrong(path: Path, model: str, file: RemoteFile) -> str | None:
    """What is wrong with a downloaded file, or None."""
    if path.stat().st_size != file.size:
        return f"has {path.stat().st_size} bytes instead of {file.size}"
    entry = catalog.entry(model)
    pinned = entry.sha256.get(file.name) if entry else None
    if pinned is not None or file.sha256 is not None:
        found = sha256(path)
        for declared, by in ((pinned, "the catalog"), (file.sha256, "the hub")):
            if declared is not None and found != declared:
                return f"has SHA-256 {found[:12]}..., {by} says {declared[:12]}..."
    if file.git_sha1 is not None and (blob := _git_blob(path)) != file.git_sha1:
        return f"has git identity {blob[:12]}..., the hub says {file.git_sha1[:12]}..."
    return None


def _git_blob(path: Path) -> str:
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        _feed(digest, file)
    return digest.hexdigest()


def _feed(digest: Any, file: BinaryIO) -> None:
    while block := file.read(_BLOCK):
        digest.update(block)


def _publish(staging: Path, folder: Path) -> None:
    """Make the staged files the model: at once, or over what is there with the signs of a whole one last."""
    if not folder.exists():
        staging.replace(folder)
        return
    signs = ("", "open_clip_config.json", "config.json", RECORD)
    for name in sorted(_staged(staging), key=lambda name: signs.index(name) if name in signs else 0):
        (folder / name).parent.mkdir(exist_ok=True)
        (staging / name).replace(folder / name)
    shutil.rmtree(staging)


def _staged(staging: Path) -> list[str]:
    """The files in it by their paths from there, in order."""
    return sorted(path.relative_to(staging).as_posix() for path in staging.rglob("*") if path.is_file())


def _by_hand(name: str, folder: Path, reason: str) -> str:
    entry = catalog.entry(name)
    needed = ", ".join(entry.file_names if entry else catalog.USUAL_FILES)
    at = f" at revision {entry.revision}" if entry and entry.revision else ""
    return f"{name} is not on this machine and {reason}: put {needed}{at} into {folder}"


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:100] or type(error).__name__


def _network_errors() -> tuple[type[BaseException], ...]:
    """What a request may raise; huggingface_hub decides which client library's errors those are."""
    from huggingface_hub.errors import HfHubHTTPError

    return (HfHubHTTPError.__bases__[0], ConnectionError, TimeoutError)
