"""Streamed text: no half character, no half stop, and the sum is the whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.errors import CheckpointError
from sensorium.media.vocabulary import Vocabulary
from sensorium.sampling.text import Detokenizer, StopStrings
from tiny_vocabularies import merged_bytes, pieces, single_bytes

VOCABULARIES = {"single": single_bytes(), "merged": merged_bytes(), "pieces": pieces()}
kinds = st.sampled_from(sorted(VOCABULARIES))
texts = st.text(st.sampled_from("hello wrd \n好世界é👍👩‍💻�x"), max_size=30)


def streamed(vocabulary: Vocabulary, ids: list[int]) -> list[str]:
    detokenizer = Detokenizer(vocabulary)
    out = [detokenizer.feed(token) for token in ids]
    return [*out, detokenizer.flush()]


@settings(max_examples=200, deadline=None)
@given(kinds, texts)
def test_text_comes_back_piece_by_piece(kind: str, text: str) -> None:
    vocabulary = VOCABULARIES[kind]
    ids = vocabulary.encode(text)
    parts = streamed(vocabulary, ids)
    assert "".join(parts) == vocabulary.decode(ids) == text
    if "�" not in text:
        assert not any("�" in part for part in parts), "half a character was shown"


@settings(max_examples=200, deadline=None)
@given(kinds, st.lists(st.integers(0, 255), max_size=30))
def test_any_tokens_add_up_to_their_text(kind: str, ids: list[int]) -> None:
    """Bytes of no character included.

    Llama's decoder alone takes back the good bytes before a bad one; what was shown cannot be.
    """
    vocabulary = VOCABULARIES[kind]
    whole, shown = vocabulary.decode(ids), "".join(streamed(vocabulary, ids))
    assert shown == whole or (kind == "pieces" and "�" in whole and "�" in shown)


def test_a_character_is_shown_when_its_last_byte_came() -> None:
    vocabulary = VOCABULARIES["single"]
    assert streamed(vocabulary, vocabulary.encode("a好b")) == ["a", "", "", "好", "b", ""]
    assert streamed(vocabulary, vocabulary.encode("a好")[:3]) == ["a", "", "", "�"]


def test_special_tokens_are_no_text() -> None:
    vocabulary = VOCABULARIES["merged"]
    ids = vocabulary.encode("he<s>llo</s>")
    assert vocabulary.token_id("<s>") in ids
    assert "".join(streamed(vocabulary, ids)) == "hello"
    assert vocabulary.decode(ids, special=True) == "he<s>llo</s>"
    assert vocabulary.ids_of(["</s>", "<none>"]) == {vocabulary.token_id("</s>")}
    with pytest.raises(CheckpointError, match="no token '<none>'"):
        vocabulary.token_id("<none>")


def oracle(text: str, stops: list[str]) -> str:
    """Letter by letter: the text before the longest stop that ends first."""
    for end in range(1, len(text) + 1):
        ending = [stop for stop in stops if text[:end].endswith(stop)]
        if ending:
            return text[: end - max(map(len, ending))]
    return text


letters = st.text(st.sampled_from("ab\n好"), max_size=14)


@settings(max_examples=400, deadline=None)
@given(st.lists(letters, max_size=8), st.lists(letters.filter(bool), max_size=3))
def test_stops_do_not_depend_on_where_pieces_end(parts: list[str], stops: list[str]) -> None:
    gate, shown = StopStrings(stops), ""
    for part in parts:
        shown += gate.feed(part)
        assert not any(stop in shown for stop in stops)
    shown += gate.flush()
    assert shown == oracle("".join(parts), stops)
    assert gate.stopped == any(stop in "".join(parts) for stop in stops)
    assert gate.feed("more") == "" or not gate.stopped


def test_text_is_held_back_only_while_it_may_become_a_stop() -> None:
    gate = StopStrings(["</answer>"])
    assert [gate.feed(part) for part in ("yes", "</", "b>", " no</ans", "wer", ">")] == [
        "yes", "", "</b>", " no", "", ""
    ]  # fmt: skip
    assert gate.stopped
    assert gate.flush() == ""
    with pytest.raises(ValueError, match="empty"):
        StopStrings(["a", ""])


def opt_folder(folder: Path) -> Path:
    """What facebook/opt-125m has: no tokenizer.json."""
    whole = json.loads(merged_bytes().to_json())["model"]
    vocab = whole["vocab"] | {"</s>": len(whole["vocab"]), "<pad>": len(whole["vocab"]) + 1}
    (folder / "vocab.json").write_text(json.dumps(vocab))
    lines = [" ".join(pair) if isinstance(pair, list) else pair for pair in whole["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(lines) + "\n")
    settings_of_opt = {
        "tokenizer_class": "GPT2Tokenizer",
        "add_bos_token": True,
        "bos_token": {"content": "</s>", "__type": "AddedToken"},
        "eos_token": "</s>",
        "unk_token": "</s>",
        "pad_token": "<pad>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings_of_opt))
    return folder


def test_opts_files_are_read(tmp_path: Path) -> None:
    import transformers

    vocabulary = Vocabulary.from_folder(opt_folder(tmp_path))
    theirs = transformers.GPT2Tokenizer(
        vocab=str(tmp_path / "vocab.json"),
        merges=str(tmp_path / "merges.txt"),
        bos_token="</s>",
        eos_token="</s>",
        unk_token="</s>",
        pad_token="<pad>",
    )
    for text in ("hello world", " 好 he</s>llo\n", ""):
        inside = vocabulary.encode(text, enclose=False)
        assert inside == theirs(text, add_special_tokens=False).input_ids
        assert vocabulary.encode(text) == [vocabulary.token_id("</s>"), *inside]
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "tokenizer.json").write_text(vocabulary.to_json())
    again = Vocabulary.from_folder(tmp_path / "whole")
    assert again.encode("hello 世界") == vocabulary.encode("hello 世界")
    assert again.size == vocabulary.size


def test_a_folder_without_a_vocabulary_says_what_to_put_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"put tokenizer\.json there"):
        Vocabulary.from_folder(tmp_path)
    (opt_folder(tmp_path) / "merges.txt").unlink()
    with pytest.raises(CheckpointError, match=r"no merges\.txt"):
        Vocabulary.from_folder(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(CheckpointError, match="is not JSON"):
        Vocabulary.from_folder(tmp_path)
