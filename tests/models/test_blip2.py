"""BLIP-2, its matcher and InstructBLIP against transformers: random weights, the same numbers."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from sensorium.errors import CheckpointError
from sensorium.models.blip2 import Blip2, Blip2Matcher, Blip2MatcherConfig
from sensorium.models.qformer import QFormer, QFormerConfig
from sensorium.weights.maps import blip2 as maps
from sensorium.weights.rules import Rule, original, renamed
from tiny_decoders import OPT, randomized, relative

VISION: dict[str, Any] = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "image_size": 28,
    "patch_size": 14,
}
QFORMER: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 20,
    "encoder_hidden_size": 24,
}
QUERIES = 5
LLAMA = {
    "model_type": "llama",
    "vocab_size": 99,
    "hidden_size": 40,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


def blip2(text: dict[str, Any] | None = None) -> Any:
    config = transformers.Blip2Config(
        vision_config=VISION,
        qformer_config=QFORMER,
        text_config={"model_type": "opt", **OPT} if text is None else text,
        num_query_tokens=QUERIES,
        image_token_index=98,
    )
    config._attn_implementation = "eager"
    return randomized(transformers.Blip2ForConditionalGeneration(config))


def instructblip() -> Any:
    config = transformers.InstructBlipConfig(
        vision_config=VISION,
        qformer_config=QFORMER,
        text_config=LLAMA,
        num_query_tokens=QUERIES,
        image_token_index=98,
    )
    return randomized(transformers.InstructBlipForConditionalGeneration(config))


def matcher() -> Any:
    config = transformers.Blip2Config(
        vision_config=VISION,
        qformer_config={**QFORMER, "use_qformer_text_input": True},
        num_query_tokens=QUERIES,
        image_text_hidden_size=12,
    )
    return randomized(transformers.Blip2ForImageTextRetrieval(config))


def filled(network: nn.Module, reference: Any, rules: list[Rule]) -> Any:
    state = {key: value.clone() for key, value in reference.state_dict().items()}
    expected = {key: value.shape for key, value in network.state_dict().items()}
    network.load_state_dict(renamed(state.items(), rules, expected))
    return network.eval()


def raw(reference: Any) -> dict[str, Any]:
    return dict(json.loads(reference.config.to_json_string(use_diff=False)))


def pixels(count: int = 2) -> Tensor:
    return torch.randn(count, 3, 28, 28, generator=torch.Generator().manual_seed(3))


def padded_ids(vocabulary: int, seed: int = 4) -> tuple[Tensor, Tensor]:
    ids = torch.randint(3, vocabulary, (2, 7), generator=torch.Generator().manual_seed(seed))
    mask = torch.ones(2, 7, dtype=torch.long)
    mask[1, 4:] = 0
    return ids, mask


@pytest.mark.parametrize("text", [None, LLAMA], ids=["opt", "llama"])
@torch.no_grad()
def test_blip2_continues_a_picture_as_the_reference_does(text: dict[str, Any] | None) -> None:
    theirs = blip2(text)
    config = maps.read_config(raw(theirs))
    ours = filled(Blip2(config), theirs, maps.rules_for(config))
    ids, mask = padded_ids(90)
    seen = ours.see(pixels())
    features = theirs.get_image_features(pixels())
    expected = features.pooler_output if hasattr(features, "pooler_output") else features
    if expected.shape != seen.shape:  # some versions return what the Q-Former found, before the projection
        expected = theirs.language_projection(expected)
    assert relative(seen, expected) < 1e-5
    placeholders = torch.full((2, QUERIES), 98)
    logits = theirs(
        pixel_values=pixels(),
        input_ids=torch.cat((placeholders, ids), 1),
        attention_mask=torch.cat((torch.ones_like(placeholders), mask), 1),
    ).logits
    got = ours(pixels(), ids, mask)
    real = torch.cat((torch.ones_like(placeholders), mask), 1) != 0
    assert relative(got[real], logits[real]) < 1e-5


@torch.no_grad()
def test_blip2_writes_the_same_32_tokens() -> None:
    theirs = blip2()
    config = maps.read_config(raw(theirs))
    ours = filled(Blip2(config), theirs, maps.rules_for(config))
    ids = torch.tensor([[2, 17, 5]])
    placeholders = torch.full((1, QUERIES), 98)
    told = theirs.generate(
        pixel_values=pixels(1),
        input_ids=torch.cat((placeholders, ids), 1),
        attention_mask=torch.ones(1, QUERIES + 3, dtype=torch.long),
        max_new_tokens=32,
        min_new_tokens=32,
        do_sample=False,
    )[0, -32:]
    embeds, cache, written = ours.prompt(ours.see(pixels(1)), ids), None, []
    eos = theirs.generation_config.eos_token_id
    for _ in range(32):
        hidden, cache = ours.decoder(embeds, cache=cache, last=1)
        scores = ours.decoder.logits(hidden)[0, -1]
        if eos is not None:
            scores[eos] = float("-inf")  # as min_new_tokens does
        written.append(int(scores.argmax()))
        embeds = ours.decoder.embed(torch.tensor([[written[-1]]]))
    assert written == told.tolist()


@torch.no_grad()
def test_instructblip_looks_for_what_is_asked() -> None:
    theirs = instructblip()
    config = maps.read_config(raw(theirs))
    ours = filled(Blip2(config), theirs, maps.rules_for(config))
    ids, mask = padded_ids(90)
    question, question_mask = padded_ids(50, seed=9)
    placeholders = torch.full((2, QUERIES), 98)
    logits = theirs(
        pixel_values=pixels(),
        qformer_input_ids=question,
        qformer_attention_mask=question_mask,
        input_ids=torch.cat((placeholders, ids), 1),
        attention_mask=torch.cat((torch.ones_like(placeholders), mask), 1),
    ).logits
    got = ours(pixels(), ids, mask, question, question_mask)
    real = torch.cat((torch.ones_like(placeholders), mask), 1) != 0
    assert relative(got[real], logits[real]) < 1e-5
    other = ours.see(pixels(), question.flip(1), question_mask)
    assert relative(other, ours.see(pixels(), question, question_mask)) > 1e-3
    with pytest.raises(ValueError, match="needs question"):
        ours.see(pixels())


@torch.no_grad()
def test_pictures_and_words_are_compared_as_the_reference_does() -> None:
    theirs = matcher()
    ours = filled(Blip2Matcher(maps.read_matcher_config(raw(theirs))), theirs, maps.MATCHER_RULES)
    ids, mask = padded_ids(50)
    expected = theirs(
        pixel_values=pixels(), input_ids=ids, attention_mask=mask, use_image_text_matching_head=True
    ).logits_per_image
    assert relative(ours.match(pixels(), ids, mask), expected) < 1e-5
    compared = theirs(pixel_values=pixels(), input_ids=ids, attention_mask=mask)
    images, texts = ours.embed_image(pixels()), ours.embed_text(ids, mask)
    assert relative(images, compared.image_embeds) < 1e-5
    assert relative(texts, compared.text_embeds) < 1e-5
    assert relative(ours.similarity(images, texts), compared.logits_per_image) < 1e-5
    with pytest.raises(ValueError, match="captions"):
        ours.caption(pixels(), ids)


@torch.no_grad()
def test_padding_and_company_change_nothing() -> None:
    theirs = matcher()
    ours = filled(Blip2Matcher(maps.read_matcher_config(raw(theirs))), theirs, maps.MATCHER_RULES)
    ids, mask = padded_ids(50)
    alone = ours.match(pixels()[1:], ids[1:, :4])
    assert relative(ours.match(pixels(), ids, mask)[1:], alone) < 1e-5
    assert relative(ours.embed_text(ids, mask)[1:], ours.embed_text(ids[1:, :4])) < 1e-5


@torch.no_grad()
def test_a_caption_is_written_without_looking_ahead_and_with_the_picture() -> None:
    read = maps.read_matcher_config(raw(matcher()))
    config = Blip2MatcherConfig(read.vision, read.qformer, read.shared, caption=True)
    network = randomized(Blip2Matcher(config))
    assert isinstance(network, Blip2Matcher)
    ids, _ = padded_ids(50)
    scores = network.caption(pixels(), ids)
    assert scores.shape == (2, 7, 50)
    changed = ids.clone()
    changed[:, 4] = 3 + (changed[:, 4] - 2) % 40
    again = network.caption(pixels(), changed)
    torch.testing.assert_close(again[:, :4], scores[:, :4])
    assert relative(again[:, 4:], scores[:, 4:]) > 1e-3
    assert relative(network.caption(pixels().flip(0), ids), scores) > 1e-3
    # the queries see no words, as they then would when the first word is written
    seen = network.qformer(network.vision.tokens(pixels()), ids, causal=True)[:, :QUERIES]
    torch.testing.assert_close(seen, network.qformer(network.vision.tokens(pixels())))


@torch.no_grad()
def test_the_looks_of_the_queries_are_those_that_they_answer_with() -> None:
    config = QFormerConfig(3, 16, 4, 2, 24, "gelu", 1e-12, 2, 10, 30, 8, text_mlp=True)
    network = randomized(QFormer(config))
    assert isinstance(network, QFormer)
    image = torch.randn(2, 6, 10)
    looks = network.looks(image)
    assert [tuple(look.shape) for look in looks] == [(2, 2, 3, 6)] * 2
    for look in looks:
        torch.testing.assert_close(look.sum(-1), torch.ones(2, 2, 3))
    # tokens of the picture that no query looks at could be left out: here all but the likeliest change it
    assert not torch.allclose(network(image), network(image[:, :3]))
    words = torch.tensor([[4, 5], [6, 7]])
    assert not torch.allclose(network.looks(image, words)[1], looks[1])


@pytest.mark.parametrize("kind", ["blip2", "llama", "instruct", "matcher"])
def test_what_is_written_is_what_was_read(kind: str) -> None:
    theirs = {
        "blip2": blip2,
        "llama": lambda: blip2(LLAMA),
        "instruct": instructblip,
        "matcher": matcher,
    }[kind]()
    if kind == "matcher":
        read = maps.read_matcher_config(raw(theirs))
        assert maps.read_matcher_config(maps.write_matcher_config(read)) == read
        ours, rules = filled(Blip2Matcher(read), theirs, maps.MATCHER_RULES), maps.MATCHER_RULES
    else:
        config = maps.read_config(raw(theirs))
        assert maps.read_config(maps.write_config(config)) == config
        rules = maps.rules_for(config)
        ours = filled(Blip2(config), theirs, rules)
    written = original(ours.state_dict(), rules)
    given = theirs.state_dict()
    assert set(written) <= set(given)
    for key, value in written.items():
        assert torch.equal(value, given[key]), key


LAVIS = {
    "vision.class_token": "visual_encoder.cls_token",
    "vision.positions": "visual_encoder.pos_embed",
    "vision.patch_embedding.": "visual_encoder.patch_embed.proj.",
    "vision.blocks.": "visual_encoder.blocks.",
    "vision.norm.": "ln_vision.",
    "qformer.queries": "query_tokens",
    "qformer.embedding.": "Qformer.bert.embeddings.word_embeddings.",
    "qformer.positions": "Qformer.bert.embeddings.position_embeddings.weight",
    "qformer.norm.": "Qformer.bert.embeddings.LayerNorm.",
    "qformer.blocks.": "Qformer.bert.encoder.layer.",
    "image_projection.": "vision_proj.",
    "text_projection.": "text_proj.",
    "matching_head.": "itm_head.",
    "caption_head.dense.": "Qformer.cls.predictions.transform.dense.",
    "caption_head.norm.": "Qformer.cls.predictions.transform.LayerNorm.",
    "caption_head.bias": "Qformer.cls.predictions.bias",
}
LAVIS_BLOCKS = {
    ".attention.out.": (".attn.proj.", ".attention.output.dense."),
    ".mlp.up.": (".mlp.fc1.", ".intermediate_query.dense."),
    ".mlp.down.": (".mlp.fc2.", ".output_query.dense."),
    ".norm1.": (".norm1.", ".attention.output.LayerNorm."),
    ".norm2.": (".norm2.", ".output_query.LayerNorm."),
    ".attention.q.": ("", ".attention.self.query."),
    ".attention.k.": ("", ".attention.self.key."),
    ".attention.v.": ("", ".attention.self.value."),
    ".cross.q.": ("", ".crossattention.self.query."),
    ".cross.k.": ("", ".crossattention.self.key."),
    ".cross.v.": ("", ".crossattention.self.value."),
    ".cross.out.": ("", ".crossattention.output.dense."),
    ".cross_norm.": ("", ".crossattention.output.LayerNorm."),
    ".text_mlp.up.": ("", ".intermediate.dense."),
    ".text_mlp.down.": ("", ".output.dense."),
    ".text_norm.": ("", ".output.LayerNorm."),
}


def as_lavis(network: Blip2Matcher) -> dict[str, Tensor]:
    """Its tensors as the authors' files have them."""
    out: dict[str, Tensor] = {"temp": torch.tensor(0.07)}
    state = network.state_dict()
    for key, value in state.items():
        ours, theirs = next(pair for pair in LAVIS.items() if key.startswith(pair[0]))
        name = theirs + key.removeprefix(ours)
        tower = key.startswith("vision")
        if tower and ".attention." in key and ".out." not in key:
            continue  # fused, below
        for part, (in_tower, in_qformer) in LAVIS_BLOCKS.items():
            if part in name and "blocks" in key:
                name = name.replace(part, in_tower if tower else in_qformer)
                break
        leading = {"vision.class_token": 2, "vision.positions": 1, "qformer.queries": 1}.get(key, 0)
        out[name] = value.reshape((1,) * leading + tuple(value.shape))
    for i in range(network.config.vision.depth):
        parts = [state[f"vision.blocks.{i}.attention.{x}.weight"] for x in "qkv"]
        out[f"visual_encoder.blocks.{i}.attn.qkv.weight"] = torch.cat(parts)
        for x in "qv":
            out[f"visual_encoder.blocks.{i}.attn.{x}_bias"] = state[f"vision.blocks.{i}.attention.{x}.bias"]
    out["Qformer.cls.predictions.decoder.weight"] = state["qformer.embedding.weight"]
    out["Qformer.cls.predictions.decoder.bias"] = state["caption_head.bias"]
    out["Qformer.bert.embeddings.position_ids"] = torch.arange(20)[None]
    return out


def captioning() -> Blip2Matcher:
    read = maps.read_matcher_config(raw(matcher()))
    network = randomized(
        Blip2Matcher(Blip2MatcherConfig(read.vision, read.qformer, read.shared, caption=True))
    )
    assert isinstance(network, Blip2Matcher)
    for name, parameter in network.named_parameters():
        if name.startswith("vision") and name.endswith("attention.k.bias"):
            parameter.data.zero_()  # as in the authors' network, which has none
    return network


def test_the_authors_files_give_the_same_network() -> None:
    network = captioning()
    fresh = Blip2Matcher(network.config)
    expected = {key: value.shape for key, value in fresh.state_dict().items()}
    given = maps.with_whole_biases(as_lavis(network).items())
    found = renamed(given, maps.MATCHER_RULES, expected)
    for key, value in network.state_dict().items():
        assert torch.equal(found[key], value), key
    lone = {"visual_encoder.blocks.0.attn.q_bias": torch.zeros(24)}
    with pytest.raises(CheckpointError, match="without their other half: visual_encoder"):
        list(maps.with_whole_biases(lone.items()))


@torch.no_grad()
def test_captions_are_scored_as_bert_does() -> None:
    from transformers.models.bert.modeling_bert import BertLMPredictionHead

    network = captioning()
    assert network.caption_head is not None
    assert network.qformer.embedding is not None
    config = transformers.BertConfig(vocab_size=50, hidden_size=32, layer_norm_eps=1e-12)
    theirs = BertLMPredictionHead(config)
    head = network.caption_head
    theirs.transform.dense.load_state_dict(head.dense.state_dict())
    theirs.transform.LayerNorm.load_state_dict(head.norm.state_dict())
    theirs.decoder.weight.copy_(network.qformer.embedding.weight)
    theirs.decoder.bias.copy_(head.bias)
    ids, _ = padded_ids(50)
    read = network.qformer(network.vision.tokens(pixels()), ids, causal=True)[:, QUERIES:]
    assert relative(network.caption(pixels(), ids), theirs(read)) < 1e-5
