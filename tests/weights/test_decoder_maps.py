"""Decoders on disk: every layout gives the same network, and what we write is what transformers reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from sensorium.errors import CheckpointError
from sensorium.models.decoder import Decoder, DecoderConfig, LearnedPositions
from sensorium.nn.rotary import LinearScaling, Llama3Scaling, RotaryConfig, YarnScaling
from sensorium.weights.files import find
from sensorium.weights.load import FAMILIES, build, empty
from sensorium.weights.maps.decoder import read_config
from sensorium.weights.rules import original, renamed
from sensorium.weights.save import export
from tiny_decoders import LLAMA3, MAKERS, ids, ours, reference, relative

State = dict[str, Tensor]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORIUM_HOME", str(tmp_path / "home"))


def saved(kind: str, folder: Path) -> Any:
    """The reference network, and its folder as transformers writes it."""
    network = reference(kind)
    network.save_pretrained(folder)
    return network


def rewritten(folder: Path, other: Path, state: State, name: str = "model.safetensors") -> Path:
    """The same config beside other weights."""
    other.mkdir()
    (other / "config.json").write_bytes((folder / "config.json").read_bytes())
    state = {key: tensor.clone() for key, tensor in state.items()}
    if name.endswith(".safetensors"):
        save_file(state, other / name)
    else:
        torch.save(state, other / name)
    return other


def logits(network: Any, tokens: Tensor) -> Tensor:
    with torch.no_grad():
        hidden, _ = network(network.embed(tokens))
        out: Tensor = network.logits(hidden)
        return out


LOADED = [kind for kind in MAKERS if kind != "mistral"]  # read inside larger models only


@pytest.mark.parametrize("kind", LOADED)
def test_a_folder_of_transformers_goes_in_and_comes_out(kind: str, tmp_path: Path) -> None:
    theirs = saved(kind, tmp_path / "today")
    files = find(tmp_path / "today")
    decoder = build(files)
    with torch.no_grad():
        expected = theirs(ids(2, 9)).logits
    assert relative(logits(decoder, ids(2, 9)), expected) < 1e-5
    export(decoder, files, tmp_path / "out")
    again = build(find(tmp_path / "out"))
    assert again.config == decoder.config
    for key, tensor in decoder.state_dict().items():
        assert torch.equal(again.state_dict()[key], tensor), key
    today, out = (load_file(tmp_path / name / "model.safetensors") for name in ("today", "out"))
    assert {key: tensor.shape for key, tensor in out.items()} == {k: t.shape for k, t in today.items()}


@pytest.mark.parametrize("kind", LOADED)
def test_transformers_reads_what_we_write(kind: str, tmp_path: Path) -> None:
    """Weights and a config of our own writing."""
    theirs = saved(kind, tmp_path / "today")
    decoder = build(find(tmp_path / "today"))
    family = FAMILIES[find(tmp_path / "today").family]
    folder = rewritten(tmp_path / "today", tmp_path / "out", original(decoder.state_dict(), family.rules))
    (folder / "config.json").write_text(json.dumps(family.write_config(decoder.config)))
    again = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    with torch.no_grad():
        assert relative(again(ids(1, 9)).logits, theirs(ids(1, 9)).logits) < 1e-6


def with_head(state: State) -> State:
    table = next(tensor for key, tensor in state.items() if key.endswith("embed_tokens.weight"))
    return state | {"lm_head.weight": table}


def bare(state: State) -> State:
    return {key.removeprefix("model."): tensor for key, tensor in state.items()}


def buffers(state: State) -> State:
    return state | {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.ones(5) for i in range(3)}


def interleaved(weight: Tensor, head_dim: int) -> Tensor:
    """Rows in Meta's order, one by one: the halves of each head alternate."""
    rows = []
    for start in range(0, len(weight), head_dim):
        for i in range(head_dim // 2):
            rows += [weight[start + i], weight[start + head_dim // 2 + i]]
    return torch.stack(rows)


def meta(state: State, head_dim: int) -> State:
    names = {
        "input_layernorm": "attention_norm",
        "self_attn.q_proj": "attention.wq",
        "self_attn.k_proj": "attention.wk",
        "self_attn.v_proj": "attention.wv",
        "self_attn.o_proj": "attention.wo",
        "post_attention_layernorm": "ffn_norm",
        "mlp.gate_proj": "feed_forward.w1",
        "mlp.down_proj": "feed_forward.w2",
        "mlp.up_proj": "feed_forward.w3",
    }
    out = {
        "tok_embeddings.weight": state["model.embed_tokens.weight"],
        "norm.weight": state["model.norm.weight"],
        "rope.freqs": torch.ones(head_dim // 2),
    }
    out["output.weight"] = state.get("lm_head.weight", out["tok_embeddings.weight"])
    for i in range(3):
        for theirs, original_name in names.items():
            tensor = state[f"model.layers.{i}.{theirs}.weight"]
            if theirs.endswith(("q_proj", "k_proj")):
                tensor = interleaved(tensor, head_dim)
            out[f"layers.{i}.{original_name}.weight"] = tensor
    return out


def first_opt(state: State) -> State:
    return {key.removeprefix("model."): tensor for key, tensor in state.items()}


LAYOUTS: list[tuple[str, str, Callable[[State], State], str]] = [
    ("llama", "old buffers", buffers, "model.safetensors"),
    ("llama", "meta", lambda state: meta(state, 10), "consolidated.00.pth"),
    ("llama wide heads", "meta", lambda state: meta(state, 16), "consolidated.00.pth"),
    ("llama3", "meta", lambda state: meta(state, 10), "consolidated.00.pth"),
    ("llama3", "head beside its table", with_head, "pytorch_model.bin"),
    ("llama3", "bare", bare, "model.safetensors"),
    ("qwen2 tied", "head beside its table", with_head, "model.safetensors"),
    ("qwen2 tied", "bare", bare, "model.safetensors"),
    ("opt", "head beside its table", with_head, "pytorch_model.bin"),
    ("opt", "first files", first_opt, "pytorch_model.bin"),
    ("opt 350m", "first files", first_opt, "pytorch_model.bin"),
    ("opt untied", "first files", first_opt, "pytorch_model.bin"),
]


@pytest.mark.parametrize(
    ("kind", "name", "layout", "file"), LAYOUTS, ids=[f"{kind} {name}" for kind, name, _, _ in LAYOUTS]
)
def test_every_layout_gives_the_same_network(
    kind: str, name: str, layout: Callable[[State], State], file: str, tmp_path: Path
) -> None:
    saved(kind, tmp_path / "today")
    expected = build(find(tmp_path / "today")).state_dict()
    state = layout(load_file(tmp_path / "today" / "model.safetensors"))
    found = build(find(rewritten(tmp_path / "today", tmp_path / "other", state, file))).state_dict()
    assert list(found) == list(expected)
    for key, tensor in expected.items():
        assert torch.equal(found[key], tensor), key


def test_a_tied_network_has_one_table_whatever_the_file_holds(tmp_path: Path) -> None:
    """The word vectors' own name counts, before or after the head's copy."""
    saved("llama3", tmp_path / "today")
    state = load_file(tmp_path / "today" / "model.safetensors")
    table = state.pop("model.embed_tokens.weight")
    for order, name in enumerate(("lm_head.weight", "model.embed_tokens.weight")):
        pair = {"lm_head.weight": table + 1, "model.embed_tokens.weight": table}
        first = {name: pair.pop(name)}
        folder = rewritten(
            tmp_path / "today", tmp_path / str(order), first | pair | state, "pytorch_model.bin"
        )
        network = build(find(folder))
        assert "head.weight" not in network.state_dict()
        assert torch.equal(network.state_dict()["embedding.weight"], table)
    folder = rewritten(tmp_path / "today", tmp_path / "head alone", {"lm_head.weight": table} | state)
    assert torch.equal(build(find(folder)).state_dict()["embedding.weight"], table)


def test_an_untied_head_must_be_there(tmp_path: Path) -> None:
    saved("llama", tmp_path / "today")
    state = load_file(tmp_path / "today" / "model.safetensors")
    del state["lm_head.weight"]
    with pytest.raises(CheckpointError, match=r"1 missing: head\.weight"):
        build(find(rewritten(tmp_path / "today", tmp_path / "other", state)))


def test_rows_that_make_no_heads_are_named(tmp_path: Path) -> None:
    saved("llama", tmp_path / "today")
    state = meta(load_file(tmp_path / "today" / "model.safetensors"), 10)
    state["layers.1.attention.wk.weight"] = torch.ones(13, 40)
    other = rewritten(tmp_path / "today", tmp_path / "other", state, "consolidated.00.pth")
    with pytest.raises(CheckpointError, match=r"wk\.weight has no heads of 10 rows"):
        build(find(other))


def test_a_decoder_sees_no_pictures(tmp_path: Path) -> None:
    saved("qwen2", tmp_path / "words")
    files = find(tmp_path / "words")
    assert (files.family, files.pictures, files.text) == ("qwen2", None, None)
    with pytest.raises(CheckpointError, match="words neither compares nor cuts pictures"):
        _ = files.image


def llama_raw(**change: Any) -> dict[str, Any]:
    return {"model_type": "llama", "hidden_size": 40, "num_attention_heads": 4, **change}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "rope_type 'dynamic'"),
        ({"rope_scaling": {"type": "longrope"}}, "rope_type 'longrope'"),
        ({"rope_scaling": {"rope_type": "linear"}}, "no 'factor' in rope_scaling"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"rope_scaling": {"mrope_section": [1, 1, 1]}}, "do not add up to 5 pairs"),
        ({"rope_scaling": {"mrope_section": [1, 2, 2], "mrope_interleaved": True}}, "mrope_interleaved"),
        ({"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
        ({"num_key_value_heads": 3}, "not a multiple of 3 kv_heads"),
        ({"model_type": "qwen2", "use_sliding_window": True}, "use_sliding_window"),
        ({"model_type": "mistral"}, "sliding_window = 4096"),
        ({"model_type": "opt", "layer_norm_elementwise_affine": False}, "layer_norm_elementwise_affine"),
        ({"model_type": "gpt2"}, "model_type 'gpt2'"),
    ],
)
def test_what_a_network_cannot_do_is_refused_in_one_line(change: dict[str, Any], said: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        read_config(llama_raw(**change))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_both_styles_of_stating_positions_are_read() -> None:
    old = llama_raw(rope_theta=5e5, rope_scaling={k: v for k, v in LLAMA3.items() if k != "rope_type"})
    old["rope_scaling"]["type"] = "llama3"
    new = llama_raw(rope_parameters={**LLAMA3, "rope_theta": 5e5})
    assert read_config(old) == read_config(new)
    assert read_config(old).positions == RotaryConfig(10, 5e5, Llama3Scaling(8.0, 1.0, 4.0, 64), None)
    hub = {"type": "mrope", "mrope_section": [1, 2, 2]}
    today = {"rope_type": "default", "mrope_section": [1, 2, 2]}
    assert read_config(llama_raw(rope_scaling=hub)) == read_config(llama_raw(rope_parameters=today))


def test_a_decoder_of_one_family_is_no_other() -> None:
    llama, qwen, opt = (ours(reference(kind)).config for kind in ("llama", "qwen2", "opt"))
    for family, config in (
        ("llama", qwen), ("llama", opt), ("qwen2", llama), ("qwen2", opt), ("opt", llama), ("opt", qwen)
    ):  # fmt: skip
        with pytest.raises(CheckpointError):
            FAMILIES[family].write_config(config)


scalings = st.sampled_from(
    [
        None,
        LinearScaling(4.0),
        Llama3Scaling(32.0, 1.0, 4.0, 8192),
        YarnScaling(4.0, 32.0, 1.0, 64, 1.1, True),
    ]
)


@st.composite
def configs(draw: st.DrawFn, kind: str) -> DecoderConfig:
    small, flag = st.integers(1, 8), st.booleans()
    kv, group, half, vocabulary, depth, mlp = (draw(small) for _ in range(6))
    heads, length = kv * group, draw(st.integers(1, 9999))
    opt, qwen = kind == "opt", kind == "qwen2"
    bias, first = draw(flag), draw(flag) if opt else True
    width = heads * 2 * half if opt or not draw(flag) else heads * 6
    return DecoderConfig(
        vocabulary=vocabulary,
        width=width,
        depth=depth,
        heads=heads,
        kv_heads=heads if opt else kv,
        head_dim=2 * half,
        mlp_width=mlp,
        mlp=draw(st.sampled_from(["relu", "gelu"])) if opt else "swiglu",
        norm="layer" if opt else "rms",
        norm_eps=1e-5 if opt else draw(st.sampled_from([1e-5, 1e-6])),
        norm_first=first,
        final_norm=first and (draw(flag) if opt else True),
        qkv_bias=True if qwen else bias,
        out_bias=False if qwen else bias,
        mlp_bias=False if qwen else bias if opt else draw(flag),
        positions=LearnedPositions(length, 2)
        if opt
        else RotaryConfig(2 * half, draw(st.sampled_from([1e4, 1e6])), draw(scalings), None),
        context_length=length,
        word_width=draw(st.sampled_from([width, 3])) if opt else width,
        tied=draw(flag),
    )


@settings(max_examples=60, deadline=None)
@given(configs("llama"), configs("qwen2"), configs("opt"))
def test_configs_survive(llama: DecoderConfig, qwen2: DecoderConfig, opt: DecoderConfig) -> None:
    for family, config in (("llama", llama), ("qwen2", qwen2), ("opt", opt)):
        raw = json.loads(json.dumps(FAMILIES[family].write_config(config)))
        assert FAMILIES[family].read_config(raw) == config


def sizes(kind: str, vocabulary: int, width: int, depth: int, heads: int, **other: Any) -> dict[str, Any]:
    counts = {"vocab_size": vocabulary, "hidden_size": width, "num_hidden_layers": depth}
    return {"model_type": kind, **counts, "num_attention_heads": heads, **other}


def rotary_sizes(
    kind: str, counts: tuple[int, int, int, int], kv: int, mlp: int, **other: Any
) -> dict[str, Any]:
    return sizes(kind, *counts, num_key_value_heads=kv, intermediate_size=mlp, **other)


# As the hub's config.json files state them, reduced to what decides about shapes or numbers.
CHECKPOINTS: dict[str, tuple[dict[str, Any], int]] = {
    "meta-llama/Llama-3.2-1B": (
        rotary_sizes(
            "llama", (128256, 2048, 16, 32), 8, 8192, head_dim=64, rope_theta=5e5, rms_norm_eps=1e-5,
            rope_scaling={**LLAMA3, "factor": 32.0, "original_max_position_embeddings": 8192},
            tie_word_embeddings=True, max_position_embeddings=131072,
        ),
        1_235_814_400,
    ),
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": (
        rotary_sizes("llama", (32000, 2048, 22, 32), 4, 5632, rms_norm_eps=1e-5),
        1_100_048_384,
    ),
    "HuggingFaceTB/SmolLM2-135M": (
        rotary_sizes("llama", (49152, 576, 30, 9), 3, 1536, rope_theta=1e5, tie_word_embeddings=True),
        134_515_008,
    ),
    "Qwen/Qwen2.5-0.5B-Instruct": (
        rotary_sizes("qwen2", (151936, 896, 24, 14), 2, 4864, rope_theta=1e6, tie_word_embeddings=True),
        494_032_768,
    ),
    "Qwen/Qwen2.5-1.5B-Instruct": (
        rotary_sizes("qwen2", (151936, 1536, 28, 12), 2, 8960, rope_theta=1e6, tie_word_embeddings=True),
        1_543_714_304,
    ),
    "Qwen/Qwen2.5-7B-Instruct": (
        rotary_sizes("qwen2", (152064, 3584, 28, 28), 4, 18944, rope_theta=1e6),
        7_615_616_512,
    ),
    "facebook/opt-125m": (sizes("opt", 50272, 768, 12, 12, ffn_dim=3072), 125_239_296),
    "facebook/opt-350m": (
        sizes("opt", 50272, 1024, 24, 16, ffn_dim=4096, word_embed_proj_dim=512, do_layer_norm_before=False),
        331_196_416,
    ),
    "facebook/opt-1.3b": (sizes("opt", 50272, 2048, 24, 32, ffn_dim=8192), 1_315_758_080),
    "facebook/opt-2.7b": (sizes("opt", 50272, 2560, 32, 32, ffn_dim=10240), 2_651_596_800),
}  # fmt: skip


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_keys_and_shapes_at_full_size_are_the_references(name: str) -> None:
    raw, parameters = CHECKPOINTS[name]
    family = FAMILIES[raw["model_type"]]
    network = empty(family, family.read_config(raw))
    assert isinstance(network, Decoder)
    config = transformers.AutoConfig.for_model(**raw)
    with torch.device("meta"):
        theirs = transformers.AutoModelForCausalLM.from_config(config).state_dict()
    if raw.get("tie_word_embeddings", raw["model_type"] == "opt"):
        del theirs["lm_head.weight"]  # as save_pretrained does
    expected = {key: tensor.shape for key, tensor in network.state_dict().items()}
    filled = renamed(theirs.items(), family.rules, expected)
    assert {key: tensor.shape for key, tensor in filled.items()} == expected
    written = original(network.state_dict(), family.rules)
    assert {k: t.shape for k, t in written.items()} == {k: t.shape for k, t in theirs.items()}
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
