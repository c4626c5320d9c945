"""One batch for several users: each gets what it would get alone, whoever joins and leaves."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sensorium.errors import SensoriumError
from sensorium.models.decoder import Decoder
from sensorium.sampling.batching import Batch, Event, Request
from sensorium.sampling.generate import ContextOverflowError, read, write
from sensorium.sampling.pick import Sampling
from tiny_decoders import VOCABULARY, ids, ours, reference

DECODERS = {kind: ours(reference(kind)) for kind in ("llama3", "opt 350m")}


def request(decoder: Decoder, tokens: Tensor, most: int = 8, **change: Any) -> Request:
    values: dict[str, Any] = {"sampling": Sampling(), "most": most, "end_ids": (), **change}
    return Request(read=lambda: read(decoder, decoder.embed(tokens)), **values)


def alone(decoder: Decoder, one: Request) -> list[int]:
    options = {"end_ids": one.end_ids, "prompt_ids": one.prompt_ids}
    return list(write(decoder, one.read(), one.sampling, most=one.most, **options))


def run(batch: Batch, limit: int = 500) -> dict[int, list[Event]]:
    """Step until nothing is left; the events of each ticket."""
    out: dict[int, list[Event]] = {}
    for _ in range(limit):
        if batch.idle:
            return out
        for event in batch.step():
            out.setdefault(event.ticket, []).append(event)
    raise AssertionError("the batch never became idle")


def tokens_of(events: list[Event]) -> list[int]:
    return [event.token for event in events if event.token is not None]


@st.composite
def workloads(draw: st.DrawFn) -> list[tuple[int, int, int, bool, int]]:
    """For each text: prompt length, most tokens, seed, whether it is drawn, and the steps before it comes."""
    one = st.tuples(
        st.integers(1, 12), st.integers(1, 9), st.integers(0, 50), st.booleans(), st.integers(0, 4)
    )
    return draw(st.lists(one, min_size=1, max_size=6))


@settings(max_examples=12, deadline=None)
@given(workloads(), st.integers(1, 4), st.sampled_from(sorted(DECODERS)))
def test_each_text_is_as_if_alone(work: list[tuple[int, int, int, bool, int]], rows: int, kind: str) -> None:
    decoder = DECODERS[kind]
    batch, events = Batch(decoder, rows=rows), dict[int, list[Event]]()
    requests = {}
    for length, most, seed, drawn, steps in work:
        prompt = ids(1, length, seed=seed)
        sampling = Sampling(temperature=0.7, seed=seed) if drawn else Sampling(repetition_penalty=1.2)
        one = request(decoder, prompt, most, sampling=sampling, end_ids=(5, 6), prompt_ids=prompt[0].tolist())
        requests[batch.submit(one)] = one
        for _ in range(steps):
            for event in batch.step():
                events.setdefault(event.ticket, []).append(event)
    for ticket, more in run(batch).items():
        events.setdefault(ticket, []).extend(more)
    for ticket, one in requests.items():
        assert tokens_of(events[ticket]) == alone(decoder, one)
        assert [event.ended for event in events[ticket]].count(None) == len(events[ticket]) - 1
        assert events[ticket][-1].ended in ("end", "length")


def test_one_joins_a_step_and_the_others_wait_in_order() -> None:
    decoder = DECODERS["llama3"]
    batch = Batch(decoder, rows=2)
    first, second, third = (batch.submit(request(decoder, ids(1, n + 2), 3)) for n in range(3))
    seen = [[event.ticket for event in batch.step()] for _ in range(6)]
    assert seen == [[first], [first, second], [first, second], [second, third], [third], [third]]
    assert batch.idle
    assert batch.step() == []


def test_a_cancelled_text_says_no_more() -> None:
    decoder = DECODERS["llama3"]
    batch = Batch(decoder, rows=2)
    kept = request(decoder, ids(1, 5), 6)
    first, second, third = (
        batch.submit(one)
        for one in (request(decoder, ids(1, 9, seed=4), 6), kept, request(decoder, ids(1, 3), 6))
    )
    batch.step()
    begun = batch.step()
    batch.cancel(first)
    batch.cancel(third)
    batch.cancel(999)
    events = run(batch)
    assert set(events) == {second}
    assert tokens_of([event for event in begun if event.ticket == second] + events[second]) == alone(
        decoder, kept
    )


def test_a_prompt_that_cannot_be_read_ends_alone() -> None:
    decoder = DECODERS["opt 350m"]
    batch = Batch(decoder, rows=3)
    good = request(decoder, ids(1, 4), 5)
    tickets = [batch.submit(one) for one in (good, request(decoder, ids(1, 80)), good)]
    events = run(batch)
    [refused] = events[tickets[1]]
    assert isinstance(refused.error, ContextOverflowError)
    for ticket in (tickets[0], tickets[2]):
        assert tokens_of(events[ticket]) == alone(decoder, good)


def test_a_grammar_that_fails_ends_its_text_alone() -> None:
    class Broken:
        """Allows everything once."""

        def apply(self, logits: Tensor) -> Tensor:
            return logits

        def accept(self, token: int) -> None:
            raise SensoriumError(f"no {token}")

    decoder = DECODERS["llama3"]
    batch = Batch(decoder, rows=2)
    good = request(decoder, ids(1, 4), 5)
    bad, fine = batch.submit(request(decoder, ids(1, 6), 5, constraint=Broken())), batch.submit(good)
    events = run(batch)
    assert isinstance(events[bad][0].error, SensoriumError)
    assert tokens_of(events[fine]) == alone(decoder, good)


def test_many_threads_may_submit() -> None:
    decoder = DECODERS["llama3"]
    batch, tickets = Batch(decoder, rows=3), list[int]()
    threads = [
        threading.Thread(target=lambda n=n: tickets.append(batch.submit(request(decoder, ids(1, n), 2))))  # type: ignore[misc]
        for n in range(1, 9)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = run(batch)
    assert sorted(events) == sorted(tickets) == list(range(8))
    assert all(len(tokens_of(one)) == 2 for one in events.values())
    assert all(0 <= token < VOCABULARY for one in events.values() for token in tokens_of(one))


def test_a_batch_needs_a_row() -> None:
    with pytest.raises(ValueError, match="needs a row"):
        Batch(DECODERS["llama3"], rows=0)


def test_nothing_is_kept_of_texts_that_left() -> None:
    """The longest prompt's padding leaves with it."""
    decoder = DECODERS["llama3"]
    batch = Batch(decoder, rows=2)
    batch.submit(request(decoder, ids(1, 40), 2))
    batch.submit(request(decoder, ids(1, 3), 9))
    for _ in range(4):
        batch.step()
    assert batch._reading is not None
    assert batch._reading.cache.length == 3 + 3
    assert torch.equal(batch._reading.position, torch.tensor([6]))
