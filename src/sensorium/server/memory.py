"""Answers worth keeping: by what was asked and the state of the library that they were made from."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

_Result = TypeVar("_Result")

MOST = 64
"""Answers of each kind that are kept; the one that was used longest ago goes first."""


class Memory:
    """The latest answer to each question. Safe to use from several threads."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, tuple[Hashable, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, question: Hashable, state: Hashable, make: Callable[[], _Result]) -> _Result:
        """The answer that was made in this state, else a new one by ``make``."""
        with self._lock:
            kept = self._kept.get(question)
            if kept is not None and kept[0] == state:
                self._kept.move_to_end(question)
                return cast(_Result, kept[1])
        answer = make()
        with self._lock:
            self._kept[question] = state, answer
            self._kept.move_to_end(question)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return answer
