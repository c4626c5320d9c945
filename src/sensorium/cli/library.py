"""``sensorium library``: check, repair, back up and restore a photo library; list and switch its models.

``--json`` prints exactly one JSON document on standard output. Exit codes: 0 done, and for ``check`` sound; 1
something is wrong, or could not be mended; 2 a bad request; 130 interrupted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sensorium.cli.options import JsonOption, LibraryOption

if TYPE_CHECKING:
    from sensorium.photos.database.store import Store
    from sensorium.photos.health.checks import Finding
    from sensorium.photos.health.upkeep import Model, Saved

app = typer.Typer(
    help="Check, repair, back up and restore the photo library; its models.", no_args_is_help=True
)


@app.command()
def check(
    library: LibraryOption = None,
    content: Annotated[
        bool, typer.Option("--content", help="Read every original again and compare it with its hash.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Look for everything that is wrong, and say what to do. Nothing is changed."""
    from sensorium.photos.health import checks

    findings: list[Finding] = []
    with _interruptible("nothing was changed"), _bar(shown=content and not as_json) as update:
        for found in checks.check(_folder(library), content=content):
            if isinstance(found, checks.Hashing):
                update(found.done, found.total)
            else:
                findings.append(found)
    sound = not any(finding.wrong for finding in findings)
    if as_json:
        _print_json({"sound": sound, "findings": [asdict(finding) for finding in findings]})
    else:
        _print_findings(findings)
        if sound:
            typer.echo("the library is sound")
    if not sound:
        raise typer.Exit(1)


@app.command()
def repair(library: LibraryOption = None, as_json: JsonOption = False) -> None:
    """Mend what `check` finds. The library as it was is kept beside it; originals are never touched."""
    from sensorium.photos.files.names import printable
    from sensorium.photos.health import upkeep

    done = upkeep.repair(_folder(library))
    wrong = any(finding.wrong for finding in done.left)
    if as_json:
        before = None if done.before is None else str(done.before)
        left = [asdict(finding) for finding in done.left]
        _print_json({"before": before, "mended": done.mended, "left": left, "sound": not wrong})
    else:
        for line in done.mended:
            typer.echo(line)
        if done.before is not None:
            typer.echo(f"the library as it was: {printable(done.before)}")
        elif not wrong:
            typer.echo("there was nothing to mend")
        _print_findings(done.left)
    if wrong:
        raise typer.Exit(1)


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file to write, or a folder for it.")],
    library: LibraryOption = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is there already.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Copy the library, but not the photos, into one file; also while it is being indexed."""
    from sensorium.photos.health import upkeep

    with _interruptible("nothing was written"):
        saved = upkeep.backup(_folder(library), file, overwrite=overwrite)
    _print_saved(saved, "saved", as_json)


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `backup` wrote.")],
    library: LibraryOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a library that is there already.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a library from a backup; it gives the same answers."""
    from sensorium.photos.health import upkeep

    with _interruptible("nothing was changed"):
        saved = upkeep.restore(file, _folder(library), force=force)
    _print_saved(saved, "restored", as_json)


@app.command()
def graph(library: LibraryOption = None, as_json: JsonOption = False) -> None:
    """Build the graph that lets `similar` answer sooner among more than a million photos."""
    from sensorium.photos.library import Library
    from sensorium.photos.vectors.hnsw import FROM, NEEDED

    with _interruptible("nothing was changed"), Library.open(library) as opened:
        recall = opened.build_graph()
    if as_json:
        _print_json({"recall": recall})
    elif recall is None:
        typer.echo(
            f"no graph was kept: up to {FROM:,} photos the exact search is fast enough, "
            f"and one that finds less than {NEEDED:.1%} of the best is not worth having"
        )
    else:
        typer.echo(f"the graph finds {recall:.2%} of the best 20 photos; deleting it does no harm")


@app.command()
def models(
    library: LibraryOption = None,
    drop: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Delete the vectors of a model that does not answer searches.",
            show_default=False,
        ),
    ] = None,
    renew: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Forget a model's vectors, so that the next index makes all of them again.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the models that the library holds vectors of; drop one."""
    from sensorium.photos.files.names import printable
    from sensorium.photos.health import upkeep

    if drop is not None and renew is not None:
        from sensorium.errors import SensoriumError

        raise SensoriumError("--drop and --renew cannot be done at once: give one of them")
    lines = []
    with _opened(library) as store:
        if drop is not None:
            gone = upkeep.drop(store, drop)
            lines.append(f"dropped {printable(gone.name)} with its {gone.vectors} vectors")
        if renew is not None:
            gone = upkeep.renew(store, renew)
            lines.append(
                f"forgot the {gone.vectors} vectors of {printable(gone.name)}: "
                f"`sensorium index --model {printable(gone.name)}` makes new ones"
            )
        rows = upkeep.models(store)
    if as_json:
        _print_json([asdict(row) for row in rows])
        return
    for line in lines:
        typer.echo(line)
    _print_models(rows)


@app.command()
def rollback(library: LibraryOption = None, as_json: JsonOption = False) -> None:
    """Let the model answer again that did before the last switch; a second time takes that back."""
    from sensorium.photos.files.names import printable
    from sensorium.photos.health import upkeep

    with _opened(library) as store:
        pipeline = store.rollback()
        waiting = store.without_vector(pipeline.id)
        rows = upkeep.models(store)
    if as_json:
        _print_json({"model": pipeline.model, "waiting": waiting, "models": [asdict(row) for row in rows]})
        return
    typer.echo(f"{printable(pipeline.model)} answers searches now")
    if waiting:
        typer.echo(f"{waiting} photos came since and wait for it: run `sensorium index`")


def _folder(library: Path | None) -> Path:
    """The library's folder, named or not. It need not exist."""
    from sensorium.photos.library import default_folder

    return (library.expanduser() if library is not None else default_folder()).absolute()


@contextmanager
def _opened(library: Path | None) -> Iterator[Store]:
    from sensorium.photos.database.store import Store

    with closing(Store(_folder(library), create=False)) as store:
        yield store


@contextmanager
def _interruptible(kept: str) -> Iterator[None]:
    """Ctrl-C says what is safe and ends with 130."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"interrupted: {kept}", err=True)
        raise typer.Exit(130) from None


@contextmanager
def _bar(*, shown: bool) -> Iterator[Any]:
    """A progress bar on a terminal; gives the function that moves it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not (shown and console.is_terminal)
    ) as bar:
        task = bar.add_task("comparing originals", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _print_findings(findings: list[Finding]) -> None:
    for finding in findings:
        word = "wrong" if finding.wrong else "note"
        typer.echo(f"{word}: {finding.text}: {finding.remedy}")


def _print_saved(saved: Saved, done: str, as_json: bool) -> None:
    from sensorium.photos.files.names import printable

    if as_json:
        _print_json(asdict(saved) | {"path": str(saved.path)})
        return
    size = f"{saved.bytes / 1e6:.1f} MB"
    typer.echo(f"{done} {saved.photos} photos with {saved.vectors} vectors: {printable(saved.path)} ({size})")


def _print_models(rows: list[Model]) -> None:
    from rich.console import Console
    from rich.table import Table

    from sensorium.photos.files.names import printable

    if not rows:
        typer.echo("no model yet: run `sensorium index FOLDER`")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("model", no_wrap=True, overflow="fold")
    for heading in ("vectors", "waiting", "numbers"):
        table.add_column(heading, justify="right")
    table.add_column("state")
    for row in rows:
        state = "answers" if row.active else "complete" if row.complete else "unfinished"
        table.add_row(printable(row.name), str(row.vectors), str(row.waiting), str(row.dim), state)
    Console(width=None if sys.stdout.isatty() else 10_000, markup=False, highlight=False).print(table)


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=True, indent=2) + "\n")
