"""``sensorium models``: which checkpoints there are, and pull, check and hand on those in use."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sensorium import settings
from sensorium.cli.options import JsonOption
from sensorium.errors import CheckpointError, ModelNotFoundError, SensoriumError

if TYPE_CHECKING:
    from sensorium.weights.catalog import Entry
    from sensorium.weights.files import ModelFiles

app = typer.Typer(help="List, pull, check and export the models.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="A hub name (owner/name), an embedded name, or a folder.")]


@app.command("list")
def list_models(as_json: JsonOption = False) -> None:
    """List the models of the catalog and those on this machine."""
    from sensorium.weights import catalog

    known = {entry.name for entry in catalog.ENTRIES}
    others = [name for name in _pulled_names() if name not in known]
    rows = [_summary(name) for name in [*(entry.name for entry in catalog.ENTRIES), *others]]
    if as_json:
        _print_json(rows)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("model", no_wrap=True, overflow="fold")  # a name cut short could not be copied
    for title in ("here", "queries", "size", "good for"):
        table.add_column(title)
    for row in rows:
        size = f"{row['megabytes']} MB" if row["megabytes"] else ""
        here = "yes" if row["installed"] else "-"
        table.add_row(row["name"], here, " ".join(row["languages"]), size, row["good_for"])
    Console().print(table)
    typer.echo("\nGet one with: sensorium models pull NAME")


@app.command()
def show(name: Name, as_json: JsonOption = False) -> None:
    """Show where a model comes from, what it is good for, and how it prepares pictures and words."""
    from sensorium.weights import catalog
    from sensorium.weights.files import find

    row = _summary(name)
    if row["installed"] and not _is_onnx(name):
        files = find(name)
        row |= {
            "family": files.family,
            "fingerprint": files.fingerprint,
            "image": asdict(files.pictures) if files.pictures else None,
            "text": asdict(files.text) if files.text else None,
            "weights": [path.name for path in files.weights],
        }
    else:
        entry = catalog.entry(name)
        if entry is None:
            find(name)  # raises, and says what could be done
        else:
            row["files"] = list(entry.file_names)
            row["image"] = asdict(entry.image) if entry.image else "as its files say"
    if as_json:
        _print_json(row)
        return
    for key, value in row.items():
        typer.echo(f"{key.replace('_', ' '):<12} {_in_words(value)}")


@app.command()
def pull(
    name: Name,
    revision: Annotated[
        str | None, typer.Option(help="A commit of its repository; the catalog's pin by default.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Download a model: only the needed files, resumed after an interruption, their hashes checked."""
    from sensorium.weights.files import find, find_onnx
    from sensorium.weights.pull import pull as fetch
    from sensorium.weights.pull import read_record

    quiet = as_json or not sys.stderr.isatty()
    if quiet:
        for _ in fetch(name, revision=revision):
            pass
    else:
        _show_progress(fetch(name, revision=revision))
    folder = find_onnx(name).parent if _is_onnx(name) else find(name).folder
    record = read_record(folder)
    at = record.revision if record else None
    if as_json:
        names = sorted(path.name for path in folder.iterdir())
        _print_json({"name": name, "folder": str(folder), "revision": at, "files": names})
    else:
        typer.echo(f"{name} is in {folder}" + (f" (revision {at[:12]})" if at else ""))


@app.command()
def verify(name: Name, as_json: JsonOption = False) -> None:
    """Check a model: hashes, preparation fields, vocabulary, and a strict load of every weight."""
    from sensorium.weights.files import folder_of

    folder = folder_of(name)
    if not folder.is_dir():
        from sensorium.weights.files import find

        find(name)  # raises, and says which files to put where
    faults = _faults(name, folder)
    if as_json:
        _print_json({"name": name, "folder": str(folder), "ok": not faults, "faults": faults})
    elif faults:
        for fault in faults:
            typer.echo(fault)
    else:
        typer.echo(f"{name} is sound: files, preparation, vocabulary and every weight")
    if faults:
        raise typer.Exit(1)


@app.command()
def export(
    name: Name,
    output: Annotated[Path, typer.Option("-o", "--output", help="A new folder.")],
    as_json: JsonOption = False,
) -> None:
    """Write a model as a folder in the hub's layout, which other libraries read."""
    from sensorium.weights.files import find
    from sensorium.weights.load import build
    from sensorium.weights.save import export as write

    files = find(name)
    write(build(files), files, output)
    written = sorted(path.name for path in output.iterdir())
    if as_json:
        _print_json({"name": name, "folder": str(output), "files": written})
    else:
        typer.echo(f"{output}: {', '.join(written)}")


def _summary(name: str) -> dict[str, Any]:
    """What the catalog and the disk know about a model, for people and for programs."""
    from sensorium.weights import catalog
    from sensorium.weights.files import folder_of
    from sensorium.weights.pull import read_record

    entry, folder = catalog.entry(name), folder_of(name)
    signs = [entry.weights] if entry and entry.bare else ["config.json", "open_clip_config.json"]
    installed = any((folder / sign).is_file() for sign in signs)
    record = read_record(folder) if installed else None
    row: dict[str, Any] = {
        "name": name,
        "installed": installed,
        "embedded": bool(entry and entry.embedded),
        "folder": str(folder),
        "revision": record.revision if record else entry.revision if entry else None,
        "languages": list(entry.languages) if entry else [],
        "megabytes": entry.megabytes if entry else None,
        "licence": entry.licence if entry else None,
        "good_for": entry.good_for if entry else "",
    }
    row["pinned"] = _pin(entry, row["revision"])
    return row


def _is_onnx(name: str) -> bool:
    from sensorium.weights import catalog

    entry = catalog.entry(name)
    return entry is not None and entry.onnx


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{part} {inner}" for part, inner in value.items() if inner is not None)
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return str(value) if value not in (None, "") else "-"


def _pin(entry: Entry | None, revision: str | None) -> str:
    if entry is not None and entry.embedded:
        return "part of the package"
    if revision is None:
        return "no: the newest revision is taken at the first pull, then recorded and kept"
    return "by the catalog" if entry and entry.revision == revision else "by the pull"


def _pulled_names() -> list[str]:
    folder = settings.models_dir()
    if not folder.is_dir():
        return []
    names = (path.name for path in sorted(folder.iterdir()) if path.is_dir() and "--" in path.name)
    return [name.replace("--", "/", 1) for name in names]


def _faults(name: str, folder: Path) -> list[str]:
    """Everything that is wrong with a model, one line each."""
    from sensorium.weights import catalog
    from sensorium.weights.files import find
    from sensorium.weights.pull import verify_hashes

    faults = verify_hashes(name, folder)
    if _is_onnx(name):
        return faults
    try:
        files = find(name)
    except (CheckpointError, ModelNotFoundError) as error:
        return [*faults, str(error)]
    entry = catalog.entry(name)
    if entry is not None and entry.image is not None and entry.image != files.pictures:
        faults.append(f"pictures are prepared as {files.pictures}, but {name} was made for {entry.image}")
    for check in (_check_vocabulary, _check_weights):
        try:
            check(files)
        except SensoriumError as error:
            faults.append(str(error))
    return faults


def _check_vocabulary(files: ModelFiles) -> None:
    if files.text is None:
        return
    from sensorium.media.text import Tokenizer

    batch = Tokenizer.from_folder(files.folder, files.text).encode(["a photo of a cat", "一张猫的照片"])
    words = (files.config.get("text_config") or {}).get("vocab_size")
    if isinstance(words, int) and batch.ids.max() >= words:
        raise CheckpointError(
            f"the vocabulary numbers tokens up to {batch.ids.max()}, the network knows {words}"
        )


def _check_weights(files: ModelFiles) -> None:
    from sensorium.weights.load import build

    build(files)


def _show_progress(progress: Any) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("asking the hub", total=None)
        for step in progress:
            bar.update(task, description=step.file, completed=step.done, total=step.total)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))
