"""Writing: the reference's tokens, in pieces, until something ends it."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
import torch
from torch import Tensor

from sensorium.models.decoder import Decoder
from sensorium.sampling.generate import (
    ContextOverflowError,
    Finished,
    advance,
    read,
    stream,
    write,
)
from sensorium.sampling.pick import Sampling
from tiny_decoders import MAKERS, ids, ours, qwen_vl, reference
from tiny_vocabularies import single_bytes

GREEDY = Sampling()


def drained(generator: Generator[Any, Any, Finished]) -> tuple[list[Any], Finished]:
    """What it yields, and its value."""
    out = []
    while True:
        try:
            out.append(next(generator))
        except StopIteration as end:
            return out, end.value


def written(decoder: Decoder, tokens: Tensor, most: int = 32, **options: Any) -> list[int]:
    settings = {"sampling": GREEDY, "end_ids": (), **options}
    sampling = settings.pop("sampling")
    return drained(write(decoder, read(decoder, decoder.embed(tokens)), sampling, most=most, **settings))[0]


@pytest.mark.parametrize("kind", MAKERS)
def test_greedy_text_is_the_references(kind: str) -> None:
    theirs = reference(kind)
    for length in (1, 8):
        tokens = ids(1, length, seed=length)
        expected = theirs.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=32,
            do_sample=False,
            eos_token_id=None,
        )
        assert written(ours(theirs), tokens) == expected[0, length:].tolist()


def test_a_repetition_penalty_counts_the_prompt_as_the_reference_does() -> None:
    theirs = reference("llama3")
    tokens = ids(1, 8)
    options: dict[str, Any] = {"max_new_tokens": 24, "do_sample": False, "eos_token_id": None}
    expected = theirs.generate(tokens, repetition_penalty=1.5, **options)[0, 8:].tolist()
    plain = theirs.generate(tokens, **options)[0, 8:].tolist()
    found = written(
        ours(theirs), tokens, 24, sampling=Sampling(repetition_penalty=1.5), prompt_ids=tokens[0].tolist()
    )
    assert found == expected != plain


def test_rows_are_read_together_as_alone() -> None:
    decoder = ours(reference("qwen2"))
    tokens, mask = ids(3, 9), torch.ones(3, 9, dtype=torch.bool)
    mask[1, :4], mask[2, :8] = False, False
    together = read(decoder, decoder.embed(tokens), mask=mask)
    assert together.position.tolist() == [9, 5, 1]
    steps = [[5, 6, 7], [8, 9, 10]]
    for step in steps:
        together = advance(decoder, together, step)
    for row in range(3):
        alone = read(decoder, decoder.embed(tokens[row : row + 1, mask[row]]))
        for step in steps:
            alone = advance(decoder, alone, [step[row]])
        torch.testing.assert_close(together.logits[row], alone.logits[0], rtol=0, atol=1e-5)


def test_a_text_ends_at_an_end_token_or_at_the_most() -> None:
    decoder, tokens = ours(reference("llama")), ids(1, 6)
    whole = written(decoder, tokens, 20)
    ends = {whole[7]}
    before = whole[: whole.index(whole[7])]
    reading = read(decoder, decoder.embed(tokens))
    found, finished = drained(write(decoder, reading, GREEDY, most=20, end_ids=ends))
    assert (found, finished.reason, finished.ids) == (before, "end", tuple(before))
    assert finished.cache.length == 6 + len(before)
    found, finished = drained(write(decoder, reading, GREEDY, most=3, end_ids=()))
    assert (found, finished.reason) == (whole[:3], "length")
    assert drained(write(decoder, reading, GREEDY, most=0, end_ids=()))[0] == []


def test_a_draw_repeats_with_its_seed() -> None:
    decoder, tokens = ours(reference("llama")), ids(1, 6)
    hot = [written(decoder, tokens, 16, sampling=Sampling(temperature=2.0, seed=seed)) for seed in (1, 1, 2)]
    assert hot[0] == hot[1] != hot[2]
    cold = written(decoder, tokens, 16, sampling=Sampling(temperature=1.0, top_k=1, seed=3))
    assert cold == written(decoder, tokens, 16)


def test_the_context_is_never_passed() -> None:
    decoder = ours(reference("opt"))  # 64 positions, and the table has no more
    with pytest.raises(
        ContextOverflowError, match="takes 67 places of a context of 64, 3 too many"
    ) as caught:
        read(decoder, decoder.embed(ids(1, 67)))
    assert caught.value.excess == 3
    padded = torch.ones(2, 67, dtype=torch.bool)
    padded[:, :3] = False
    assert read(decoder, decoder.embed(ids(2, 67)), mask=padded).position.tolist() == [64, 64]
    reading = read(decoder, decoder.embed(ids(1, 60)))
    found, finished = drained(write(decoder, reading, GREEDY, most=100, end_ids=()))
    assert (len(found), finished.reason) == (5, "length")
    with pytest.raises(ContextOverflowError, match="1 too many"):
        read(decoder, decoder.embed(ids(1, 5)), cache=reading.cache)


def test_prompts_without_a_last_token_are_refused() -> None:
    decoder = ours(reference("llama"))
    mask = torch.tensor([[True, True, False]])
    for embeds, given in ((decoder.embed(ids(1, 3)), mask), (torch.zeros(1, 0, 40), None)):
        with pytest.raises(ValueError, match="pad on the left"):
            read(decoder, embeds, mask=given)


def test_a_second_question_starts_from_what_both_share() -> None:
    decoder, shared = ours(reference("llama3")), ids(1, 12)
    questions = [ids(1, 5, seed=20), ids(1, 3, seed=21)]
    expected = [written(decoder, torch.cat((shared, question), 1), 10) for question in questions]
    prefix = read(decoder, decoder.embed(shared)).cache
    seen = []
    decoder.blocks[0].register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0].shape[1]))
    cache = prefix
    for question, wanted in zip(questions, expected, strict=True):
        reading = read(decoder, decoder.embed(question), cache=cache)
        found, finished = drained(write(decoder, reading, GREEDY, most=10, end_ids=()))
        assert found == wanted
        cache = finished.cache.crop(12)  # what the next question has in common with this text
    assert sum(seen) == 5 + 9 + 3 + 9  # the shared tokens were not read again


def test_positions_behind_a_picture_go_on_from_the_highest() -> None:
    """Under M-RoPE a picture takes fewer positions than tokens."""
    _, decoder = qwen_vl()
    embeds = torch.randn(1, 10, 40, generator=torch.Generator().manual_seed(0))
    positions = torch.tensor([[0, 1, 2, 2, 2, 2, 2, 2, 5, 6], [0, 1, 2, 2, 2, 3, 3, 3, 5, 6]])
    positions = torch.stack((positions[0], positions[1], positions[1]))[:, None]
    reading = read(decoder, embeds, positions=positions)
    assert reading.position.tolist() == [7]
    after = advance(decoder, reading, [5])
    whole = torch.cat((embeds, decoder.embed(torch.tensor([[5]]))), 1)
    more = torch.cat((positions, torch.full((3, 1, 1), 7)), 2)
    torch.testing.assert_close(after.logits, read(decoder, whole, positions=more).logits, rtol=0, atol=1e-5)


def fixed(tokens: list[int]) -> Generator[int, bool | None, Finished]:
    """A writer of given tokens, which says with what it was ended."""
    for count, token in enumerate(tokens, 1):
        if (yield token):
            return Finished("stop", tuple(tokens[:count]), None)  # type: ignore[arg-type]
    return Finished("length", tuple(tokens), None)  # type: ignore[arg-type]


def test_text_is_streamed_up_to_a_stop() -> None:
    vocabulary = single_bytes()
    tokens = vocabulary.encode("一、好。\nUser: x")
    pieces, finished = drained(stream(fixed(tokens), vocabulary, ["\nUser:"]))
    assert pieces == ["一", "、", "好", "。"]
    assert finished.reason == "stop"
    assert vocabulary.decode(finished.ids) == "一、好。\nUser:"
    pieces, finished = drained(stream(fixed(tokens), vocabulary))
    assert "".join(pieces) == "一、好。\nUser: x"
    assert finished.reason == "length"
    pieces, finished = drained(stream(fixed(vocabulary.encode("ab\nUs")), vocabulary, ["\nUser:"]))
    assert (pieces, finished.reason) == (["a", "b", "\nUs"], "length")
    pieces, finished = drained(stream(fixed(vocabulary.encode("好")[:2]), vocabulary))
    assert pieces == ["�"]
    assert drained(stream(fixed([]), vocabulary))[0] == []


def test_a_stop_ends_the_writing_itself() -> None:
    decoder, vocabulary = ours(reference("llama")), single_bytes()
    reading = read(decoder, decoder.embed(ids(1, 6)))
    plain, _ = drained(stream(write(decoder, reading, GREEDY, most=20, end_ids=()), vocabulary))
    text = "".join(plain)
    stop = text[4:6]
    pieces, finished = drained(
        stream(write(decoder, reading, GREEDY, most=20, end_ids=()), vocabulary, [stop])
    )
    assert "".join(pieces) == text[: text.index(stop)]
    assert finished.reason == "stop"
    assert finished.cache.length == 6 + len(finished.ids) - 1
