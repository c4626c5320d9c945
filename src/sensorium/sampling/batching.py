"""One batch for several users: texts join and leave it between steps (Orca, Yu et al. 2022, OSDI).

Every step reads one token of every running text in one pass of the network. A text that joins is read alone
first, then its cache is put beside the others, ends aligned; padding on the left is masked out, so each gets
the tokens that it would get alone.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch

from sensorium.errors import SensoriumError
from sensorium.models.decoder import Decoder
from sensorium.nn.cache import join
from sensorium.sampling.constrain import Constraint
from sensorium.sampling.generate import Chooser, Reading, Reason, advance
from sensorium.sampling.pick import Sampling


@dataclass(frozen=True)
class Request:
    """One text to write."""

    read: Callable[[], Reading]
    """Reads the prompt (one row) when it is the text's turn; what it raises becomes the text's end."""
    sampling: Sampling
    most: int
    """The most tokens to write."""
    end_ids: Collection[int]
    prompt_ids: Sequence[int] = ()
    """What a repetition penalty counts besides the text itself."""
    constraint: Constraint | None = None


@dataclass(frozen=True)
class Event:
    """Something that a step did for one text."""

    ticket: int
    token: int | None
    """The token it wrote, if it did."""
    ended: Reason | None = None
    """Why it ended, if it did."""
    error: SensoriumError | None = None
    """Why it could not go on, if so; it has ended then, too."""


@dataclass
class _Running:
    ticket: int
    request: Request
    chooser: Chooser
    most: int
    written: int = 0


class Batch:
    """Texts that are written together. One thread steps; any thread may submit and cancel."""

    def __init__(self, decoder: Decoder, *, rows: int) -> None:
        """Write with ``decoder`` at most ``rows`` texts at a time; the others wait in order."""
        if rows < 1:
            raise ValueError(f"a batch needs a row: {rows}")
        self._decoder, self._rows = decoder, rows
        self._tickets = itertools.count()
        self._lock = threading.Lock()  # of the next two
        self._waiting: deque[tuple[int, Request]] = deque()
        self._cancelled: set[int] = set()
        self._running: list[_Running] = []
        self._reading: Reading | None = None  # one row for each of _running

    def submit(self, request: Request) -> int:
        """Put a text at the end of the queue; its ticket is named by every `Event` of it."""
        with self._lock:
            ticket = next(self._tickets)
            self._waiting.append((ticket, request))
        return ticket

    def cancel(self, ticket: int) -> None:
        """Forget a text before the next step. It has no further event; unknown tickets change nothing."""
        with self._lock:
            self._waiting = deque(one for one in self._waiting if one[0] != ticket)
            self._cancelled.add(ticket)

    @property
    def idle(self) -> bool:
        """Whether nothing is running or waiting."""
        with self._lock:
            return not self._running and not self._waiting

    def step(self) -> list[Event]:
        """Let at most one text join, then write one token of each. The events are in the texts' order.

        One joins at a time, so that reading a long prompt makes the others wait for that one alone.
        """
        events = []
        with self._lock:
            cancelled, self._cancelled = self._cancelled, set()
        self._keep([index for index, one in enumerate(self._running) if one.ticket not in cancelled])
        if (refused := self._join()) is not None:
            events.append(refused)
        if self._reading is None:
            return events
        chosen: list[int] = []
        going: list[int] = []
        for index, one in enumerate(self._running):
            event = self._write(one, index)
            events.append(event)
            if event.ended is None and event.error is None:
                going.append(index)
                chosen.append(event.token if event.token is not None else 0)
        self._keep(going)
        if going:
            self._reading = advance(self._decoder, self._reading, chosen)
        return events

    def _join(self) -> Event | None:
        with self._lock:
            if len(self._running) >= self._rows or not self._waiting:
                return None
            ticket, request = self._waiting.popleft()
        try:
            reading = request.read()
        except SensoriumError as error:
            return Event(ticket, None, error=error)
        left = self._decoder.config.context_length - int(reading.position) + 1
        chooser = Chooser(request.sampling, request.prompt_ids, request.constraint)
        self._running.append(_Running(ticket, request, chooser, min(request.most, left)))
        self._reading = reading if self._reading is None else _beside(self._reading, reading)
        return None

    def _write(self, one: _Running, index: int) -> Event:
        if one.written >= one.most:
            return Event(one.ticket, None, "length")
        assert self._reading is not None
        try:
            token = one.chooser.next(self._reading.logits[index : index + 1])
        except SensoriumError as error:
            return Event(one.ticket, None, error=error)
        if token in one.request.end_ids:
            return Event(one.ticket, None, "end")
        one.written += 1
        return Event(one.ticket, token, "length" if one.written == one.most else None)

    def _keep(self, rows: list[int]) -> None:
        """Only these rows go on."""
        if len(rows) == len(self._running) or self._reading is None:
            return
        self._running = [self._running[row] for row in rows]
        if not rows:
            self._reading = None
            return
        index = torch.tensor(rows, device=self._reading.position.device)
        cache = self._reading.cache.select(index).trim()
        self._reading = Reading(self._reading.logits[index], cache, self._reading.position[index])


def _beside(first: Reading, second: Reading) -> Reading:
    return Reading(
        torch.cat((first.logits, second.logits)),
        join((first.cache, second.cache)),
        torch.cat((first.position, second.position)),
    )
