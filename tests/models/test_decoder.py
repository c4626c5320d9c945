"""The causal decoder against transformers, and against itself: caches, padding, parts of a sequence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from sensorium.models.decoder import Decoder, LearnedPositions, next_positions
from sensorium.nn.cache import Cache, empty_cache, join
from tiny_decoders import MAKERS, ids, ours, qwen_vl, reference, relative

BOUND = 1e-5
# A cached step multiplies one row where a recomputation multiplies many, and BLAS adds up in another order
# for other shapes: equal up to the last bits of float32, not bit for bit. With equal shapes, bits are equal.
EXACT = 1e-6


def read(
    decoder: Decoder, tokens: Tensor, cache: Cache | None = None, **options: Any
) -> tuple[Tensor, Cache]:
    with torch.no_grad():
        hidden, after = decoder(decoder.embed(tokens), cache=cache, **options)
        return decoder.logits(hidden), after


def calm(kind: str) -> Decoder:
    """A decoder with smaller weights, so that rounding is not blown up layer by layer."""
    decoder = ours(reference(kind))
    for parameter in decoder.parameters():
        if parameter.ndim > 1:
            parameter.data *= 0.5
    return decoder


def positions_of(mask: Tensor) -> Tensor:
    return (mask.cumsum(-1) - 1).clamp(min=0)


@pytest.mark.parametrize("kind", MAKERS)
def test_logits_are_the_references(kind: str) -> None:
    theirs = reference(kind)
    decoder = ours(theirs)
    tokens = ids(2, 37)
    with torch.no_grad():
        expected = theirs(tokens, output_hidden_states=True)
    taps: list[Tensor] = []
    for block in decoder.blocks:
        block.register_forward_hook(lambda _module, _inputs, output: taps.append(output[0]))
    found, _ = read(decoder, tokens)
    for depth, tap in enumerate(taps[:-1]):
        assert relative(tap, expected.hidden_states[depth + 1]) < BOUND, f"block {depth}"
    assert relative(found, expected.logits) < BOUND


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(kind: str, side: str) -> None:
    theirs = reference(kind)
    decoder = ours(theirs)
    tokens, short = ids(2, 13), 7
    mask = torch.ones(2, 13, dtype=torch.long)
    place = slice(0, 13 - short) if side == "left" else slice(short, 13)
    mask[1, place], tokens[1, place] = 0, 0
    with torch.no_grad():
        given = {} if kind.startswith("opt") else {"position_ids": positions_of(mask)}
        expected = theirs(tokens, attention_mask=mask, **given).logits
    found, _ = read(decoder, tokens, mask=mask.bool())
    assert relative(found[mask.bool()], expected[mask.bool()]) < BOUND
    alone, _ = read(decoder, tokens[1:, mask[1].bool()])
    assert relative(found[1, mask[1].bool()], alone[0]) < BOUND


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("room", [0, 5, 64])
def test_a_cached_step_is_a_recomputation(kind: str, room: int) -> None:
    decoder = calm(kind)
    tokens = ids(2, 21)
    whole, _ = read(decoder, tokens)
    cache = empty_cache(decoder.config.depth, room=room)
    parts, start = [], 0
    for count in (6, 1, 1, 3, 1, 9):
        part, cache = read(decoder, tokens[:, start : start + count], cache)
        parts.append(part)
        start += count
    assert cache.length == 21
    assert relative(torch.cat(parts, 1), whole) < EXACT
    last, _ = read(decoder, tokens, last=1)
    assert relative(last, whole[:, -1:]) < EXACT


@pytest.mark.parametrize("kind", MAKERS)
def test_a_cached_step_differs_by_rounding_alone(kind: str) -> None:
    """In float64 nothing is left of the difference, so it is the order of additions and not the algorithm."""
    decoder = ours(reference(kind)).double()
    tokens = ids(2, 14)
    whole, _ = read(decoder, tokens)
    logits, cache = read(decoder, tokens[:, :9], empty_cache(3, room=3))
    for at in range(9, 14):
        logits, cache = read(decoder, tokens[:, at : at + 1], cache)
        assert relative(logits, whole[:, at : at + 1]) < 1e-14


def test_a_cached_step_after_left_padding_is_a_recomputation() -> None:
    for kind in ("llama3", "opt 350m"):
        decoder = calm(kind)
        tokens, mask = ids(2, 12), torch.ones(2, 12, dtype=torch.bool)
        mask[0, :5] = False
        _, cache = read(decoder, tokens[:, :9], empty_cache(3, room=8), mask=mask[:, :9])
        steps = []
        for at in range(9, 12):
            step, cache = read(decoder, tokens[:, at : at + 1], cache)
            steps.append(step)
        whole, _ = read(decoder, tokens, mask=mask)
        assert relative(torch.cat(steps, 1), whole[:, 9:]) < EXACT
        alone, _ = read(decoder, tokens[:1, 5:])
        assert relative(torch.cat(steps, 1)[:1], alone[:, 4:]) < EXACT


def test_places_kept_free_change_nothing() -> None:
    """Not always to the bit: on some processors products of spread out keys add in another order."""
    decoder = ours(reference("llama3"))
    tokens = ids(2, 20)
    results = []
    for room in (0, 3, 100):
        logits, cache = read(decoder, tokens[:, :9], empty_cache(3, room=room))
        steps = [logits[:, -1:]]
        for at in range(9, 20):
            logits, cache = read(decoder, tokens[:, at : at + 1], cache)
            steps.append(logits)
        results.append(torch.cat(steps, 1))
    assert relative(results[1], results[0]) < EXACT
    assert relative(results[2], results[0]) < EXACT


def test_two_continuations_share_a_prefix() -> None:
    """Neither sees the other, whatever the order of their steps, and the prefix stays as it was."""
    decoder = calm("qwen2")
    prefix, first, second = ids(1, 8), ids(1, 6, seed=2), ids(1, 6, seed=3)
    expected = [read(decoder, torch.cat((prefix, rest), 1))[0][:, 8:] for rest in (first, second)]
    _, shared = read(decoder, prefix, empty_cache(3, room=50))
    before = [(keys.clone(), values.clone()) for keys, values in shared.pairs()]
    caches, found = [shared, shared], [[], []]  # type: ignore[var-annotated]
    for at in range(6):
        for which, rest in enumerate((first, second)):
            logits, caches[which] = read(decoder, rest[:, at : at + 1], caches[which])
            found[which].append(logits)
    for which in range(2):
        assert relative(torch.cat(found[which], 1), expected[which]) < EXACT
    for (keys, values), (old_keys, old_values) in zip(shared.pairs(), before, strict=True):
        assert torch.equal(keys, old_keys)
        assert torch.equal(values, old_values)


def test_a_cropped_cache_is_that_of_the_prefix() -> None:
    decoder = calm("llama")
    tokens = ids(1, 15)
    _, whole = read(decoder, tokens, empty_cache(3, room=9))
    _, prefix = read(decoder, tokens[:, :6], empty_cache(3, room=9))
    again, grown = read(decoder, ids(1, 1, seed=8), whole.crop(6))
    expected, _ = read(decoder, ids(1, 1, seed=8), prefix)
    assert relative(again, expected) < EXACT
    assert (whole.length, whole.crop(6).length, grown.length) == (15, 6, 7)
    assert whole.crop(0).length == 0
    with pytest.raises(ValueError, match="16 tokens: 15 were read"):
        whole.crop(16)


def test_rows_join_select_and_trim() -> None:
    decoder = calm("llama3")
    rows = [ids(1, length, seed=length) for length in (4, 9, 6)]
    following = ids(3, 1, seed=7)
    caches = [read(decoder, row, empty_cache(3, room=4))[1] for row in rows]
    together, cache = read(decoder, following, join(caches))
    for index, row in enumerate(rows):
        alone, _ = read(decoder, torch.cat((row, following[index : index + 1]), 1), last=1)
        assert relative(together[index], alone[0]) < EXACT
    left = cache.select(torch.tensor([2, 0])).trim()
    assert left.length == 7
    found, _ = read(decoder, following[:2], left)
    alone, _ = read(decoder, torch.cat((rows[2], following[2:], following[:1]), 1), last=1)
    assert relative(found[0], alone[0]) < EXACT
    assert join(caches[:1]).real is None
    assert left.select(torch.tensor([0])).trim().real is None
    with pytest.raises(ValueError, match="empty memory"):
        join([caches[0], empty_cache(3)])


@pytest.mark.parametrize("kind", ["llama", "opt 350m"])
def test_embeddings_are_an_input_too(kind: str) -> None:
    theirs = reference(kind)
    decoder = ours(theirs)
    embeds = torch.randn(2, 9, decoder.config.word_width, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected = theirs(inputs_embeds=embeds).logits
        hidden, _ = decoder(embeds)
        assert relative(decoder.logits(hidden), expected) < BOUND


@pytest.mark.parametrize("kind", MAKERS)
def test_32_greedy_tokens_are_the_references(kind: str) -> None:
    theirs = reference(kind)
    decoder = ours(theirs)
    tokens, mask = ids(2, 11), torch.ones(2, 11, dtype=torch.long)
    mask[0, :4], tokens[0, :4] = 0, 0
    expected = theirs.generate(
        tokens, attention_mask=mask, max_new_tokens=32, min_new_tokens=32, do_sample=False, eos_token_id=None
    )[:, 11:]
    logits, cache = read(decoder, tokens, empty_cache(3, room=16), mask=mask.bool(), last=1)
    found = []
    for _ in range(32):
        found.append(logits[:, -1].argmax(-1, keepdim=True))
        logits, cache = read(decoder, found[-1], cache)
    assert torch.equal(torch.cat(found, 1), expected)


def test_bfloat16_stays_near() -> None:
    for kind in ("llama3", "opt 350m"):
        decoder = ours(reference(kind))
        tokens = ids(2, 25)
        exact, _ = read(decoder, tokens)
        near, _ = read(decoder.to(torch.bfloat16), tokens)
        assert float(torch.nn.functional.cosine_similarity(near.float(), exact, dim=-1).min()) > 0.999


def test_positions_on_three_axes_are_qwens() -> None:
    theirs, decoder = qwen_vl()
    embeds = torch.randn(2, 11, 40, generator=torch.Generator().manual_seed(4))
    positions = torch.randint(0, 30, (3, 2, 11), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        expected = theirs(inputs_embeds=embeds, position_ids=positions).last_hidden_state
        found, _ = decoder(embeds, positions)
        assert relative(found, expected) < BOUND
        # steps behind a picture: the same, one by one
        cache, steps = empty_cache(3, room=4), []
        for at in range(11):
            step, cache = decoder(embeds[:, at : at + 1], positions[:, :, at : at + 1], cache=cache)
            steps.append(step)
        assert relative(torch.cat(steps, 1), found) < EXACT
        # the axes are told apart, and text is the same on all of them
        swapped, _ = decoder(embeds, positions[[1, 0, 2]])
        assert relative(swapped, found) > 1e-2
        text = torch.arange(11).expand(2, -1)
        assert torch.equal(decoder(embeds, text)[0], decoder(embeds, text.expand(3, 2, 11))[0])


def test_axes_that_a_network_has_not_are_refused() -> None:
    decoder = ours(reference("llama"))
    with pytest.raises(ValueError, match="no 3 axes"):
        decoder(decoder.embed(ids(1, 2)), torch.zeros(3, 1, 2, dtype=torch.long))


def test_next_positions_count_no_padding() -> None:
    embeds = torch.zeros(2, 3, 4)
    assert next_positions(empty_cache(1), embeds, None).tolist() == [[0, 1, 2], [0, 1, 2]]
    mask = torch.tensor([[False, False, True], [True, True, True]])
    assert next_positions(empty_cache(1), embeds, mask).tolist() == [[0, 0, 0], [0, 1, 2]]
    keys = torch.zeros(2, 1, 3, 2)
    cache = Cache.of([(keys, keys)], real=mask)
    assert next_positions(cache, embeds[:, :1], None).tolist() == [[1], [3]]
    assert next_positions(cache, embeds[:, :2], torch.tensor([[True, True], [True, False]])).tolist() == [
        [1, 2],
        [3, 3],
    ]


def test_configs_that_fit_no_network_are_refused() -> None:
    config = ours(reference("llama")).config
    with pytest.raises(ValueError, match="not a multiple of 3 kv_heads"):
        replace(config, kv_heads=3)
    with pytest.raises(ValueError, match="heads of 8 values"):
        replace(config, head_dim=8)
    assert replace(config, head_dim=8, positions=LearnedPositions(9, 2)).head_dim == 8


@pytest.mark.parametrize("kind", MAKERS)
def test_every_parameter_learns(kind: str) -> None:
    decoder = ours(reference(kind))
    for parameter in decoder.parameters():
        parameter.requires_grad_(True)
    hidden, _ = decoder(decoder.embed(ids(2, 7)))
    decoder.logits(hidden).square().sum().backward()
    for key, parameter in decoder.named_parameters():
        assert parameter.grad is not None, key
        assert bool(parameter.grad.isfinite().all()), key


def test_gradients_flow_through_a_cache() -> None:
    decoder = ours(reference("llama"))
    for parameter in decoder.parameters():
        parameter.requires_grad_(True)
    tokens = ids(1, 6)
    hidden, cache = decoder(decoder.embed(tokens[:, :4]), cache=empty_cache(3, room=8))
    after, _ = decoder(decoder.embed(tokens[:, 4:]), cache=cache)
    (hidden.sum() + after.sum()).backward()
    split = [parameter.grad.clone() for parameter in decoder.parameters() if parameter.grad is not None]
    decoder.zero_grad()
    whole, _ = decoder(decoder.embed(tokens))
    whole.sum().backward()
    for a, b in zip(split, [p.grad for p in decoder.parameters() if p.grad is not None], strict=True):
        assert relative(a, b) < 1e-4


class Step(torch.nn.Module):
    """A cached step over plain tensors, as a runtime exports it: every layer's keys and values in and out."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, embeds: Tensor, positions: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        cache = Cache.of(list(zip(past[::2], past[1::2], strict=True)))
        hidden, after = self.decoder(embeds, positions, cache=cache)
        return self.decoder.logits(hidden), *(tensor for pair in after.pairs() for tensor in pair)


@pytest.mark.parametrize("kind", ["llama3", "opt 350m"])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_one_trace_serves_any_past(kind: str, count: int) -> None:
    decoder = ours(reference(kind))
    tokens = ids(2, 20)

    def inputs(past: int, more: int) -> tuple[Tensor, ...]:
        with torch.no_grad():
            cache = decoder(decoder.embed(tokens[:, :past]))[1]
            embeds = decoder.embed(tokens[:, past : past + more])
        positions = torch.arange(past, past + more).expand(2, -1).contiguous()
        return embeds, positions, *(tensor.contiguous() for pair in cache.pairs() for tensor in pair)

    with torch.no_grad():
        traced = torch.jit.trace(Step(decoder), inputs(4, count))  # type: ignore[no-untyped-call]
        whole, _ = decoder(decoder.embed(tokens))
        for past, more in ((4, count), (11, count), *(((7, 5),) if count > 1 else ())):
            logits, *after = traced(*inputs(past, more))
            assert relative(logits, decoder.logits(whole)[:, past : past + more]) < BOUND
            assert after[0].shape[2] == past + more
