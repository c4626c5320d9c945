"""The errors a user can act on.

Each carries one line that says what was wrong, where, and what to do. The command line prints that
line and exits with ``exit_code``; a traceback is always a bug of ours, never an answer to bad input.
"""

from __future__ import annotations


class SensoriumError(Exception):
    """A request that cannot be carried out, with the reason and the remedy in one line."""

    exit_code = 2


class BadImageError(SensoriumError):
    """A file that cannot be read as a picture. The text is the reason, without the path."""


class ModelNotFoundError(SensoriumError):
    """A model whose files are not on this machine. The text says which files to put where."""


class CheckpointError(SensoriumError):
    """A checkpoint that does not fit its network: the keys or shapes at fault are named."""


class LibraryError(SensoriumError):
    """A photo library that cannot be opened or written."""


class LibraryBusyError(LibraryError):
    """A photo library that another process is writing to. Trying again later is worth while."""
