"""Small vocabularies of two kinds that language models use: merged bytes, and pieces with spare bytes."""

from __future__ import annotations

import tokenizers
from tokenizers import AddedToken, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE

from sensorium.media.vocabulary import Vocabulary


def single_bytes() -> Vocabulary:
    """256 tokens, one a byte, in the order of ids."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = tokenizers.Tokenizer(BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return Vocabulary(core)


def merged_bytes() -> Vocabulary:
    """GPT-2's kind: tokens of bytes that may end inside a character, and two special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    heart = "".join(
        letter for letter, _ in pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str("好")
    )
    merges = [("h", "e"), ("l", "l"), ("Ġ", "w"), ("o", "r"), ("Ġw", "or"), (heart[0], heart[1])]
    vocab = {letter: i for i, letter in enumerate(alphabet)}
    for left, right in merges:
        vocab[left + right] = len(vocab)
    core = tokenizers.Tokenizer(BPE(vocab=vocab, merges=merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(word, normalized=False) for word in ("<s>", "</s>")])
    return Vocabulary(core)


def pieces() -> Vocabulary:
    """Llama's kind: words after a mark for the space, characters, and bytes for everything else."""
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2}
    for byte in range(256):
        vocab[f"<0x{byte:02X}>"] = len(vocab)
    merges = []
    for letter in "▁abcdefghijklmnopqrstuvwxyz":
        vocab[letter] = len(vocab)
    for left, right in (("▁", "h"), ("▁h", "e"), ("l", "l"), ("▁", "w")):
        vocab[left + right] = len(vocab)
        merges.append((left, right))
    core = tokenizers.Tokenizer(
        BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    core.add_special_tokens([AddedToken(word, normalized=False) for word in ("<unk>", "<s>", "</s>")])
    return Vocabulary(core)
