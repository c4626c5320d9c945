"""Constrained output is JSON of the schema, whatever the network would rather write."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest
import torch
import transformers

from sensorium.errors import SensoriumError
from sensorium.models.decoder import Decoder
from sensorium.sampling.constrain import JsonSchema
from sensorium.sampling.generate import read, stream, write
from sensorium.sampling.pick import Sampling
from tiny_decoders import LLAMA, ids, ours, randomized
from tiny_vocabularies import merged_bytes

ROWS = 272  # more than the vocabulary has, as networks often do
VOCABULARY = merged_bytes()
END = VOCABULARY.token_id("</s>")
BOX: dict[str, Any] = {
    "type": "object",
    "properties": {
        "label": {"enum": ["cup", "dog", "红色"]},
        "box": {
            "type": "array",
            "items": {"type": "integer", "minimum": 0, "maximum": 99},
            "minItems": 4,
            "maxItems": 4,
        },
        "sure": {"type": "boolean"},
        "note": {"type": "string", "maxLength": 4},
    },
    "required": ["label", "box", "sure", "note"],
    "additionalProperties": False,
}


def decoder() -> Decoder:
    config = transformers.LlamaConfig(**{**LLAMA, "vocab_size": ROWS, "max_position_embeddings": 1024})
    return ours(randomized(transformers.LlamaForCausalLM(config)))


def compiled(schema: dict[str, Any]) -> JsonSchema:
    return JsonSchema(schema, VOCABULARY, rows=ROWS, end_ids=(END,))


def test_any_draw_is_valid() -> None:
    network, schema = decoder(), compiled(BOX)
    reading = read(network, network.embed(ids(1, 5)))
    found = set()
    for seed in range(6):
        tokens = write(
            network,
            reading,
            Sampling(temperature=1.0, seed=seed),
            most=200,
            end_ids=(END,),
            constraint=schema.start(),
        )
        text = "".join(stream(tokens, VOCABULARY))
        found.add(text)
        jsonschema_rs.validate(BOX, json.loads(text))
    assert len(found) > 4, "the network had no choice: the test shows nothing"


def test_without_the_schema_it_is_no_json() -> None:
    network = decoder()
    reading = read(network, network.embed(ids(1, 5)))
    tokens = write(network, reading, Sampling(temperature=1.0), most=60, end_ids=(END,))
    text = "".join(stream(tokens, VOCABULARY))
    assert text
    with pytest.raises(json.JSONDecodeError, match="line 1"):
        json.loads(text)


def test_what_may_come_next() -> None:
    constraint = compiled({"enum": ["dog", "dot"]}).start()
    scores = torch.zeros(1, ROWS)

    def allowed() -> set[str]:
        kept = constraint.apply(scores)[0].isfinite().nonzero().flatten().tolist()
        return {VOCABULARY.decode([token], special=True) for token in kept}

    assert allowed() == {'"'}
    for token in VOCABULARY.encode('"do', enclose=False):
        constraint.accept(token)
    assert allowed() == {"g", "t"}
    assert not constraint.complete
    for token in VOCABULARY.encode('g"', enclose=False):
        constraint.accept(token)
    assert constraint.complete
    assert allowed() == {"</s>"}
    constraint.accept(END)
    assert constraint.ended


def test_a_token_that_was_not_allowed_is_refused() -> None:
    constraint = compiled(BOX).start()
    with pytest.raises(SensoriumError, match="cannot be followed"):
        constraint.accept(VOCABULARY.encode("x", enclose=False)[0])


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "cup"}, "cannot be enforced"),
        ({"enum": []}, "cannot be enforced"),
        ({"type": "string", "pattern": "("}, "cannot be enforced"),
        ({"const": {1, 2}}, "is no JSON"),
    ],
)
def test_schemas_that_are_none_are_refused_in_one_line(schema: dict[str, Any], said: str) -> None:
    with pytest.raises(SensoriumError, match=said) as caught:
        compiled(schema)
    assert "\n" not in str(caught.value)
