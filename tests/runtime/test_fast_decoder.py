"""The fast decoder reads and writes what the network does, and its memories are values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from sensorium.errors import SensoriumError
from sensorium.models.decoder import Decoder, DecoderConfig, LearnedPositions
from sensorium.nn.cache import join
from sensorium.nn.rotary import RotaryConfig, Sections
from sensorium.runtime import language
from sensorium.runtime.language import FastDecoder, measure, quicken
from sensorium.sampling.beams import BeamSettings, search
from sensorium.sampling.generate import advance, read, write
from sensorium.sampling.pick import Sampling

ROTARY = RotaryConfig(16, 10_000.0, None, None)
QWEN = DecoderConfig(
    vocabulary=101,
    width=64,
    depth=2,
    heads=4,
    kv_heads=2,
    head_dim=16,
    mlp_width=96,
    mlp="swiglu",
    norm="rms",
    norm_eps=1e-6,
    norm_first=True,
    final_norm=True,
    qkv_bias=True,
    out_bias=False,
    mlp_bias=False,
    positions=ROTARY,
    context_length=128,
    word_width=64,
    tied=True,
)
OPT = replace(
    QWEN,
    kv_heads=4,
    mlp="relu",
    norm="layer",
    norm_eps=1e-5,
    out_bias=True,
    mlp_bias=True,
    positions=LearnedPositions(128, 2),
)
OPT_350M = replace(OPT, norm_first=False, final_norm=False, word_width=32)
SECTIONS = replace(QWEN, positions=replace(ROTARY, sections=Sections((4, 2, 2), "chunks")), tied=False)
CONFIGS = {"qwen": QWEN, "opt": OPT, "opt-350m": OPT_350M, "m-rope": SECTIONS}


def network(config: DecoderConfig = QWEN, gain: float = 2.0) -> Decoder:
    torch.manual_seed(0)
    decoder = Decoder(config).eval()
    for (
        name,
        parameter,
    ) in decoder.named_parameters():  # the blocks outweigh the words, which the tied head reads
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, mean=float("norm" in name), std=0.3)
        else:
            size = 0.05 if "embedding" in name or "positions" in name else gain
            torch.nn.init.normal_(parameter, std=size * parameter.shape[1] ** -0.5)
    return decoder.requires_grad_(False)


def ids(*shape: int, seed: int = 1) -> Tensor:
    return torch.randint(101, shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def qwen() -> tuple[Decoder, FastDecoder]:
    decoder = network()
    return decoder, quicken(decoder, "float32")


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


def greedy(decoder: Any, tokens: Tensor, most: int) -> list[int]:
    return list(write(decoder, read(decoder, decoder.embed(tokens)), Sampling(), most=most, end_ids=()))


@pytest.mark.parametrize("name", CONFIGS)
def test_every_family_reads_as_the_network_does(name: str) -> None:
    decoder = network(CONFIGS[name])
    fast, tokens = quicken(decoder, "float32"), ids(2, 40)
    expected, cache = decoder(decoder.embed(tokens))
    found, mine = fast(fast.embed(tokens[:, :30]))
    rest, mine = fast(fast.embed(tokens[:, 30:]), cache=mine)
    close(torch.cat((found, rest), dim=1), expected)
    close(fast.logits(rest), decoder.logits(expected[:, 30:]))
    assert mine.length == cache.length == 40
    for ours, theirs in zip(mine.plain().pairs(), cache.pairs(), strict=True):
        close(ours[0], theirs[0])
        close(ours[1], theirs[1])


def test_the_same_greedy_tokens_over_32_steps(qwen: tuple[Decoder, FastDecoder]) -> None:
    written = [greedy(one, ids(1, 20), 32) for one in qwen]
    assert written[0] == written[1]
    assert len(set(written[0])) > 4  # not one token for ever


def test_a_token_read_behind_a_memory_is_as_in_a_full_reading(qwen: tuple[Decoder, FastDecoder]) -> None:
    _, fast = qwen
    tokens = ids(1, 40)
    whole, _ = fast(fast.embed(tokens))
    cache = None
    steps = []
    for index in range(40):
        step, cache = fast(fast.embed(tokens[:, index : index + 1]), cache=cache)
        steps.append(step)
    close(torch.cat(steps, dim=1), whole)


def test_positions_on_three_axes() -> None:
    decoder = network(SECTIONS)
    fast, tokens = quicken(decoder, "float32"), ids(1, 24)
    positions = torch.stack([torch.arange(24) * step // 2 for step in (2, 1, 3)])[:, None]
    expected, _ = decoder(decoder.embed(tokens), positions)
    found, _ = fast(fast.embed(tokens), positions)
    close(found, expected)
    assert not torch.allclose(found, fast(fast.embed(tokens))[0], atol=0.01)


def test_the_last_states_alone_and_long_prompts_in_pieces(
    qwen: tuple[Decoder, FastDecoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder, fast = qwen
    embeds = decoder.embed(ids(1, 50))
    expected, _ = decoder(embeds)
    monkeypatch.setattr(language, "PIECE", 20)
    for last in (1, 10, 11, 29, 30, 31, 50, 60, None):
        found, cache = fast(embeds, last=last)
        close(found, expected if last is None else expected[:, -last:])
        assert cache.length == 50


def test_a_memory_is_a_value(qwen: tuple[Decoder, FastDecoder]) -> None:
    decoder, fast = qwen
    tokens = ids(1, 30)
    _, shared = fast(fast.embed(tokens))
    answers = []
    for seed in (2, 3, 2):  # the second and third find the place behind the memory taken
        more = torch.cat((tokens, ids(1, 5, seed=seed)), dim=1)
        found, after = fast(fast.embed(more[:, 30:]), cache=shared)
        close(found, decoder(decoder.embed(more))[0][:, 30:])
        answers.append((found, after))
    assert torch.equal(answers[0][0], answers[2][0])
    assert not torch.allclose(answers[0][0], answers[1][0], atol=0.01)
    assert shared.length == 30


def test_a_cropped_memory_goes_on_as_if_nothing_had_followed(qwen: tuple[Decoder, FastDecoder]) -> None:
    decoder, fast = qwen
    tokens = ids(1, 40)
    first = read(fast, fast.embed(tokens))  # type: ignore[arg-type]
    prompt = torch.cat((tokens[:, :25], ids(1, 20, seed=5)), dim=1)
    second = read(fast, fast.embed(prompt[:, 25:]), cache=first.cache.crop(25))  # type: ignore[arg-type]
    close(second.logits, read(decoder, decoder.embed(prompt)).logits)
    assert second.cache.length == 45
    assert first.cache.length == 40
    again, _ = fast(fast.embed(tokens), cache=first.cache.crop(0))
    close(again, decoder(decoder.embed(tokens))[0])
    with pytest.raises(ValueError, match="cannot crop to 41 tokens: 40 were read"):
        first.cache.crop(41)


def test_padding_on_the_left_changes_nothing(qwen: tuple[Decoder, FastDecoder]) -> None:
    decoder, fast = qwen
    tokens, mask = ids(3, 20), torch.ones(3, 20, dtype=torch.bool)
    mask[1, :7], mask[2, :19] = False, False
    ours, theirs = (read(one, one.embed(tokens), mask=mask) for one in (fast, decoder))  # type: ignore[arg-type]
    for step in ([5, 6, 7], [8, 9, 10]):
        close(ours.logits, theirs.logits)
        ours, theirs = advance(fast, ours, step), advance(decoder, theirs, step)  # type: ignore[arg-type]
    close(ours.logits, theirs.logits)
    assert ours.position.tolist() == theirs.position.tolist()


def test_rows_are_chosen_and_joined(qwen: tuple[Decoder, FastDecoder]) -> None:
    decoder, fast = qwen
    tokens = ids(2, 20)
    _, memory = fast(fast.embed(tokens))
    next_token = fast.embed(ids(3, 1, seed=4))
    rows = torch.tensor([1, 0, 1])
    _, theirs = decoder(decoder.embed(tokens))
    expected, _ = decoder(next_token, cache=theirs.select(rows))
    close(fast(next_token, cache=memory.select(rows))[0], expected)
    _, short = fast(fast.embed(tokens[:1, :6]))
    _, plain = decoder(decoder.embed(tokens[:1, :6]))
    found, _ = fast(next_token, cache=join((memory, short)))  # type: ignore[arg-type]
    close(found, decoder(next_token, cache=join((theirs, plain)))[0])


def test_beams_are_the_network_s(qwen: tuple[Decoder, FastDecoder]) -> None:
    settings, found = BeamSettings(3, 8), []
    for one in qwen:
        reading = read(one, one.embed(ids(1, 12)))  # type: ignore[arg-type]
        found.append(search(one, reading, settings, end_ids={7}))  # type: ignore[arg-type]
    assert [beam.ids for beam in found[0]] == [beam.ids for beam in found[1]]


@pytest.mark.parametrize(("weights", "cosine", "divergence"), [("w8", 0.995, 0.01), ("w4", 0.8, 0.3)])
def test_packed_weights_keep_to_their_bounds(weights: Any, cosine: float, divergence: float) -> None:
    decoder = network(gain=1.0)
    drift = measure(decoder, quicken(decoder, weights), ids(1, 64, seed=9))
    assert cosine <= drift.cosine < 1 - 1e-6  # and they are packed
    assert 0 < drift.divergence < divergence
    assert drift.agreement > 0.5
    assert f"cosine at least {drift.cosine:.5f}" in drift.describe()


def test_what_strays_is_refused() -> None:
    decoder = network()
    with pytest.raises(SensoriumError, match=r"w4 weights turn this decoder's scores too far .*: use w8"):
        quicken(decoder, "w4", text=ids(1, 8), least_cosine=0.99999)
    with pytest.raises(ValueError, match="unknown format of weights 'w2'"):
        quicken(decoder, "w2")  # type: ignore[arg-type]
