"""Keeps Ctrl-C working after OpenVINO has compiled for a processor with AMX.

To use the tile registers OpenVINO gives the calling thread an alternate signal stack and frees it with the
compiled model, but leaves it announced. Python delivers its signals on that stack, so the next Ctrl-C would
end the process with a segmentation fault. The stack that was there before is therefore put back.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator


class _Stack(ctypes.Structure):
    """``stack_t`` of Linux's C library."""

    _fields_ = (("pointer", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Inside, the alternate signal stack of this thread may change; afterwards it is the one from before."""
    if not sys.platform.startswith("linux"):
        yield
        return
    library = ctypes.CDLL(None)
    before = _Stack()
    library.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        library.sigaltstack(ctypes.byref(before), None)
