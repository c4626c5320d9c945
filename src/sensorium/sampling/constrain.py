"""Output that must be JSON of a given schema: which tokens may come next, by the llguidance library."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sensorium.errors import SensoriumError
from sensorium.media.vocabulary import Vocabulary

if TYPE_CHECKING:
    import llguidance


class JsonSchema:
    """A schema compiled for a vocabulary. Compile it once; each text then has a `Constraint` of its own."""

    def __init__(
        self, schema: Mapping[str, Any], vocabulary: Vocabulary, *, rows: int, end_ids: Iterable[int]
    ) -> None:
        """Compile a schema.

        Args:
            schema: A JSON schema.
            vocabulary: The network's tokens.
            rows: How many tokens the network scores; at least as many as the vocabulary has.
            end_ids: The tokens that end a text; allowed when the JSON is complete.

        Raises:
            SensoriumError: The schema is none, or has what the library cannot enforce, named.
        """
        import llguidance

        self.rows = rows
        self._tokens = llguidance.LLTokenizer(vocabulary.to_json(), n_vocab=rows, eos_token=sorted(end_ids))
        try:
            text = json.dumps(dict(schema))
        except (TypeError, ValueError) as error:
            raise SensoriumError(f"the schema is no JSON: {error}") from None
        # weak networks love white space: unbounded, it would fill the whole answer
        self._grammar = llguidance.LLMatcher.grammar_from_json_schema(
            text, overrides={"whitespace_pattern": " ?"}
        )
        fault = llguidance.LLMatcher.validate_grammar(self._grammar, self._tokens)
        if fault and not fault.startswith("WARNING"):
            raise SensoriumError(f"the schema cannot be enforced: {' '.join(fault.split())[:300]}")

    def start(self) -> Constraint:
        """The constraint of one new text."""
        import llguidance

        return Constraint(llguidance.LLMatcher(self._tokens, self._grammar, log_level=0), self.rows)


class Constraint:
    """What may follow in one text."""

    def __init__(self, matcher: llguidance.LLMatcher, rows: int) -> None:
        self._matcher, self._rows = matcher, rows

    def apply(self, logits: Tensor) -> Tensor:
        """Scores ``[1, rows]`` with minus infinity for every token that may not come next."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        allowed = np.unpackbits(bits, bitorder="little")[: self._rows].astype(bool)
        return logits.masked_fill(~torch.from_numpy(allowed).to(logits.device), float("-inf"))

    def accept(self, token: int) -> None:
        """Go on behind ``token``.

        Raises:
            SensoriumError: It was not allowed, or the grammar became too complex.
        """
        if not self._matcher.consume_token(token):
            raise SensoriumError(f"the schema cannot be followed any further: {self._matcher.get_error()}")

    @property
    def complete(self) -> bool:
        """Whether the text so far is whole: valid by the schema as it stands."""
        return bool(self._matcher.is_accepting())

    @property
    def ended(self) -> bool:
        """Whether nothing but an end token may follow."""
        return bool(self._matcher.is_stopped())
