r"""``sensorium index``, ``search``, ``parse``, ``similar``, ``status``: photos on the command line.

People get tables; ``--json`` prints exactly one JSON document on standard output. In it a byte of a file
name that is not UTF-8 stands as an escaped lone surrogate (``"\udcff"``), which Python's
``os.fsencode`` turns back into the byte. Exit codes: 0 done, 1 some files or folders were refused, 2
a bad request, 130 interrupted.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sensorium.cli.options import JsonOption, LibraryOption
from sensorium.cli.queries import looks, reading_line, understood

if TYPE_CHECKING:
    from rich.console import Console

    from sensorium.photos.database.store import Failure
    from sensorium.photos.intake.indexing import Report
    from sensorium.photos.library import Library, Status
    from sensorium.photos.search.ranking import Hit, Results

_SHOWN = 20  # refusals listed in full for people; --json and `status` list all
_WIDEST = 10_000

CountOption = Annotated[int, typer.Option("-k", metavar="N", help="How many photos to show.")]
SheetOption = Annotated[
    Path | None,
    typer.Option(
        "--sheet",
        metavar="FILE",
        help="Draw the hits as a contact sheet (.png, .jpg, .webp).",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the application's top level."""
    app.command("index")(index)
    app.command("search")(search)
    app.command("parse")(parse)
    app.command("similar")(similar)
    app.command("status")(status)


def index(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FOLDER...",
            help="Folders of photos; none: all that the library knows.",
            show_default=False,
        ),
    ] = None,
    library: LibraryOption = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="NAME",
            help="Model to encode with. Default: the one that the library uses.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", metavar="N", help="Reading processes. Default: one a processor.", show_default=False
        ),
    ] = None,
    engine: Annotated[
        Literal["local"], typer.Option("--engine", help="Where to work: on this machine.")
    ] = "local",
    as_json: JsonOption = False,
) -> None:
    """Take new and changed photos into the library. Originals are only ever read."""
    from sensorium.photos.library import Library, check_new

    check_new(library, folders or [])
    with Library.open(library, create=True) as opened:
        report = _run_index(opened, folders or [], model, workers, quiet=as_json)
        if as_json:
            _print_json(_report_document(opened, report))
        else:
            _print_report(opened, report)
    if report.failed or report.unreadable or report.offline:
        raise typer.Exit(1)


def search(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="WORDS", help="What the photo shows, when, where, of whom; in English or Chinese."
        ),
    ],
    library: LibraryOption = None,
    k: CountOption = 20,
    sort: Annotated[
        Literal["relevance", "date"], typer.Option("--sort", help="Best first, or newest first.")
    ] = "relevance",
    page: Annotated[int, typer.Option("--page", metavar="N", help="Which page of -k photos.")] = 1,
    after: Annotated[
        str | None,
        typer.Option(
            "--after",
            metavar="CURSOR",
            help="Go on behind a page: its cursor is in --json.",
            show_default=False,
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Leave nothing out, however little it looks like the words.")
    ] = False,
    sheet: SheetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find photos by what they show, when and where they were taken, and who is on them."""
    from sensorium.errors import SensoriumError
    from sensorium.photos.library import Library

    if page < 1:
        raise SensoriumError(f"pages are counted from 1, there is no page {page}")
    if page > 1 and after is not None:
        raise SensoriumError("give --page or --after, not both")
    text = " ".join(words)
    with Library.open(library) as opened:
        _check_sheet(opened, sheet)
        query = opened.parse(text)
        results = opened.search(query, k, after_cursor=after, sort=sort, everything=everything)
        for _ in range(page - 1):
            if results.cursor is None:
                raise SensoriumError(f"there is no page {page}: {results.total} photos fit on fewer")
            results = opened.search(query, k, after_cursor=results.cursor, sort=sort, everything=everything)
        if sheet is not None:
            _draw_sheet(results.hits, text, sheet)
    if as_json:
        _print_json(_results_document(results))
    else:
        _print_results(results, first=(page - 1) * k + 1)
        if sheet is not None:
            _tell_sheet(sheet)


def parse(
    words: Annotated[list[str], typer.Argument(metavar="WORDS", help="A sentence, as for `search`.")],
    library: LibraryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how a sentence is understood: when, where, who, by what, and what it should look like."""
    from sensorium.errors import LibraryError
    from sensorium.photos.library import Library, parse_alone

    text = " ".join(words)
    try:
        with Library.open(library) as opened:
            query = opened.parse(text)
    except LibraryError:
        if library is not None:
            raise
        query = parse_alone(text)  # no library yet: people and cameras are not known, all else is
    if as_json:
        _print_json(query.document())
        return
    console = _console()
    console.print(understood(query) or "nothing to search for", markup=False, highlight=False)
    for reading in query.readings:
        console.print(reading_line(reading), style="dim", markup=False)


def similar(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture, in the library or not.")],
    library: LibraryOption = None,
    k: CountOption = 20,
    sheet: SheetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find photos that look like a picture."""
    from sensorium.photos.files.names import printable
    from sensorium.photos.library import Library

    with Library.open(library) as opened:
        _check_sheet(opened, sheet)
        hits = opened.similar(image, k)
        if sheet is not None:
            _draw_sheet(hits, f"like {printable(image.name)}", sheet)
    if as_json:
        found = [_hit_document(hit) for hit in hits]
        _print_json({"query": {"image": str(image.absolute())}, "hits": found})
    else:
        _print_hits(hits)
        if sheet is not None:
            _tell_sheet(sheet)


def status(library: LibraryOption = None, as_json: JsonOption = False) -> None:
    """Show what the library holds, what failed and why, and what is offline."""
    from sensorium.cli.describe import status_lines
    from sensorium.photos.describe import passes
    from sensorium.photos.describe.known import chosen
    from sensorium.photos.library import Library

    with Library.open(library) as opened:
        told = opened.status()
        described = passes.status(opened.store, chosen(opened.store, None))
    if as_json:
        _print_json(_status_document(told) | {"passes": [asdict(one) for one in described]})
    else:
        _print_status(told)
        for line in status_lines(described):
            typer.echo(line)


def _run_index(
    library: Library, folders: Sequence[Path], model: str | None, workers: int | None, *, quiet: bool
) -> Report:
    """Index with a progress bar when a person is watching. Ctrl-C says what is safe and ends with 130."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from sensorium.photos.intake.indexing import Finished, Preparing, Scanned
    from sensorium.photos.intake.indexing import Progress as Kept

    console = _console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    )
    report: Report | None = None
    try:
        with bar:
            shown = bar.add_task("looking", total=None, speed="")
            for event in library.index(folders, model=model, workers=workers):
                if isinstance(event, Preparing):
                    bar.update(shown, description=f"preparing {event.model} for this machine, once")
                elif isinstance(event, Scanned):
                    report = event.report
                    bar.update(shown, description=f"{event.found} found")
                elif isinstance(event, Kept):
                    speed = f"{event.done / max(event.report.seconds, 0.001):.1f}/s"
                    bar.update(
                        shown, description="indexing", completed=event.done, total=event.total, speed=speed
                    )
                elif isinstance(event, Finished):
                    return event.report
    except KeyboardInterrupt:
        kept = report.kept if report is not None else 0
        console.print(f"interrupted: {kept} photos of this run are kept; the same command goes on from there")
        raise typer.Exit(130) from None
    raise AssertionError("an index run ends with its report")


def _check_sheet(library: Library, sheet: Path | None) -> None:
    """Refuse a contact sheet that cannot be written, or that would overwrite an original."""
    if sheet is None:
        return
    from sensorium.errors import SensoriumError
    from sensorium.photos.files.names import printable
    from sensorium.photos.sheet import check_target

    check_target(sheet)
    if library.holds(sheet):
        raise SensoriumError(f"{printable(sheet)} is one of your photos: give the contact sheet another name")


def _draw_sheet(hits: Sequence[Hit], title: str, sheet: Path) -> None:
    from sensorium.photos.sheet import write_sheet

    write_sheet(list(hits), title, sheet)


def _tell_sheet(sheet: Path) -> None:
    _console().print(_linked(sheet.absolute(), f"contact sheet: {_short(sheet)}"))


def _print_results(results: Results, first: int) -> None:
    """What was understood, the photos or what came closest, and how to go on."""
    from sensorium.photos.files.names import printable

    console = _console()
    line = understood(results.query)
    if line and line != looks(results.query):
        console.print(line, style="bold", markup=False)
    for reading in results.query.readings:
        console.print(reading_line(reading), style="dim", markup=False)
    asked = printable(results.query.text or results.query.said)
    if not results.hits:
        if results.closest:
            console.print(f"Nothing looks like “{asked}”. Closest were:", markup=False)
            _print_hits(results.closest)
        else:
            because = f": {results.note}" if results.note else "."
            console.print(f"No photo fits that{because}", markup=False)
        return
    if results.verdict == "weak":
        console.print(f"Nothing looks much like “{asked}”. These do a little:", markup=False)
    _print_hits(results.hits, first)
    last = first + len(results.hits) - 1
    if results.cursor is not None or first > 1:
        more = "; --page shows more" if results.cursor is not None else ""
        console.print(f"{first} to {last} of {results.total}{more}", style="dim", markup=False)


def _print_hits(hits: Sequence[Hit], first: int = 1) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("#", justify="right", style="dim")
    table.add_column("score", justify="right")
    table.add_column("file", overflow="fold")
    dated, placed = (any(getattr(hit, name) for hit in hits) for name in ("taken_at", "place"))
    for heading, wanted in (("taken", dated), ("place", placed)):
        if wanted:
            table.add_column(heading)
    table.add_column("why", overflow="fold", style="dim")
    for rank, hit in enumerate(hits, first):
        taken = hit.taken_at.strftime("%Y-%m-%d %H:%M") if hit.taken_at else ""
        facts = [*([taken] if dated else []), *([hit.place or ""] if placed else [])]
        file = _linked(hit.path, _short(hit.path))
        table.add_row(str(rank), f"{hit.score:.3f}", file, *facts, Text(hit.why))
    _console().print(table)


def _print_report(library: Library, report: Report) -> None:
    console = _console()
    rate = f" ({report.kept / report.seconds:.1f}/s)" if report.kept and report.seconds else ""
    parts = [
        f"{report.new} new",
        f"{report.changed} changed",
        f"{report.unchanged} unchanged",
        *([f"{report.returned} back"] if report.returned else []),
        *([f"{report.gone} gone"] if report.gone else []),
        *([f"{report.moved} moved"] if report.moved else []),
        *([f"{report.described} described again"] if report.described else []),
        *([f"{report.reused} known by their content"] if report.reused else []),
    ]
    console.print(f"{', '.join(parts)}; {report.kept} photos taken in {report.seconds:.1f} s{rate}")
    if report.encoded:
        console.print(
            f"processors {report.utilisation:.0%} busy: read {report.reading_seconds:.1f} s, "
            f"encoded {report.encoding_seconds:.1f} s, waited {report.waiting_seconds:.1f} s",
            style="dim",
        )
        console.print("`sensorium describe` looks closer: small things, text, faces", style="dim")
    _print_refusals(console, "refused", report.failed)
    _print_refusals(console, "unreadable", report.unreadable)
    _print_refusals(console, "offline, kept as it was", report.offline)
    if report.failed_before:
        console.print(
            f"{report.failed_before} bad files of earlier runs were not tried again: see `sensorium status`"
        )
    if report.answering != report.model:
        console.print(
            f"{report.answering} goes on answering: {report.waiting} photos still wait for {report.model}"
        )
    from sensorium.photos.files.names import printable

    for model, missing in report.unfinished:
        name = printable(model)
        console.print(
            f"the switch to {name} lacks {missing} photos: `sensorium index --model {name}` goes on with it"
        )
    console.print(f"library: {printable(library.folder)}", style="dim", markup=False)


def _print_refusals(console: Console, title: str, refusals: Sequence[Failure]) -> None:
    from rich.text import Text

    from sensorium.photos.files.names import printable

    for refusal in refusals[:_SHOWN]:
        line = Text(f"{title}: ", style="yellow")
        line.append(_linked(refusal.path, printable(refusal.path)))
        line.append(f": {refusal.reason}", style="default")
        console.print(line)
    if len(refusals) > _SHOWN:
        console.print(f"{title}: and {len(refusals) - _SHOWN} more: see `sensorium status`")


def _print_status(told: Status) -> None:
    from sensorium.photos.files.names import printable

    console = _console()
    lines = [
        f"library   {printable(told.folder)} ({told.bytes / 1e6:.1f} MB)",
        f"model     {told.model or 'none yet'}",
        f"photos    {told.photos}, {told.embedded} of them searchable",
    ]
    if told.gone:
        lines.append(f"gone      {told.gone} (they return with their files)")
    for line in lines:
        console.print(line, markup=False, highlight=False)
    for root in told.roots:
        state = f"offline: {root.offline}" if root.offline else "online"
        console.print(f"folder    {printable(root.path)}: {root.photos} photos, {state}", markup=False)
    _print_refusals(console, "failed", told.failed)


def _console(*, stderr: bool = False) -> Console:
    """A console as wide as its terminal, and without any width when its output goes to a file or a pipe."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(
        file=stream,
        width=None if stream.isatty() else _WIDEST,
        highlight=False,
        soft_wrap=False,
        markup=False,
    )


def _linked(path: str | Path, shown: str) -> Any:
    from rich.style import Style
    from rich.text import Text

    from sensorium.photos.files.names import link

    return Text(shown, style=Style(link=link(os.path.abspath(path))))  # noqa: PTH100


def _short(path: Path) -> str:
    """The path as one would type it here."""
    from sensorium.photos.files.names import printable

    here = Path.cwd()
    return printable(path.relative_to(here) if path.is_relative_to(here) else path)


def _print_json(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document, ensure_ascii=True, indent=2) + "\n")


def _results_document(results: Results) -> dict[str, Any]:
    return {
        "query": results.query.document(),
        "total": results.total,
        "verdict": results.verdict,
        "note": results.note,
        "hits": [_hit_document(hit) for hit in results.hits],
        "closest": [_hit_document(hit) for hit in results.closest],
        "cursor": results.cursor,
    }


def _hit_document(hit: Hit) -> dict[str, Any]:
    return {
        "path": str(hit.path),
        "score": round(hit.score, 6),
        "taken_at": hit.taken_at.isoformat() if hit.taken_at else None,
        "place": hit.place,
        "why": hit.why,
    }


def _report_document(library: Library, report: Report) -> dict[str, Any]:
    document = asdict(report)
    document["seconds"] = round(report.seconds, 3)
    rate = report.kept / report.seconds if report.seconds else 0.0
    return {"library": str(library.folder), **document, "photos_per_second": round(rate, 2)}


def _status_document(told: Status) -> dict[str, Any]:
    return {
        "library": str(told.folder),
        "model": told.model,
        "photos": told.photos,
        "embedded": told.embedded,
        "failed": [{"path": failure.path, "reason": failure.reason} for failure in told.failed],
        "offline": told.offline,
        "gone": told.gone,
        "roots": [
            {"path": str(root.path), "photos": root.photos, "offline": root.offline} for root in told.roots
        ],
        "bytes": told.bytes,
    }
