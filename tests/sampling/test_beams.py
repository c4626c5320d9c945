"""Beam search against transformers' generate: the same texts in the same order, with the same scores."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sensorium.sampling.beams import Beam, BeamSettings, search
from sensorium.sampling.generate import read
from tiny_decoders import ids, ours, reference

SETTINGS: dict[str, tuple[BeamSettings, tuple[int, ...]]] = {
    "plain": (BeamSettings(4, 12), (5,)),
    "no end": (BeamSettings(3, 9), ()),
    "five ends": (BeamSettings(3, 15), (5, 17, 31, 44, 90)),
    "long": (BeamSettings(4, 14, length_penalty=2.0), tuple(range(3, 75))),
    "short": (BeamSettings(4, 14, length_penalty=-1.0), tuple(range(3, 20))),
    "early": (BeamSettings(3, 14, early=True), tuple(range(3, 30))),
    "never": (BeamSettings(3, 14, early="never", length_penalty=0.3), tuple(range(3, 75))),
    "canonical": (BeamSettings(3, 14, early="never", length_penalty=0.0), tuple(range(3, 30))),
    "penalized": (BeamSettings(3, 12, repetition_penalty=1.6), (5, 6)),
    "one beam of many": (BeamSettings(2, 1), (5,)),
}


def expected(theirs: Any, tokens: torch.Tensor, settings: BeamSettings, ends: tuple[int, ...]) -> list[Beam]:
    out = theirs.generate(
        tokens,
        attention_mask=torch.ones_like(tokens),
        max_new_tokens=settings.most,
        num_beams=settings.beams,
        num_return_sequences=settings.beams,
        length_penalty=settings.length_penalty,
        early_stopping=settings.early,
        repetition_penalty=settings.repetition_penalty,
        do_sample=False,
        eos_token_id=list(ends) or None,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_scores=True,
    )
    beams = []
    for row, score in zip(
        out.sequences[:, tokens.shape[1] :].tolist(), out.sequences_scores.tolist(), strict=True
    ):
        ended = [at for at, token in enumerate(row) if token in ends]
        beams.append(Beam(tuple(row[: ended[0] + 1] if ended else row), score))
    return beams


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("kind", ["llama3", "opt"])
def test_beams_are_the_references(name: str, kind: str) -> None:
    settings, ends = SETTINGS[name]
    theirs = reference(kind)
    decoder = ours(theirs)
    lengths = set()
    for seed in range(3):
        tokens = ids(1, 6 + seed, seed=seed)
        with torch.no_grad():
            reading = read(decoder, decoder.embed(tokens))
        found = search(decoder, reading, settings, end_ids=ends, prompt_ids=tokens[0])
        wanted = expected(theirs, tokens, settings, ends)
        assert [beam.ids for beam in found] == [beam.ids for beam in wanted]
        for a, b in zip(found, wanted, strict=True):
            assert a.score == pytest.approx(b.score, rel=1e-4, abs=1e-5)
        lengths |= {len(beam.ids) for beam in found}
    if len(ends) > 10:
        assert min(lengths) < settings.most, "no text ever ended: the test shows nothing"


def test_one_beam_is_greedy() -> None:
    theirs = reference("qwen2")
    decoder, tokens = ours(theirs), ids(1, 7)
    with torch.no_grad():
        reading = read(decoder, decoder.embed(tokens))
    [beam] = search(decoder, reading, BeamSettings(1, 10), end_ids=())
    greedy = theirs.generate(tokens, max_new_tokens=10, do_sample=False, eos_token_id=None)
    assert list(beam.ids) == greedy[0, 7:].tolist()


def test_numbers_that_are_none_are_refused() -> None:
    decoder = ours(reference("llama"))
    with torch.no_grad():
        reading = read(decoder, decoder.embed(ids(1, 3)))
    for settings in (BeamSettings(0, 5), BeamSettings(3, 0)):
        with pytest.raises(ValueError, match="at least 1"):
            search(decoder, reading, settings, end_ids=())
