"""Which picture files and films lie under a folder, and what changed there since the library last looked.

A walk costs one directory read a folder and one stat a file. It never opens a file. Files that only
belong to a photo (``companions.py``) are told with it. What it leaves out:
the library's own folder and other libraries, folders whose name begins with a dot, the recycle bins and
thumbnail folders that other systems keep among photos, and the ``._`` companions that macOS writes.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from sensorium.media.image import PHOTO_EXTENSIONS
from sensorium.media.video import VIDEO_EXTENSIONS
from sensorium.photos.files.companions import SIDECAR_EXTENSIONS, Companion, attribute, sidecars
from sensorium.photos.files.names import inside, join, relative_to
from sensorium.photos.files.stamps import Stamp, inode_of

LIBRARY_FILE = "library.sqlite3"
_FOREIGN_FOLDERS = frozenset(
    ("@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found")
)

_WANTED = PHOTO_EXTENSIONS | VIDEO_EXTENSIONS

TEMPORARY = (".part", ".partial", ".crdownload", ".download", ".filepart", ".tmp")
"""What programs append to a name while its file is on the way. Such files are never pictures themselves."""

_DOWNLOADING = 600.0  # seconds without a change after which a download was given up

DirectoryId = tuple[int, int]

EMPTY = "the folder is empty, as when a disk is not mounted"


@dataclass(slots=True)
class Walk:
    """The picture files under one folder.

    ``files`` maps the path below the root to its stamp, ``inodes`` to its number on disk where there is
    one, ``companions`` to the files that belong to it. ``unreadable`` maps a folder (or, rarely, a file)
    below the root to the reason: what lies there is unknown, not gone. ``unsettled`` are files that changed a
    moment ago and may be half copied: unknown as well. ``offline`` says that the whole
    root cannot be seen: it does not exist, is not readable, or is as empty as an unmounted disk.
    """

    files: dict[str, Stamp] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    offline: str | None = None
    inodes: dict[str, int] = field(default_factory=dict)
    companions: dict[str, tuple[Companion, ...]] = field(default_factory=dict)
    unsettled: list[str] = field(default_factory=list)


def walk(root: str, within: str = "", *, library: str | None = None, settle: float = 0.0) -> Walk:
    """Find the pictures under ``root``, or only in its folder ``within``.

    Links to folders are followed after everything else, each real folder once, so that loops end and
    nothing is found twice; a link to a file counts unless the file's own folder was walked. A walk of
    ``within`` leaves what a walk of all would find elsewhere to that.

    Args:
        root: An absolute path.
        within: A folder below it, with ``/`` between names.
        library: The library's own folder, where nothing is looked for.
        settle: Files that changed less than so many seconds ago are told as unsettled; 0 takes all.
    """
    found = Walk()
    offline = reason_offline(root)
    if offline:
        found.offline = offline
        return found
    walker = _Walker(root, within, found, library, settle)
    walker.run()
    return found


def reason_offline(root: str) -> str | None:
    """Why nothing of a root can be seen, or None when it is there.

    A folder with nothing in it, or only what systems leave in the place of a mount, counts as unmounted.
    """
    try:
        with os.scandir(root) as entries:
            empty = not any(is_walked(entry.name) for entry in entries)
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return EMPTY if empty else None


class _Walker:
    """The state of one walk: folders seen by identity, links put off to the end."""

    def __init__(self, root: str, within: str, found: Walk, library: str | None, settle: float) -> None:
        self.root = root
        self.within = within
        self.found = found
        self.settle = int(settle * 1e9)
        self.library = _identity(library) if library else None
        self.seen: set[DirectoryId] = set()
        self.linked_folders: list[str] = []
        self.linked_files: list[str] = []
        self.others: dict[str, Stamp] = {}  # what may belong to a photo

    def run(self) -> None:
        self.below(self.within)
        while self.linked_folders:
            linked = self.linked_folders.pop(0)
            if not self.lies_elsewhere(os.path.realpath(join(self.root, linked))):
                self.below(linked)
        for relative in self.linked_files:
            self.add_linked_file(relative)
        self.found.companions = attribute(self.found.files, self.others)
        for companions in self.found.companions.values():
            for companion in companions:  # the raw half of a pair, the film half of a live photo
                self.found.files.pop(companion.path, None)
                self.found.inodes.pop(companion.path, None)

    def below(self, folder: str) -> None:
        """Walk a folder and all real folders below it, in the order of their names."""
        stack = [folder]
        while stack:
            relative = stack.pop()
            full = join(self.root, relative) if relative else self.root
            try:
                identity = _identity(full)
                if identity in self.seen or identity == self.library:
                    continue
                self.seen.add(identity)
                with os.scandir(full) as listing:
                    entries = sorted(listing, key=lambda entry: entry.name)
            except OSError as error:
                self.found.unreadable[relative] = (error.strerror or str(error)).lower()
                continue
            if relative and any(entry.name == LIBRARY_FILE for entry in entries):
                continue
            prefix = relative + "/" if relative else ""
            folders = [
                name for entry in entries if (name := self.take(entry, prefix + entry.name)) is not None
            ]
            stack.extend(reversed(folders))

    def take(self, entry: os.DirEntry[str], relative: str) -> str | None:
        """Note one entry; the relative path is given back when it is a real folder to walk."""
        try:
            if entry.is_dir(follow_symlinks=False):
                return relative if is_walked(entry.name) else None
            if entry.is_symlink():
                if entry.is_dir():
                    if is_walked(entry.name):
                        self.linked_folders.append(relative)
                elif _wanted_file(entry.name):
                    self.linked_files.append(relative)
            elif _wanted_file(entry.name):
                self.add(relative, entry.stat())
            elif _may_belong(entry.name):
                status = entry.stat()
                if stat.S_ISREG(status.st_mode):
                    self.others[relative] = Stamp(status.st_size, status.st_mtime_ns)
        except FileNotFoundError:
            pass  # it went away between the listing and the look
        except OSError as error:
            if not entry.is_symlink():  # a link that leads round in a circle leads to nothing
                self.found.unreadable[relative] = (error.strerror or str(error)).lower()
        return None

    def add(self, relative: str, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            return
        if self.is_on_its_way(relative, status):
            self.found.unsettled.append(relative)
        else:
            self.found.files[relative] = Stamp(status.st_size, status.st_mtime_ns)
            inode = inode_of(status)
            if inode is not None:
                self.found.inodes[relative] = inode

    def add_linked_file(self, relative: str) -> None:
        full = join(self.root, relative)
        try:
            real = os.path.realpath(full)
            status = os.stat(real)  # noqa: PTH116
            folder = os.path.dirname(real)  # noqa: PTH120
            if _identity(folder) not in self.seen and not self.lies_elsewhere(folder):
                self.add(relative, status)
        except OSError:
            return  # a link to nothing

    def lies_elsewhere(self, folder: str) -> bool:
        """Whether a walk of the whole root comes to a real folder by itself, which this one leaves out."""
        if not self.within:
            return False
        relative = relative_to(folder, os.path.realpath(self.root))
        return (
            relative is not None
            and not inside(relative, self.within)
            and all(is_walked(name) for name in relative.split("/") if name)
        )

    def is_on_its_way(self, relative: str, status: os.stat_result) -> bool:
        """Whether a file changed a moment ago, or holds the place of one that is being downloaded."""
        if not self.settle:
            return False
        now = time.time_ns()  # a time to come says nothing: clocks jump
        if any(now - self.settle < at <= now for at in (status.st_mtime_ns, status.st_ctime_ns)):
            return True
        return not status.st_size and any(self.grows(relative + ending) for ending in TEMPORARY)

    def grows(self, relative: str) -> bool:
        try:
            changed = os.stat(join(self.root, relative)).st_mtime  # noqa: PTH116
        except OSError:
            return False
        return abs(time.time() - changed) < _DOWNLOADING


def _identity(folder: str) -> DirectoryId:
    status = os.stat(folder)  # noqa: PTH116
    return status.st_dev, status.st_ino


def is_walked(name: str) -> bool:
    """Whether photos are looked for in a folder of this name."""
    return not name.startswith(".") and name.lower() not in _FOREIGN_FOLDERS


def is_told(name: str) -> bool:
    """Whether a file of this name is a picture or a film, or may say something about one."""
    return _wanted_file(name) or _may_belong(name)


def _wanted_file(name: str) -> bool:
    return _extension(name) in _WANTED and not name.startswith("._")


def _may_belong(name: str) -> bool:
    return _extension(name) in SIDECAR_EXTENSIONS and not name.startswith("._")


def _extension(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - a Path would cost 10 times as much


class Known(NamedTuple):
    """What the library knows about the file at one path.

    ``photo_id`` and ``stamp`` are None when it only ever failed. ``refused`` says that a failure is on
    record, ``failed`` for which state of the file; None when it is worth trying again as it is.
    ``described`` is false when a better description is to be had. ``inode`` is None when it is not known.
    """

    photo_id: int | None
    stamp: Stamp | None
    missing: bool
    embedded: bool
    failed: Stamp | None = None
    refused: bool = False
    inode: int | None = None
    described: bool = True
    companions: tuple[Companion, ...] = ()


@dataclass(slots=True)
class Changes:
    """A walk compared with the library. Lists hold paths below the root; ids are of photos."""

    new: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)  # unchanged, but without a vector of this pipeline
    stale: list[str] = field(default_factory=list)  # unchanged, but to be described again
    accompanied: list[str] = field(default_factory=list)  # unchanged, with other companions than before
    returned: list[int] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)  # paths whose failure is out of date
    unchanged: int = 0
    failed_before: int = 0

    @property
    def to_read(self) -> list[str]:
        """Everything that needs to be opened. Changed files first: what they held may be elsewhere now."""
        return self.changed + self.new + self.pending + self.stale


def compare(found: Walk, known: Mapping[str, Known], within: str = "") -> Changes:
    """What the library must do about a walk of its root, or of the folder ``within`` it."""
    changes = Changes()
    exchanged = _exchanged(found, known)
    for path, stamp in found.files.items():
        before = known.get(path)
        if before is None:
            changes.new.append(path)
        elif before.stamp == stamp and path not in exchanged:
            _compare_unchanged(path, stamp, before, found.companions.get(path, ()), changes)
        elif before.failed == stamp:
            changes.failed_before += 1
        elif before.photo_id is None or (before.missing and not before.refused):
            changes.new.append(path)
        else:
            changes.changed.append(path)
    hidden = list(found.unreadable)
    unknown = found.files.keys() | set(found.unsettled)
    for path, before in known.items():
        if path in unknown or not inside(path, within) or any(inside(path, folder) for folder in hidden):
            continue
        if before.refused:
            changes.forgotten.append(path)
        if before.photo_id is not None and not before.missing:
            changes.gone.append(before.photo_id)
    return changes


def _compare_unchanged(
    path: str, stamp: Stamp, before: Known, companions: tuple[Companion, ...], changes: Changes
) -> None:
    """Sort in a file that is, by its stamp, the one of the photo at its path."""
    if before.missing and before.photo_id is not None:
        changes.returned.append(before.photo_id)
    if before.refused and before.failed != stamp:
        changes.forgotten.append(path)
    if not before.embedded:
        if before.failed == stamp:
            changes.failed_before += 1
        else:
            changes.pending.append(path)
        return
    changes.unchanged += not before.missing
    described = before.described and sidecars(before.companions) == sidecars(companions)
    if not described and before.failed != stamp:
        changes.stale.append(path)
    elif before.companions != companions:
        changes.accompanied.append(path)


def _exchanged(found: Walk, known: Mapping[str, Known]) -> set[str]:
    """Paths where another known photo's file of the very same size and time now lies.

    Numbers on disk alone prove nothing: some file systems deal them out anew with every mount.
    """
    others = [
        path
        for path, inode in found.inodes.items()
        if (before := known.get(path)) is not None and before.inode not in (None, inode)
    ]
    if not others:
        return set()
    owners = {before.inode: before.stamp for before in known.values() if before.inode is not None}
    return {path for path in others if owners.get(found.inodes[path]) == found.files[path]}
