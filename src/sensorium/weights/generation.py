"""When does a language model stop? What the checkpoint's own files say of the tokens that end an answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sensorium.errors import CheckpointError
from sensorium.media.vocabulary import Vocabulary, special_word
from sensorium.weights.preprocess import read_json


def read_end_ids(folder: Path, vocabulary: Vocabulary) -> frozenset[int]:
    """The tokens after which an answer is over, from the first file that states any.

    ``eos_token_id`` of ``generation_config.json`` (chat models list several), of ``config.json`` or of its
    ``text_config``; then ``eos_token`` of ``tokenizer_config.json`` or ``special_tokens_map.json``.

    Args:
        folder: Where the checkpoint lies.
        vocabulary: Its tokens, for files that give a token and not its number.

    Raises:
        CheckpointError: No file states one, or it is no number, or the vocabulary does not have it.
    """
    config = read_json(folder / "config.json") or {}
    text = config.get("text_config")
    for name, raw in (
        ("generation_config.json", read_json(folder / "generation_config.json") or {}),
        ("config.json", config),
        ("config.json", text if isinstance(text, dict) else {}),
    ):
        found = _ids(raw, f"{folder / name}")
        if found:
            return found
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        word = special_word((read_json(folder / name) or {}).get("eos_token"))
        if word is not None:
            return frozenset((vocabulary.token_id(word),))
    raise CheckpointError(
        f"{folder} does not say which token ends an answer: put eos_token_id into generation_config.json"
    )


def _ids(raw: Mapping[str, Any], where: str) -> frozenset[int]:
    stated = raw.get("eos_token_id")
    if stated is None:
        return frozenset()
    ids = stated if isinstance(stated, list) else [stated]
    if any(not isinstance(one, int) or isinstance(one, bool) or one < 0 for one in ids):
        raise CheckpointError(f"{where}: eos_token_id is {stated!r}; numbers of tokens are needed")
    return frozenset(ids)
