"""``sensorium duplicates``: photos that are there twice."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from sensorium.cli.options import JsonOption, LibraryOption

if TYPE_CHECKING:
    from sensorium.photos.collections.browse import Card
    from sensorium.photos.duplicates.groups import Group
    from sensorium.photos.library import Library


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the program."""
    app.command("duplicates")(duplicates)


def duplicates(
    library: LibraryOption = None,
    exact: Annotated[bool, typer.Option("--exact", help="Equal files alone.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List photos that are there twice: equal files, and the same picture in another size or quality.

    The first of each group is the one to keep. Nothing is deleted.
    """
    from sensorium.photos.library import Library

    with Library.open(library) as opened:
        found = opened.duplicates.exact()
        found += [] if exact else opened.duplicates.near()
        waiting = 0 if exact else opened.duplicates.waiting()
        paths = _paths(opened, found)
        cards = {card.id: card for card in opened.browse.photos(list(paths))}
    if as_json:
        groups = [
            {
                "kind": group.kind,
                "photos": [_document(paths[photo], cards[photo]) for photo in group.photos],
            }
            for group in found
        ]
        sys.stdout.write(json.dumps({"groups": groups, "waiting": waiting}, indent=2) + "\n")
        return
    _print(found, paths, cards, waiting)


def _paths(library: Library, groups: list[Group]) -> dict[int, str]:
    """The path of each photo of some groups."""
    from sensorium.photos.files.names import join

    rows = library.store.photos([photo for group in groups for photo in group.photos])
    return {photo: join(row.root, row.path) for photo, row in rows.items()}


def _document(path: str, card: Card) -> dict[str, object]:
    return {"id": card.id, "path": path, "width": card.width, "height": card.height, "bytes": card.bytes}


def _print(groups: list[Group], paths: dict[int, str], cards: dict[int, Card], waiting: int) -> None:
    from sensorium.photos.files.names import printable

    for group in groups:
        title = "equal files" if group.kind == "exact" else "the same picture"
        typer.echo(f"{title}:")
        for photo in group.photos:
            card = cards[photo]
            typer.echo(
                f"  {card.width} x {card.height}, {card.bytes / 1e6:.1f} MB  {printable(paths[photo])}"
            )
    spare = sum(cards[photo].bytes for group in groups for photo in group.photos[1:])
    typer.echo(
        f"{len(groups)} groups; the photos behind the first of each take {spare / 1e6:.1f} MB"
        if groups
        else "no duplicates"
    )
    if waiting:
        typer.echo(f"{waiting} photos were not compared yet: run `sensorium describe` first", err=True)
