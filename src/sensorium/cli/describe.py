"""``sensorium describe``: look for more in the photos than their files tell, such as text and faces.

``--json`` prints exactly one JSON document on standard output. Exit codes: 0 done; 1 some photos could not be
described, or a pass that was named cannot run here; 2 a bad request; 130 interrupted.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sensorium.cli.options import JsonOption, LibraryOption

if TYPE_CHECKING:
    from sensorium.photos.describe.passes import Completed, PassStatus
    from sensorium.photos.library import Library

_SHOWN = 20  # refusals listed for people; --json lists all


def register(app: typer.Typer) -> None:
    """Add the command to the application's top level."""
    app.command("describe")(describe)


def describe(
    passes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PASS...", help="text, faces, hash, regions; none: all of them.", show_default=False
        ),
    ] = None,
    library: LibraryOption = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", metavar="N", help="Processes. Default: one a processor.", show_default=False
        ),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Try again what could not be described before.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Find text and faces, and look at parts of the photos. Takes what is new; interrupting is safe."""
    from sensorium.photos.describe.known import chosen
    from sensorium.photos.describe.passes import forget_failures
    from sensorium.photos.library import Library

    with Library.open(library) as opened:
        if again:
            forget_failures(opened.store, chosen(opened.store, passes or None))
        last = _run(opened, passes or None, workers, quiet=as_json)
    if as_json:
        sys.stdout.write(json.dumps(_document(last), ensure_ascii=True, indent=2) + "\n")
    else:
        _print(last)
    lacking = any(tally.skipped for tally in last.tallies.values()) if passes else False
    if lacking or any(tally.failed or tally.waiting for tally in last.tallies.values()):
        raise typer.Exit(1)


def status_lines(statuses: list[PassStatus]) -> list[str]:
    """How far each pass is, for people."""
    lines = []
    for one in statuses:
        parts = [f"{one.done} photos done"]
        parts += [f"{one.due} to do"] if one.due else []
        parts += [f"{one.failed} failed"] if one.failed else []
        parts += [one.absent] if one.absent else []
        lines.append(f"{one.name:<9} {', '.join(parts)}")
    return lines


def _run(library: Library, passes: list[str] | None, workers: int | None, *, quiet: bool) -> Completed:
    """Describe with a progress bar when a person is watching. Ctrl-C says what is safe, and ends with 130."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from sensorium.photos.describe.passes import Completed, Described

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    hidden = quiet or not console.is_terminal
    try:
        with Progress(*columns, console=console, transient=True, disable=hidden) as bar:
            shown = bar.add_task("describing", total=None)
            for event in library.describe(passes, workers=workers):
                if isinstance(event, Described):
                    bar.update(shown, completed=event.done, total=event.total)
                elif isinstance(event, Completed):
                    return event
    except KeyboardInterrupt:
        typer.echo("interrupted: what was described is kept; the same command goes on from there", err=True)
        raise typer.Exit(130) from None
    raise AssertionError("a run of passes ends with its tallies")


def _print(last: Completed) -> None:
    from sensorium.photos.files.names import printable

    for name, tally in last.tallies.items():
        if tally.skipped:
            typer.echo(f"{name}: skipped: {tally.skipped}")
            continue
        parts = [f"{tally.described} photos described"]
        parts += [f"{len(tally.failed)} failed"] if tally.failed else []
        parts += [f"{len(tally.waiting)} could not be read now"] if tally.waiting else []
        typer.echo(f"{name}: {', '.join(parts)}")
        refusals = [*tally.failed, *tally.waiting]
        for failure in refusals[:_SHOWN]:
            typer.echo(f"  {printable(failure.path)}: {printable(failure.reason)}")
        if len(refusals) > _SHOWN:
            typer.echo(f"  and {len(refusals) - _SHOWN} more")
    if last.offline:
        typer.echo(f"{last.offline} photos are offline and wait for their folder")


def _document(last: Completed) -> dict[str, Any]:
    return {
        "passes": {
            name: {
                "described": tally.described,
                "failed": [{"path": one.path, "reason": one.reason} for one in tally.failed],
                "waiting": [{"path": one.path, "reason": one.reason} for one in tally.waiting],
                "skipped": tally.skipped,
            }
            for name, tally in last.tallies.items()
        },
        "offline": last.offline,
    }
