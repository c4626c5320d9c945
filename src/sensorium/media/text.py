"""Words to token ids, exactly as the checkpoint's own tokenizer makes them.

The work is done by the ``tokenizers`` library, from whichever files a checkpoint carries: ``tokenizer.json``
(anything), ``vocab.json`` with ``merges.txt`` (CLIP's byte-pair encoding), or ``vocab.txt`` (BERT's word
pieces, as Chinese-CLIP ships them). What those files leave open stands in `TextSpec`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import AddedToken, Regex, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, WordPiece

from sensorium.errors import CheckpointError

CLIP_START, CLIP_END = "<|startoftext|>", "<|endoftext|>"
BERT_START, BERT_END, BERT_UNKNOWN = "[CLS]", "[SEP]", "[UNK]"

_CLIP_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


@dataclass(frozen=True)
class TextSpec:
    """How a checkpoint wants its words, beyond what its vocabulary files say."""

    context_length: int
    """The most tokens of a text, start and end included; a longer text loses words, never its end."""
    padding: Literal["none", "fixed"]
    """``none``: as long as the longest text of the batch, padding masked out (exact for causal towers and
    for masked ones). ``fixed``: always ``context_length``, and the network looks at the padding too, as
    SigLIP was trained: any other padding inverts rankings."""
    pad_id: int
    lowercase: bool
    prefix: str = ""
    """Put before every text, such as the ``query: `` of E5."""
    start: str | None = None
    """The token that must open every text; None leaves it to the vocabulary files."""
    end: str | None = None
    """The token that must close every text; None leaves it to the vocabulary files."""
    split_chinese: bool = True
    """``vocab.txt`` only: Chinese characters become words of their own."""
    strip_accents: bool | None = None
    """``vocab.txt`` only: drop accents; None does so when lower-casing."""

    def __post_init__(self) -> None:
        """Refuse a context in which no text fits.

        Raises:
            ValueError: Names the field.
        """
        if self.context_length < 2:
            raise ValueError(f"context_length must be at least 2: {self}")
        if self.padding not in ("none", "fixed"):
            raise ValueError(f"padding must be 'none' or 'fixed': {self}")


@dataclass(frozen=True)
class TokenBatch:
    """Texts as a network takes them."""

    ids: NDArray[np.int64]
    """[b, n] token ids, padded on the right."""
    mask: NDArray[np.int64]
    """[b, n], 1 where the network looks."""


class Tokenizer:
    """One checkpoint's tokenizer. Make it with `from_folder`; it holds no state between calls."""

    def __init__(self, core: tokenizers.Tokenizer, spec: TextSpec) -> None:
        self.spec = spec
        self._core = core
        core.no_padding()
        core.enable_truncation(max_length=spec.context_length)

    @classmethod
    def from_folder(cls, folder: Path, spec: TextSpec | None) -> Tokenizer:
        """Read the vocabulary of a checkpoint folder.

        Raises:
            CheckpointError: The folder has no vocabulary, a broken one, or a model that reads no text.
        """
        if spec is None:
            raise CheckpointError(f"the model in {folder} reads no text: choose one with a text tower")
        if (folder / "tokenizer.json").is_file():
            core = core_from_json(folder / "tokenizer.json")
        elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            core = _clip_core(folder, spec)
        elif (folder / "vocab.txt").is_file():
            core = _bert_core(folder, spec)
        else:
            wanted = "tokenizer.json, vocab.json with merges.txt, or vocab.txt"
            raise CheckpointError(f"no vocabulary in {folder}: put {wanted} there")
        _lowercase(core, spec)
        _enclose(core, spec)
        return cls(core, spec)

    def encode(self, texts: Sequence[str]) -> TokenBatch:
        """Tokenize: b texts to ids and mask [b, n]; n is at most ``context_length``."""
        clean = [self.spec.prefix + without_lone_surrogates(text) for text in texts]
        rows = [self._core.encode(clean[0]).ids] if len(clean) == 1 else self._rows(clean)
        longest = max((len(row) for row in rows), default=0)
        length = self.spec.context_length if self.spec.padding == "fixed" else longest
        ids = np.full((len(rows), length), self.spec.pad_id, np.int64)
        mask = np.full((len(rows), length), int(self.spec.padding == "fixed"), np.int64)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
            mask[index, : len(row)] = 1
        return TokenBatch(ids, mask)

    def token_id(self, token: str) -> int:
        """The id of a token.

        Raises:
            CheckpointError: The vocabulary has no such token.
        """
        return _token_id(self._core, token)

    def _rows(self, texts: list[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._core.encode_batch(texts)]


def core_from_json(path: Path) -> tokenizers.Tokenizer:
    """The tokenizer in a ``tokenizer.json``, without its padding and truncation.

    Raises:
        CheckpointError: The file cannot be read.
    """
    try:
        core = tokenizers.Tokenizer.from_str(path.read_text("utf-8"))
    except Exception as error:  # the library raises nothing narrower on content that it cannot read
        raise CheckpointError(f"{path} cannot be read: {' '.join(str(error).split())[:200]}") from error
    core.no_padding()
    core.no_truncation()
    return core


def _clip_core(folder: Path, spec: TextSpec) -> tokenizers.Tokenizer:
    """CLIP's byte-pair encoding: NFC, white space to single spaces, lower case, words, bytes, merges."""
    core = tokenizers.Tokenizer(
        BPE(
            vocab=read_vocabulary(folder / "vocab.json"),
            merges=read_merges(folder / "merges.txt"),
            continuing_subword_prefix="",
            end_of_word_suffix="</w>",
            fuse_unk=False,
            unk_token=CLIP_END,
        )
    )
    steps: list[Any] = [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " ")]
    core.normalizer = normalizers.Sequence([*steps, *([normalizers.Lowercase()] if spec.lowercase else [])])
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_CLIP_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    return _with_special_tokens(core, spec.start or CLIP_START, spec.end or CLIP_END)


def _bert_core(folder: Path, spec: TextSpec) -> tokenizers.Tokenizer:
    """BERT's word pieces over words, punctuation and single Chinese characters."""
    # Not splitlines(): a vocabulary may hold any other line separator of Unicode as a token.
    lines = (folder / "vocab.txt").read_text("utf-8").removesuffix("\n").split("\n")
    core = tokenizers.Tokenizer(
        WordPiece({token: index for index, token in enumerate(lines)}, unk_token=BERT_UNKNOWN)
    )
    core.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=spec.split_chinese,
        strip_accents=spec.strip_accents,
        lowercase=spec.lowercase,
    )
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    others = [token for token in (BERT_UNKNOWN, "[PAD]", "[MASK]") if core.token_to_id(token) is not None]
    core.add_special_tokens([AddedToken(token, normalized=False) for token in others])
    return _with_special_tokens(core, spec.start or BERT_START, spec.end or BERT_END)


def read_vocabulary(path: Path) -> dict[str, int]:
    """The tokens in a ``vocab.json`` and their numbers.

    Raises:
        CheckpointError: The file is none.
    """
    try:
        vocabulary = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    if not isinstance(vocabulary, dict) or not all(isinstance(i, int) for i in vocabulary.values()):
        raise CheckpointError(f"{path} is not a vocabulary: an object of tokens and their numbers is needed")
    return vocabulary


def read_merges(path: Path) -> list[tuple[str, str]]:
    """The pairs in a ``merges.txt``, first merged first.

    Raises:
        CheckpointError: A line is no pair.
    """
    lines = path.read_text("utf-8").split("\n")
    if lines and lines[0].startswith("#version"):
        lines = lines[1:]
    pairs = [tuple(line.split(" ")) for line in lines if line]
    for pair in pairs:
        if len(pair) != 2:
            raise CheckpointError(f"{path} has a line that is no pair: {' '.join(pair)!r}")
    return [(left, right) for left, right in pairs]


def _with_special_tokens(core: tokenizers.Tokenizer, start: str, end: str) -> tokenizers.Tokenizer:
    """Keep ``start`` and ``end`` whole wherever a text has them, and put them around every text."""
    for token in (start, end):
        _token_id(core, token)
    core.add_special_tokens([AddedToken(token, normalized=False) for token in (start, end)])
    _set_enclosure(core, start, end)
    return core


def _enclose(core: tokenizers.Tokenizer, spec: TextSpec) -> None:
    """Make sure that a ``tokenizer.json`` adds the start and end tokens that the checkpoint declares."""
    ids = core.encode("a").ids
    start_is_there = spec.start is None or (bool(ids) and ids[0] == _token_id(core, spec.start))
    end_is_there = spec.end is None or (bool(ids) and ids[-1] == _token_id(core, spec.end))
    if not (start_is_there and end_is_there):
        _set_enclosure(core, spec.start, spec.end)


def _set_enclosure(core: tokenizers.Tokenizer, start: str | None, end: str | None) -> None:
    tokens = [token for token in (start, end) if token is not None]
    pieces = [*([start] if start else []), "$A", *([end] if end else [])]
    core.post_processor = processors.TemplateProcessing(
        single=" ".join(pieces),
        special_tokens=[(token, _token_id(core, token)) for token in dict.fromkeys(tokens)],
    )


def _lowercase(core: tokenizers.Tokenizer, spec: TextSpec) -> None:
    """Lower-case first, unless the files do so already (SigLIP 2's tokenizer.json forgets it)."""
    present = core.normalizer
    if not spec.lowercase or (present is not None and "A" not in present.normalize_str("A")):
        return
    lower = normalizers.Lowercase()
    core.normalizer = lower if present is None else normalizers.Sequence([lower, present])


def _token_id(core: tokenizers.Tokenizer, token: str) -> int:
    found: int | None = core.token_to_id(token)
    if found is None:
        raise CheckpointError(f"the vocabulary has no token {token!r}")
    return found


def without_lone_surrogates(text: str) -> str:
    """Halves of a UTF-16 pair, as in badly decoded file names, cannot be tokenized: they become U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
