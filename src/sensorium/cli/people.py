"""``sensorium people``: who is on the photos; name them, merge them, sort their faces again.

``--json`` prints exactly one JSON document on standard output. Exit codes: 0 done; 2 a bad request.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sensorium.cli.options import JsonOption, LibraryOption

if TYPE_CHECKING:
    from sensorium.photos.people import People
    from sensorium.photos.people.people import Person

app = typer.Typer(help="Who is on the photos: list, name, merge.")

PersonArgument = Annotated[int, typer.Argument(metavar="PERSON", help="Number of a person, as listed.")]


def register(parent: typer.Typer) -> None:
    """Add the commands to the application's top level."""
    parent.add_typer(app, name="people")


@app.callback(invoke_without_command=True)
def people(
    context: typer.Context,
    library: LibraryOption = None,
    hidden: Annotated[bool, typer.Option("--hidden", help="List those who were hidden.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List everybody: the named first, then faces that look like one person."""
    if context.invoked_subcommand is not None:
        return
    with _people(library) as found:
        everybody = found.everybody(hidden=hidden)
    if as_json:
        _print_json([_document(person) for person in everybody])
    else:
        _print_people(everybody)


@app.command()
def name(
    person: PersonArgument,
    called: Annotated[str, typer.Argument(metavar="NAME", help='Their name; "" takes it away.')],
    library: LibraryOption = None,
    kind: Annotated[
        Literal["person", "pet"] | None,
        typer.Option("--kind", help="What they are; unchanged when not given.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Name somebody. A name that somebody has already makes both one person."""
    with _people(library) as found:
        _tell(found.name(person, called or None, kind), as_json)


@app.command()
def merge(
    into: PersonArgument,
    others: Annotated[list[int], typer.Argument(metavar="OTHER...", help="Who they are as well.")],
    library: LibraryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make several people one."""
    with _people(library) as found:
        _tell(found.merge(into, others), as_json)


@app.command()
def hide(
    person: PersonArgument,
    library: LibraryOption = None,
    show: Annotated[bool, typer.Option("--show", help="List them again.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Leave somebody out of the list; their photos stay where they are."""
    with _people(library) as found:
        _tell(found.change(person, hidden=not show), as_json)


@app.command()
def sort(library: LibraryOption = None, as_json: JsonOption = False) -> None:
    """Sort all faces into people again; names and corrections stay."""
    with _people(library) as found:
        done = found.cluster()
    if as_json:
        _print_json(asdict(done))
    else:
        typer.echo(f"{done.faces} faces have a person, {done.new_people} people are new")


@contextmanager
def _people(library: Path | None) -> Iterator[People]:
    from sensorium.photos.library import Library

    with Library.open(library) as opened:
        yield opened.people


def _tell(person: Person, as_json: bool) -> None:
    from sensorium.photos.files.names import printable

    if as_json:
        _print_json(_document(person))
    else:
        called = printable(person.name) if person.name else "nobody's name"
        typer.echo(f"{person.id} is {called}: {person.photos} photos, {person.faces} faces")


def _print_people(everybody: list[Person]) -> None:
    from rich.console import Console
    from rich.table import Table

    from sensorium.photos.files.names import printable

    if not everybody:
        typer.echo("nobody yet: run `sensorium describe faces`")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("person", justify="right")
    table.add_column("name", no_wrap=True, overflow="fold")
    table.add_column("kind")
    for heading in ("photos", "faces"):
        table.add_column(heading, justify="right")
    for one in everybody:
        called = printable(one.name) if one.name else "-"
        table.add_row(str(one.id), called, one.kind, str(one.photos), str(one.faces))
    Console(width=None if sys.stdout.isatty() else 10_000, markup=False, highlight=False).print(table)


def _document(person: Person) -> dict[str, Any]:
    return asdict(person)


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=True, indent=2) + "\n")
