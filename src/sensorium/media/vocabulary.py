"""The vocabulary of a language model: text to token ids and back.

Unlike `sensorium.media.text.Tokenizer`, which cuts every sentence to what a text tower takes, nothing is cut
here: a prompt that is too long is for its reader to refuse. Ids come back as text, which a tower never needs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, pre_tokenizers, processors
from tokenizers.models import BPE

from sensorium.errors import CheckpointError
from sensorium.media.text import core_from_json, read_merges, read_vocabulary, without_lone_surrogates

_GPT2 = ("GPT2Tokenizer", "GPT2TokenizerFast")


class Vocabulary:
    """The tokens of a language model. Make it with `from_folder`; it holds no state between calls."""

    def __init__(self, core: tokenizers.Tokenizer) -> None:
        self._core = core

    @classmethod
    def from_folder(cls, folder: Path) -> Vocabulary:
        """Read ``tokenizer.json``, or GPT-2's ``vocab.json`` and ``merges.txt`` as OPT ships them.

        Raises:
            CheckpointError: The folder has neither, or they cannot be read.
        """
        if (folder / "tokenizer.json").is_file():
            return cls(core_from_json(folder / "tokenizer.json"))
        settings = read_object(folder / "tokenizer_config.json")
        if settings.get("tokenizer_class") not in _GPT2:
            raise CheckpointError(f"no vocabulary of a language model in {folder}: put tokenizer.json there")
        for name in ("vocab.json", "merges.txt"):
            if not (folder / name).is_file():
                raise CheckpointError(f"{folder} has no {name}: put it, or tokenizer.json, there")
        return cls(_gpt2_core(folder, settings))

    def encode(self, text: str, *, enclose: bool = True) -> list[int]:
        """Token ids of a text. Special tokens written in it count as such.

        Args:
            text: Any text.
            enclose: Add what the checkpoint puts around every text (``<s>``, ``</s>``). A rendered chat
                template has it already.
        """
        found: list[int] = self._core.encode(without_lone_surrogates(text), add_special_tokens=enclose).ids
        return found

    def decode(self, ids: Sequence[int], *, special: bool = False) -> str:
        """The text of token ids; without special tokens unless ``special``. Bytes that make no character
        become U+FFFD.
        """
        text: str = self._core.decode(list(ids), skip_special_tokens=not special)
        return text

    def token_id(self, token: str) -> int:
        """The id of a token.

        Raises:
            CheckpointError: The vocabulary has no such token.
        """
        found: int | None = self._core.token_to_id(token)
        if found is None:
            raise CheckpointError(f"the vocabulary has no token {token!r}")
        return found

    def ids_of(self, tokens: Iterable[str]) -> frozenset[int]:
        """The ids of those tokens that the vocabulary has."""
        found = (self._core.token_to_id(token) for token in tokens)
        return frozenset(one for one in found if one is not None)

    @property
    def size(self) -> int:
        """How many tokens there are; a network may have more rows, to a round number."""
        count: int = self._core.get_vocab_size()
        return count

    def to_json(self) -> str:
        """The whole vocabulary as the content of a ``tokenizer.json``."""
        text: str = self._core.to_str()
        return text


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object; empty where there is no file.

    Raises:
        CheckpointError: It is not JSON.
    """
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    return found if isinstance(found, dict) else {}


def _gpt2_core(folder: Path, settings: dict[str, Any]) -> tokenizers.Tokenizer:
    """GPT-2's byte-pair encoding, and the start token that OPT's configuration asks for."""
    core = tokenizers.Tokenizer(
        BPE(vocab=read_vocabulary(folder / "vocab.json"), merges=read_merges(folder / "merges.txt"))
    )
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=bool(settings.get("add_prefix_space")))
    core.decoder = decoders.ByteLevel()
    named = {name: special_word(settings.get(f"{name}_token")) for name in ("bos", "eos", "unk", "pad")}
    special = dict.fromkeys(word for word in named.values() if word is not None)
    core.add_special_tokens([AddedToken(word, normalized=True) for word in special])
    start = named["bos"]
    if settings.get("add_bos_token") and start is not None:
        core.post_processor = processors.TemplateProcessing(
            single=f"{start} $A", special_tokens=[(start, core.token_to_id(start))]
        )
    return core


def special_word(stated: Any) -> str | None:
    """A special token as a tokenizer's settings state it: a string, or an object with its content."""
    if isinstance(stated, dict):
        stated = stated.get("content")
    return stated if isinstance(stated, str) else None
