"""What changes in folders while one looks: told as events, each once the changes have come to rest.

The system tells what changes (``watchfiles``: inotify and its like; where it cannot, or its limit is
reached, all files are looked at every so often). That only says where to look. What is there, what is half
copied and what has moved the indexer finds out itself, so that an event too many, too few or out of order
does no harm; and from time to time every folder comes up whether anything was told or not.

Changes are held back until nothing has happened for a while, so that a copied folder is one run of the
indexer and both ends of a move fall into the same one. Where changes do not end they come every so often.

A folder that goes away, with its disk or without, is no change: it is told as ``Away``, and when it is
there again as ``Back`` and as changed.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sensorium.errors import SensoriumError
from sensorium.photos.files.names import join, parent, relative_to
from sensorium.photos.files.scan import (
    EMPTY,
    LIBRARY_FILE,
    DirectoryId,
    is_told,
    is_walked,
    reason_offline,
    walk,
)

if TYPE_CHECKING:
    from watchfiles.main import FileChange

_MOST_FOLDERS = 50  # of one root in one change; where more is going on, the whole root is looked at
_MOST_VANISHED = 1000  # paths of a root of which it is asked whether they held photos
_BLIND = 5  # times as long as where files are polled is the pause where only the indexer can look
_LONGEST_HELD = 300.0  # seconds; as long grows the pause between runs while changes do not end


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds.

    Attributes:
        settle: Without a change, until what changed is told; and as old must a file be to be taken.
        longest: That a change is held back because others follow; doubled each time up to five minutes.
        tick: Between looks at what the system told.
        look: Between looks whether the folders are there, and which they are.
        rescan: Between two looks at everything, whatever was told; 0 for never.
        poll: Between looks at all files of a folder whose changes the system does not tell.
    """

    settle: float = 3.0
    longest: float = 30.0
    tick: float = 0.5
    look: float = 5.0
    rescan: float = 1800.0
    poll: float = 60.0


@dataclass(frozen=True, slots=True)
class Changed:
    """Folders, roots or below them, in which something changed. None lies in another."""

    folders: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Away:
    """A root cannot be seen any more."""

    root: str
    reason: str


@dataclass(frozen=True, slots=True)
class Back:
    """A root that was away can be seen again."""

    root: str


@dataclass(frozen=True, slots=True)
class Polled:
    """The system does not tell the changes in a root: it is looked at every so often."""

    root: str
    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Which folders to watch could not be found out; those known before are watched on."""

    reason: str


Event = Changed | Away | Back | Polled | Unknown


@dataclass(slots=True, eq=False)
class _Root:
    """A watched folder: which one it was at the last look, and what of it is to be looked at."""

    path: str
    identity: DirectoryId | None = None
    reason: str | None = None  # why it is away
    listener: Generator[set[FileChange], None, None] | None = None
    blind: bool = False  # nothing tells its changes
    polled: bool = False
    listen_at: float = 0.0  # a listener that broke is replaced then
    scanned: float = 0.0
    touched: set[str] = field(default_factory=set)  # folders below it
    appeared: set[str] = field(default_factory=set)  # folders that may hold photos
    vanished: set[str] = field(default_factory=set)  # paths that may have been folders of photos

    @property
    def waits(self) -> bool:
        return bool(self.touched or self.appeared or self.vanished)


class Watch:
    """Folders under watch. ``events`` is run by one thread; ``again`` belongs to the same one.

    Args:
        roots: Asked every now and then which folders to watch. May raise SensoriumError.
        library: The library's own folder, whose changes are nobody's photos.
        held: Whether the library has photos at or below a path. May raise SensoriumError.
        timing: How patient to be.
        poll: Do not rely on what the system tells; for folders on other machines.
    """

    def __init__(
        self,
        roots: Callable[[], Sequence[str]],
        library: str | os.PathLike[str],
        held: Callable[[str], bool],
        *,
        timing: Timing | None = None,
        poll: bool = False,
    ) -> None:
        self.timing = timing or Timing()
        self._ask = roots
        self._library = os.path.realpath(library)
        self._held = held
        self._poll = poll
        self._roots: dict[str, _Root] = {}
        self._last = -self.timing.settle  # when something happened
        self._first: float | None = None  # when the first of what is held back did
        self._patience = self.timing.longest
        self._later: list[tuple[float, tuple[str, ...]]] = []
        self._trouble = ""
        self._look_at = 0.0

    def events(self, stop: threading.Event) -> Generator[Event, None, None]:
        """What changes, until ``stop`` is set. The first change is all that is there.

        Changes go on being noted while one is worked on.
        """
        self._look_at = time.monotonic()
        try:
            while not stop.is_set():
                if time.monotonic() >= self._look_at:
                    yield from self._look()
                for root in self._roots.values():
                    self._listen(root)
                due = self._due()
                if due:
                    yield Changed(due)
                else:
                    stop.wait(self.timing.tick)
        finally:
            for root in self._roots.values():
                _close(root)

    def again(self, folders: Sequence[str], after: float) -> None:
        """Tell folders once more after so many seconds: not everything in them could be indexed."""
        self._later.append((time.monotonic() + after, tuple(folders)))

    # Which folders there are

    def _look(self) -> Iterator[Event]:
        """Find out which folders to watch, which went and which came back."""
        self._look_at = time.monotonic() + self.timing.look
        try:
            paths = list(self._ask())
            self._trouble = ""
        except SensoriumError as error:
            paths = list(self._roots)
            if str(error) != self._trouble:
                self._trouble = str(error)
                yield Unknown(self._trouble)
        for path in self._roots.keys() - set(paths):
            _close(self._roots.pop(path))
        for path in paths:
            yield from self._look_after(self._roots.setdefault(path, _Root(path)))

    def _look_after(self, root: _Root) -> Iterator[Event]:
        identity = _identity(root.path)
        reason = reason_offline(root.path)
        if reason == EMPTY and not self._holds(root.path):
            reason = None  # a folder that never held a photo is just empty
        now = time.monotonic()
        if identity != root.identity or (identity is not None and _broken(root) and now >= root.listen_at):
            _close(root)
            root.identity = identity
            if identity is not None:
                yield from self._start(root)
            if reason is None:
                self._touch(root, "")
        if reason is not None and root.reason is None:
            yield Away(root.path, reason)
        elif reason is None and root.reason is not None:
            yield Back(root.path)
            self._touch(root, "")
        root.reason = reason
        pause = _BLIND * self.timing.poll if root.blind else self.timing.rescan
        if reason is None and pause and now - root.scanned >= pause:
            self._touch(root, "", happened=False)

    def _start(self, root: _Root) -> Iterator[Event]:
        """Listen to a folder, or look at it every so often where that cannot be."""
        reason, polling = "as was asked for", self._poll
        while root.listener is None:
            try:
                root.listener = _listener(root.path, self.timing, polling=polling)
            except UnicodeEncodeError:
                reason = "its name is not text"
            except (RuntimeError, OSError) as error:  # no such service here, or its limit is reached
                reason = str(error).partition(" about [")[0].rstrip(".")
            if polling:
                break
            polling = root.listener is None
        told, root.polled = root.polled, polling
        root.blind = root.listener is None
        if polling and not told:
            yield Polled(root.path, reason)

    # What is told

    def _listen(self, root: _Root) -> None:
        """Note what the system has told of a folder since the last time."""
        if root.listener is None:
            return
        try:
            told = next(root.listener)
        except (RuntimeError, StopIteration):
            # A name that is not text, or more than it can hold: that something happened is all we know.
            _close(root)
            root.blind = root.polled  # else it would break again at the next look
            root.listen_at = self._look_at = time.monotonic() + self.timing.settle
            self._touch(root, "")
            return
        for change, path in told:
            self._note(root, change, path)

    def _note(self, root: _Root, change: int, path: str) -> None:
        from watchfiles import Change

        relative = relative_to(path, root.path)
        if relative is None or relative_to(path, self._library) is not None:
            return
        if not relative:  # the folder itself went, or its rights changed
            self._look_at = 0.0
            root.listen_at = 0.0
            _close(root)
            return
        folder, name = parent(relative), relative.rpartition("/")[2]
        if not all(is_walked(part) for part in folder.split("/") if part):
            return
        if change != Change.deleted and os.path.isdir(path):  # noqa: PTH112
            if not is_walked(name):
                return
            if change == Change.modified and not root.polled:
                # Its rights are others: what lies in it may be listened to only now.
                _close(root)
                self._look_at = root.listen_at = time.monotonic() + self.timing.settle
            root.appeared.add(relative)
        elif is_told(name):
            root.touched.add(folder)
        elif change == Change.deleted:
            root.vanished.add(relative)
        else:
            return
        self._happened()
        if len(root.touched) > _MOST_FOLDERS or len(root.vanished) > _MOST_VANISHED:
            root.touched, root.vanished = {""}, set()

    def _touch(self, root: _Root, folder: str, *, happened: bool = True) -> None:
        root.touched.add(folder)
        if not folder:
            root.scanned = time.monotonic()
        if happened:
            self._happened()
        elif self._first is None:
            self._first = time.monotonic()

    def _happened(self) -> None:
        self._last = time.monotonic()
        if self._first is None:
            self._first = self._last

    # What is to be told

    def _due(self) -> tuple[str, ...]:
        """Folders whose changes have come to rest, or have been held back for long enough."""
        now = time.monotonic()
        self._recall(now)
        if self._first is None:
            return ()
        quiet = now - self._last >= self.timing.settle
        if not quiet and now - self._first < self._patience:
            return ()
        self._patience = self.timing.longest if quiet else min(2 * self._patience, _LONGEST_HELD)
        self._first = None
        due: list[str] = []
        for root in self._roots.values():
            if root.waits:
                due += [join(root.path, folder) if folder else root.path for folder in self._folders(root)]
        return tuple(sorted(due))

    def _recall(self, now: float) -> None:
        """Touch what was to be told again by now."""
        for at, folders in self._later:
            if at <= now:
                for path in folders:
                    for root in self._roots.values():
                        below = relative_to(path, root.path)
                        if below is not None:
                            self._touch(root, below, happened=False)
        self._later = [entry for entry in self._later if entry[0] > now]

    def _folders(self, root: _Root) -> list[str]:
        """The smallest folders that hold everything that changed in a root; none when it is away."""
        wanted = root.touched
        for folder in _outermost(root.vanished):
            if self._holds(join(root.path, folder)):
                wanted.add(parent(folder))
        for folder in _outermost(root.appeared):
            if not _lies_in(folder, wanted) and self._tells(root, folder):
                wanted.add(folder)
        root.touched, root.appeared, root.vanished = set(), set(), set()
        if root.reason is not None or _identity(root.path) is None:
            return []
        there = {found for folder in wanted if (found := self._there(root, folder)) is not None}
        folders = _outermost(there)
        return folders if len(folders) <= _MOST_FOLDERS else [""]

    def _there(self, root: _Root, folder: str) -> str | None:
        """A folder, or what is left of its path; None where no photos are looked for."""
        while folder and not os.path.isdir(join(root.path, folder)):  # noqa: PTH112
            folder = parent(folder)
        above = folder
        while above:
            if os.path.lexists(join(root.path, above + "/" + LIBRARY_FILE)):
                return None  # another library's own folder
            above = parent(above)
        # Through a link the indexer would see another folder: the root's own walk knows better.
        return folder if not folder or _is_real(join(root.path, folder)) else ""

    def _tells(self, root: _Root, folder: str) -> bool:
        """Whether a folder that appeared holds anything that the library may want."""
        if not _is_real(join(root.path, folder)):
            return True
        found = walk(root.path, folder)
        return bool(found.files or found.unreadable) or self._holds(join(root.path, folder))

    def _holds(self, path: str) -> bool:
        try:
            return self._held(path)
        except SensoriumError:
            return True  # looking once too often does no harm


def _listener(path: str, timing: Timing, *, polling: bool) -> Generator[set[FileChange], None, None]:
    """What the system tells of a folder from now on; each step returns at once.

    Raises UnicodeEncodeError for a name that is not text, OSError or RuntimeError when it cannot tell.
    """
    from watchfiles import watch

    # Tolerance of missing rights silences limits that are reached, too: only where it has to be.
    for tolerant in (True,) if polling else (False, True):
        listener = watch(
            path,
            watch_filter=None,
            debounce=100,
            step=5,
            rust_timeout=1,
            yield_on_timeout=True,
            force_polling=polling or None,
            poll_delay_ms=int(timing.poll * 1000),
            ignore_permission_denied=tolerant,
        )
        try:
            next(listener)
        except PermissionError:
            if tolerant:
                raise
        else:
            break
    return listener


def _outermost(folders: Collection[str]) -> list[str]:
    """Those that lie in none of the others, in order."""
    return [folder for folder in sorted(folders) if not folder or not _lies_in(parent(folder), folders)]


def _lies_in(folder: str, others: Collection[str]) -> bool:
    """Whether a folder is, or lies in, one of others."""
    while folder and folder not in others:
        folder = parent(folder)
    return folder in others


def _close(root: _Root) -> None:
    if root.listener is not None:
        root.listener.close()
        root.listener = None


def _broken(root: _Root) -> bool:
    return root.listener is None and not root.blind


def _identity(folder: str) -> DirectoryId | None:
    """Which folder stands at a path; another one after a disk was mounted there."""
    try:
        status = os.stat(folder)  # noqa: PTH116
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_real(path: str) -> bool:
    return os.path.realpath(path) == path
