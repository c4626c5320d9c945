"""``sensorium watch``: the library follows its folders until it is told to stop.

A line says what a change came to; nothing is said of changes that came to nothing. ``--json`` prints one JSON
document a line. Exit codes: 0 ended by Ctrl-C or SIGTERM, 2 a bad request, such as a library without folders.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sensorium.cli.options import LibraryOption

if TYPE_CHECKING:
    from sensorium.photos.files.watch import Event, Watch
    from sensorium.photos.intake.report import Report

_BUSY = 2.0  # seconds until another indexer is asked again whether it is done
_AGAIN = 60.0  # seconds until a run that failed is tried again
_SHOWN = 20  # refusals of one run; `status` lists all


def register(app: typer.Typer) -> None:
    """Add the command to the application's top level."""
    app.command("watch")(watch)


def watch(
    library: LibraryOption = None,
    settle: Annotated[
        float, typer.Option("--settle", metavar="SECONDS", min=0.1, help="How long a file must be unchanged.")
    ] = 3.0,
    every: Annotated[
        float,
        typer.Option(
            "--every", metavar="MINUTES", min=0, help="Also look at everything so often; 0 for never."
        ),
    ] = 30.0,
    poll: Annotated[
        bool,
        typer.Option("--poll", help="For folders on other machines, whose changes are not told to this one."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document a line.")] = False,
) -> None:
    """Take photos in as they come, until Ctrl-C. Originals are only ever read."""
    from sensorium.photos.files.watch import Timing
    from sensorium.photos.intake.watching import watch_library
    from sensorium.photos.library import Library

    with Library.open(library) as opened:
        folder = opened.folder
        if not opened.store.roots():
            from sensorium.errors import SensoriumError

            raise SensoriumError("the library looks after no folder yet: `sensorium index FOLDER` adds one")
    # Like Ctrl-C it ends the watch at once, wherever it is: everything that was indexed so far is kept.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    watching = watch_library(folder, timing=Timing(settle=settle, rescan=every * 60), poll=poll)
    teller = _Teller(as_json)
    try:
        teller.begin(folder)
        follower = _Follower(watching, folder, settle, teller)
        for event in watching.events(threading.Event()):
            follower.follow(event)
    except KeyboardInterrupt:
        teller.end()


class _Follower:
    """Does what a watch calls for, and survives what goes wrong on the way."""

    def __init__(self, watching: Watch, folder: Path, settle: float, teller: _Teller) -> None:
        self._watching = watching
        self._folder = folder
        self._settle = settle
        self._teller = teller
        self._waiting = False

    def follow(self, event: Event) -> None:
        """Index what changed; tell the rest."""
        from sensorium.errors import LibraryBusyError, SensoriumError
        from sensorium.photos.files.watch import Changed

        if not isinstance(event, Changed):
            self._teller.happened(event)
            return
        try:
            report = self._index(event.folders)
        except LibraryBusyError as error:
            self._watching.again(event.folders, _BUSY)
            if not self._waiting:
                self._teller.trouble(str(error))
            self._waiting = True
        except (SensoriumError, OSError, MemoryError) as error:
            self._watching.again(event.folders, _AGAIN)
            self._teller.trouble(str(error) or "not enough memory")
        else:
            self._waiting = False
            if report.unsettled:
                self._watching.again(event.folders, self._settle)
            self._teller.indexed(event.folders, report)

    def _index(self, folders: Sequence[str]) -> Report:
        from sensorium.photos.intake.report import Finished, Preparing
        from sensorium.photos.library import Library

        with Library.open(self._folder) as opened:  # anew: its model is let go of afterwards
            for event in opened.index(folders, settle=self._settle):
                if isinstance(event, Preparing):
                    self._teller.trouble(f"preparing {event.model} for this machine, once")
                elif isinstance(event, Finished):
                    return event.report
        raise AssertionError("an index run ends with its report")


class _Teller:
    """Lines for people, or JSON lines; the same words twice in a row are told once."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._last = ""

    def begin(self, folder: Path) -> None:
        """It has begun."""
        from sensorium.photos.files.names import printable

        text = f"watching the folders of {printable(folder)} (Ctrl-C ends it)"
        self._line({"event": "begin", "library": os.fspath(folder)}, text)

    def end(self) -> None:
        """It is over."""
        self._line({"event": "end"}, "ended; everything so far is kept")

    def happened(self, event: Event) -> None:
        """A folder went or came, or cannot be followed as it should."""
        from sensorium.photos.files.names import printable
        from sensorium.photos.files.watch import Away, Back, Polled, Unknown

        if isinstance(event, Away):
            text = f"{printable(event.root)} is offline ({event.reason}); its photos are kept"
        elif isinstance(event, Back):
            text = f"{printable(event.root)} is back"
        elif isinstance(event, Polled):
            text = f"{printable(event.root)} is looked at every so often: {printable(event.reason)}"
        elif isinstance(event, Unknown):
            text = event.reason
        else:
            return
        name = type(event).__name__.lower()
        self._line({"event": name, **asdict(event)}, text)

    def trouble(self, text: str) -> None:
        """Something that people should know; told once until something else is told."""
        if text != self._last:
            self._line({"event": "note", "text": text}, text)
        self._last = text

    def indexed(self, folders: Sequence[str], report: Report) -> None:
        """What a run did; nothing when it did nothing."""
        from sensorium.photos.files.names import printable

        counts = {
            "new": report.new,
            "changed": report.changed,
            "moved": report.moved,
            "back": report.returned,
            "gone": report.gone,
            "described again": report.described,
            "refused": len(report.failed),
        }
        told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        if not told:
            return
        self._last = ""
        where = printable(folders[0]) if len(folders) == 1 else f"{len(folders)} folders"
        self._line({"event": "indexed", "folders": list(folders), **asdict(report)}, f"{where}: {told}")
        if not self._as_json:
            for refusal in report.failed[:_SHOWN]:
                typer.echo(f"  refused: {printable(refusal.path)}: {refusal.reason}")

    def _line(self, document: dict[str, Any], text: str) -> None:
        now = datetime.now().astimezone()
        if self._as_json:
            document = {"at": now.isoformat(timespec="seconds"), **document}
            sys.stdout.write(json.dumps(document, ensure_ascii=True) + "\n")
        else:
            sys.stdout.write(f"{now:%H:%M:%S}  {text}\n")
        sys.stdout.flush()
