"""Reading, writing and looking: ours against transformers' eager float32, in one process, in turns.

    python benchmarks/language_speed.py [--parts language clip qwen] [--weights w4 w8] [--rounds 5]

``language`` is a network of Qwen2-0.5B's shape: a prompt of 676 tokens (goal: at least 3 times) and then 64
tokens one by one (goal with 4-bit weights: at least 5 times), with the drift from float32 stated. ``clip`` is
a ViT-L/14 at 336 pixels, as LLaVA-1.5 has it, and ``qwen`` the tower of Qwen2.5-VL on 364 x 364 pixels (goal:
at least 3 times). Both sides have the same random weights, drawn as the library initialises them: time
depends on shapes, not on what was learned.
``--depth`` and ``--vision-depth`` try the script with fewer layers. ``--random-spread`` draws weights
that keep the signal's size instead.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel

from peer import describe_machine, interleaved
from sensorium.models.decoder import Decoder
from sensorium.models.qwen_vl.vision import QwenVision, QwenVisionConfig
from sensorium.models.vit import Vit, VitConfig
from sensorium.runtime.graph import accelerate
from sensorium.runtime.language import FastDecoder, measure
from sensorium.runtime.qwen_tower import FastQwenVision
from sensorium.weights.maps import decoder as layouts

PARTS = ("language", "clip", "qwen")
PROMPT, ANSWER = 676, 64
GRID = (1, 26, 26)


def main() -> None:
    """Measure the parts asked for, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--weights", nargs="+", default=["w4", "w8"], choices=["w4", "w8", "float32"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--depth", type=int, default=24)
    parser.add_argument("--vision-depth", type=int, default=None)
    parser.add_argument("--random-spread", action="store_true")
    options = parser.parse_args()
    print(describe_machine())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(int(os.environ.get("SENSORIUM_THREADS", cores)))
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as scratch, torch.inference_mode():
        os.environ.setdefault("SENSORIUM_HOME", scratch)
        if "language" in options.parts:
            language(options.weights, options.depth, options.rounds, spread=options.random_spread)
        if "clip" in options.parts:
            clip(options.vision_depth or 24, options.rounds)
        if "qwen" in options.parts:
            qwen(options.vision_depth or 32, options.rounds)
    if hasattr(os, "getloadavg"):
        print(f"load of the machine at the end: {os.getloadavg()[0]:.1f}")


def language(formats: list[Any], depth: int, rounds: int, *, spread: bool) -> None:
    """Prompt and answer of a Qwen2-0.5B."""
    config = transformers.Qwen2Config(
        vocab_size=151_936,
        hidden_size=896,
        num_hidden_layers=depth,
        num_attention_heads=14,
        num_key_value_heads=2,
        intermediate_size=4864,
        tie_word_embeddings=True,
        rope_theta=1e6,
    )
    peer = transformers.Qwen2ForCausalLM(config).eval()
    if spread:
        for name, parameter in peer.named_parameters():
            if parameter.ndim == 2 and "embed" not in name:
                parameter.normal_(std=parameter.shape[1] ** -0.5)
    own = same_decoder(peer, config)
    print(f"\na decoder of Qwen2-0.5B's shape, {depth} layers: {PROMPT} tokens read, {ANSWER} written")
    ids = torch.randint(config.vocab_size, (1, PROMPT))
    variants = {"transformers": peer_steps(peer, ids)}
    hidden, _ = own(own.embed(ids[:, :32]))
    theirs = peer(ids[:, :32]).logits
    print(
        f"  largest difference of our scores in torch: {float((own.logits(hidden) - theirs).abs().max()):.1e}"
    )
    for weights in formats:
        fast = FastDecoder(own, weights)
        print(f"  {weights}: {measure(own, fast, ids[:, :128]).describe()}")
        variants[weights] = own_steps(fast, ids)
    prompts = {name: read for name, (read, _) in variants.items()}
    answers = {name: write for name, (_, write) in variants.items()}
    report(f"prompt of {PROMPT} tokens", interleaved(prompts, rounds, 1), PROMPT, 3.0)
    report(f"answer of {ANSWER} tokens", interleaved(answers, rounds, 1), ANSWER, 5.0)


def same_decoder(peer: Any, config: Any) -> Decoder:
    """Our network with the peer's weights."""
    raw = config.to_dict() | {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}
    own = Decoder(layouts.read_config(raw)).eval()
    state = {key: value for key, value in peer.state_dict().items() if key != "lm_head.weight"}
    names = {
        "model.embed_tokens.": "embedding.",
        "model.norm.": "norm.",
        "model.layers.": "blocks.",
        ".input_layernorm.": ".norm1.",
        ".post_attention_layernorm.": ".norm2.",
        ".self_attn.o_proj.": ".attention.out.",
        ".self_attn.": ".attention.",
        "_proj.": ".",
    }
    renamed = {}
    for key, value in state.items():
        for theirs, ours in names.items():
            key = key.replace(theirs, ours)
        renamed[key] = value
    own.load_state_dict(renamed)
    return own


def peer_steps(peer: Any, ids: Tensor) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Reading the prompt, and writing behind it, as transformers' own loop calls the network."""

    def read() -> Any:
        return peer(ids, use_cache=True, logits_to_keep=1)

    memory = read().past_key_values

    def write() -> None:
        token = ids[:, :1]
        for _ in range(ANSWER):
            token = peer(token, past_key_values=memory, use_cache=True).logits[:, -1:].argmax(-1)
        memory.crop(-ANSWER)

    return read, write


def own_steps(fast: FastDecoder, ids: Tensor) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The same with ours."""

    def read() -> Any:
        hidden, cache = fast(fast.embed(ids), last=1)
        fast.logits(hidden)
        return cache

    memory = read()

    def write() -> None:
        token, cache = ids[:, :1], memory
        for _ in range(ANSWER):
            hidden, cache = fast(fast.embed(token), cache=cache)
            token = fast.logits(hidden).argmax(-1)

    return read, write


class Features(torch.nn.Module):
    """All tokens of a tower after its last block but one, as LLaVA reads them."""

    def __init__(self, tower: Vit) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels ``[b, 3, 336, 336] -> [b, 577, 1024]``."""
        return self.tower.hidden(pixels, [self.tower.config.depth - 1])[0]


def clip(depth: int, rounds: int) -> None:
    """The tower of LLaVA-1.5, to the layer that it reads."""
    shape = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "image_size": 336}
    config = transformers.CLIPVisionConfig(**shape, patch_size=14, num_hidden_layers=depth)
    peer = transformers.CLIPVisionModel(config).eval()
    own = Features(
        Vit(
            VitConfig(
                image_size=(336, 336),
                patch=14,
                channels=3,
                width=1024,
                depth=depth,
                heads=16,
                mlp_width=4096,
                activation="quick_gelu",
                norm_eps=1e-5,
                class_token=True,
                class_position=True,
                registers=0,
                patch_bias=False,
                qkv_bias=True,
                pre_norm=True,
                pool="class",
                position_antialias=False,
            )
        )
    ).eval()
    print(f"\na CLIP ViT-L/14 at 336 pixels, {depth} blocks")
    pixels = [torch.randn(1, 3, 336, 336) for _ in range(2)]
    graph = accelerate(own, [(one.numpy(),) for one in pixels], key="clip-l-336", dynamic=[(0,)])
    print(f"  {graph.reason}")
    array = pixels[0].numpy()
    variants = {
        "transformers": lambda: peer(pixels[0], output_hidden_states=True).hidden_states[-2],
        graph.engine: lambda: graph(array),
    }
    report("one picture", interleaved(variants, rounds, 1), 1, 3.0)


def qwen(depth: int, rounds: int) -> None:
    """The tower of Qwen2.5-VL."""
    full = tuple(range(7, depth, 8))
    config = transformers.models.qwen2_5_vl.configuration_qwen2_5_vl.Qwen2_5_VLVisionConfig(
        depth=depth,
        hidden_size=1280,
        intermediate_size=3420,
        num_heads=16,
        out_hidden_size=2048,
        fullatt_block_indexes=list(full),
    )
    peer = Qwen2_5_VisionTransformerPretrainedModel(config).eval()
    own = QwenVision(
        QwenVisionConfig(
            patch=14,
            frames=2,
            channels=3,
            merge=2,
            width=1280,
            depth=depth,
            heads=16,
            mlp_width=3420,
            window=112,
            full_blocks=full,
            out_width=2048,
        )
    ).eval()
    print(f"\nthe tower of Qwen2.5-VL, {depth} blocks, {GRID[1] * GRID[2]} patches")
    fast = FastQwenVision(own, key="qwen-tower")
    print(f"  {fast.graph.reason}")
    patches, grid = torch.randn(GRID[1] * GRID[2], 1176), torch.tensor([GRID])
    variants = {
        "transformers": lambda: peer(patches, grid_thw=grid),
        fast.graph.engine: lambda: fast(patches, [GRID]),
    }
    report("one picture", interleaved(variants, rounds, 1), 1, 3.0)


def report(title: str, seconds: dict[str, list[float]], items: int, goal: float) -> None:
    """Items a second of each variant, and how many times the peer's that is."""
    base = statistics.median(seconds["transformers"])
    print(f"  {title}")
    for name, values in seconds.items():
        median = statistics.median(values)
        line = f"    {name:16s} median {1000 * median:8.0f} ms, {items / median:8.1f} a second"
        if name != "transformers":
            word = "reached" if base / median >= goal else "NOT reached"
            line += f", {base / median:5.2f}x (goal at least {goal:g}: {word})"
        print(line, flush=True)


if __name__ == "__main__":
    main()
