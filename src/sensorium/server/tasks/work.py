"""Long work, in a process of its own: ``python -m sensorium.server.tasks.work`` with a JSON request as input.

It tells what it does in JSON lines: ``{"progress": ...}``, and at the end one of ``{"result": ...}``,
``{"error": ...}`` and ``{"cancelled": true}``. Ctrl-C (SIGINT) ends it at the next safe point; all kinds of
work are safe to interrupt. Nothing of the web framework is imported here.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium.errors import LibraryBusyError, LibraryError, ModelNotFoundError, SensoriumError
from sensorium.photos.files.names import printable
from sensorium.photos.library import Library

if TYPE_CHECKING:
    from sensorium.photos.health.checks import Finding

_NICE = 10  # whoever looks at photos meanwhile comes first
_EVERY = 0.25  # seconds between two lines of progress
_MOST_LISTED = 500  # findings, refusals: a page shows no more, and the library keeps them all
_STAMP = "%Y-%m-%d-%H%M%S"

Request = dict[str, Any]
Told = dict[str, Any]


class _Teller:
    """Writes lines, those of progress not too often."""

    def __init__(self) -> None:
        self._last = -_EVERY
        self._phase = ""

    def progress(self, phase: str, done: int = 0, total: int | None = None, **more: Any) -> None:
        """How far it is. A new phase is told at once."""
        now = time.monotonic()
        if phase == self._phase and now - self._last < _EVERY and done != total:
            return
        self._last, self._phase = now, phase
        self.line({"progress": {"phase": phase, "done": done, "total": total, **more}})

    def line(self, document: Told) -> None:
        """One line, now."""
        sys.stdout.write(json.dumps(document, ensure_ascii=True) + "\n")
        sys.stdout.flush()


def run(request: Request, tell: _Teller) -> Told:
    """Do what was asked for; the result. Raises SensoriumError, KeyboardInterrupt."""
    return _KINDS[request["kind"]](request, tell)


def _index(request: Request, tell: _Teller) -> Told:
    from sensorium.photos.intake.indexing import Finished, Preparing, Progress, Scanned

    folders = list(request.get("folders") or [])
    with Library.open(request["library"]) as library:
        if request.get("roots") is not None:
            chosen = set(request["roots"])
            folders += [root.path for root in library.store.roots() if root.id in chosen]
            if not folders:
                raise SensoriumError("none of these folders is looked after: reload the page")
        settle = float(request.get("settle") or 0)
        for event in library.index(folders, model=request.get("model"), settle=settle):
            if isinstance(event, Preparing):
                tell.progress("preparing", model=event.model)
            elif isinstance(event, Scanned):
                tell.progress("scanning", event.to_read)
            elif isinstance(event, Progress):
                tell.progress("indexing", event.done, event.total, failed=len(event.report.failed))
            elif isinstance(event, Finished):
                return _report(event.report)
    raise AssertionError("an index run ends with its report")


def _report(report: Any) -> Told:
    """A report of the indexer with counts in the place of long lists."""
    told = {}
    for name, value in asdict(report).items():
        told[name] = len(value) if name in ("failed", "unreadable", "offline") else value
    return told


def _retry(request: Request, tell: _Teller) -> Told:
    from sensorium.photos.health import failures

    with Library.open(request["library"]) as library:
        forgotten = failures.forget(library.store, request.get("ids"))
    return {**_index(request, tell), "retried": forgotten}


def _describe(request: Request, tell: _Teller) -> Told:
    from sensorium.photos.describe.known import chosen
    from sensorium.photos.describe.passes import Completed, Described, Skipped, forget_failures

    tell.progress("describing")
    with Library.open(request["library"]) as library:
        if request.get("again"):
            forget_failures(library.store, chosen(library.store, request.get("passes")))
        for event in library.describe(request.get("passes")):
            if isinstance(event, Skipped):
                tell.progress("skipped", name=event.name, reason=event.reason)
            elif isinstance(event, Described):
                failed = sum(len(tally.failed) for tally in event.tallies.values())
                tell.progress("describing", event.done, event.total, failed=failed)
            elif isinstance(event, Completed):
                return {
                    "passes": {
                        name: {
                            "described": tally.described,
                            "failed": len(tally.failed),
                            "waiting": len(tally.waiting),
                            "skipped": tally.skipped,
                        }
                        for name, tally in event.tallies.items()
                    },
                    "offline": event.offline,
                }
    raise AssertionError("a run of passes ends with its tallies")


def _check(request: Request, tell: _Teller) -> Told:
    from sensorium.photos.health import checks

    findings: list[Told] = []
    sound = True
    tell.progress("checking")
    for found in checks.check(Path(request["library"]), content=bool(request.get("content"))):
        if isinstance(found, checks.Hashing):
            tell.progress("comparing", found.done, found.total)
            continue
        sound = sound and not found.wrong
        findings.append(_finding(found))
    return {"sound": sound, "findings": findings[:_MOST_LISTED], "total": len(findings)}


def _finding(found: Finding) -> Told:
    return {"kind": found.kind, "text": found.text, "advice": found.remedy, "wrong": found.wrong}


def _repair(request: Request, tell: _Teller) -> Told:
    from sensorium.photos.health import upkeep

    tell.progress("repairing")
    done = upkeep.repair(Path(request["library"]))
    left = [
        {"kind": one.kind, "text": one.text, "advice": one.remedy, "wrong": one.wrong} for one in done.left
    ]
    before = None if done.before is None else printable(done.before.name)
    return {"mended": done.mended, "left": left[:_MOST_LISTED], "before": before}


def _backup(request: Request, tell: _Teller) -> Told:
    tell.progress("saving")
    return _save(Path(request["library"]), Path(request["backups"]), "sensorium-library")


def _save(library: Path, backups: Path, name: str) -> Told:
    from sensorium.photos.health import upkeep

    try:
        backups.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LibraryError(f"no backup can be kept in {printable(backups)}: {error.strerror}") from error
    stamp = datetime.now(UTC).strftime(_STAMP)
    saved = upkeep.backup(library, backups / f"{name}-{stamp}.sqlite3")
    return {"id": saved.path.name, "bytes": saved.bytes, "photos": saved.photos}


def _restore(request: Request, tell: _Teller) -> Told:
    """Put a backup in the library's place; what the library was becomes a backup, too, if it can be read."""
    from sensorium.photos.health import upkeep

    library, backups = Path(request["library"]), Path(request["backups"])
    tell.progress("saving")
    try:
        replaced: str | None = _save(library, backups, "before-restore")["id"]
    except LibraryError:
        replaced = None  # damaged or gone: that is why it is restored
    tell.progress("restoring")
    saved = upkeep.restore(backups / request["backup"], library, force=True)
    return {"photos": saved.photos, "bytes": saved.bytes, "replaced": replaced}


_KINDS: dict[str, Callable[[Request, _Teller], Told]] = {
    "index": _index,
    "retry": _retry,
    "describe": _describe,
    "check": _check,
    "repair": _repair,
    "backup": _backup,
    "restore": _restore,
}


def code_of(error: SensoriumError) -> str:
    """The word by which a page finds what to say about an error."""
    if isinstance(error, ModelNotFoundError):
        return "model_missing"
    if isinstance(error, LibraryBusyError):
        return "library_busy"
    return "library_unavailable" if isinstance(error, LibraryError) else "bad_request"


def main() -> None:
    """Read the request, do it, tell how it ended. Exit codes: 0 done, 1 an error, 130 cancelled."""
    # A server that was started in the background ignores Ctrl-C, and so would we.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    tell = _Teller()
    try:
        tell.progress("starting")
        request = json.loads(sys.stdin.readline())
        tell.line({"result": run(request, tell)})
    except KeyboardInterrupt:
        tell.line({"cancelled": True})
        sys.exit(130)
    except SensoriumError as error:
        tell.line({"error": {"code": code_of(error), "detail": str(error)}})
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)  # the server is no more; everything so far is kept


if __name__ == "__main__":
    if hasattr(os, "nice"):
        os.nice(_NICE)
    main()
