"""The dual encoders by themselves: exactness of the short text, pooling, and export to a graph."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from sensorium.models.bert import BertConfig
from sensorium.models.clip import Clip, ClipConfig, ClipTextConfig
from sensorium.models.vit import VitConfig

END = 98
VISION = VitConfig(
    image_size=(24, 24),
    patch=8,
    channels=3,
    width=16,
    depth=2,
    heads=2,
    mlp_width=24,
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
TEXT = ClipTextConfig(
    vocabulary=99,
    context_length=16,
    width=12,
    depth=3,
    heads=2,
    mlp_width=20,
    activation="quick_gelu",
    norm_eps=1e-5,
    causal=True,
    pool="eos",
    eos_id=END,
)
OPENAI = ClipConfig(
    vision=VISION,
    text=TEXT,
    embed_dim=10,
    image_projection=True,
    text_projection_bias=False,
    logit_bias=False,
)
SIGLIP = ClipConfig(
    vision=replace(
        VISION, class_token=False, class_position=False, pre_norm=False, pool="map", patch_bias=True
    ),
    text=replace(TEXT, causal=False, pool="last", activation="gelu_tanh"),
    embed_dim=16,
    image_projection=False,
    text_projection_bias=True,
    logit_bias=True,
)
CHINESE = replace(OPENAI, text=BertConfig(99, 16, 2, 12, 3, 2, 20, "gelu", 1e-12))
CONFIGS = {"openai": OPENAI, "siglip": SIGLIP, "chinese": CHINESE}


def network(config: ClipConfig) -> Clip:
    torch.manual_seed(0)
    clip = Clip(config)
    for parameter in clip.parameters():
        if parameter.ndim:
            parameter.data = torch.randn_like(parameter) * 0.3
    return clip.eval()


def sentence(*ids: int) -> tuple[Tensor, Tensor]:
    row = torch.tensor([ids])
    return row, torch.ones_like(row)


@pytest.mark.parametrize("pool", ["eos", "highest"])
@pytest.mark.parametrize("pads", [[], [0], [END, END], [0] * 12])
def test_what_follows_the_end_changes_nothing(pool: str, pads: list[int]) -> None:
    clip = network(replace(OPENAI, text=replace(TEXT, pool=pool)))
    with torch.no_grad():
        short = clip.encode_text(*sentence(5, 7, END))
        torch.testing.assert_close(clip.encode_text(*sentence(5, 7, END, *pads)), short)
        other = clip.encode_text(*sentence(5, 8, END, *pads))
    assert not torch.allclose(other, short, atol=1e-3)


def test_rows_of_unequal_length_share_a_batch() -> None:
    clip = network(OPENAI)
    rows = [[5, 7, END, 0, 0, 0], [3, 4, 5, 6, 7, END], [END, 0, 0, 0, 0, 0]]
    ids = torch.tensor(rows)
    with torch.no_grad():
        together = clip.encode_text(ids, torch.ones_like(ids))
        for index, row in enumerate(rows):
            alone = clip.encode_text(*sentence(*row[: row.index(END) + 1]))
            torch.testing.assert_close(together[index : index + 1], alone)


def test_pooling_places() -> None:
    ids = torch.tensor([[9, END, 4, END], [97, 2, END, 0]])
    for pool, expected in (("eos", [1, 2]), ("highest", [1, 2]), ("last", [3, 3])):
        text = network(replace(OPENAI, text=replace(TEXT, pool=pool))).text
        assert text.place(ids).tolist() == expected  # type: ignore[union-attr, operator]
    # an end id that is not the highest: only the newer rule finds it
    lower = network(replace(OPENAI, text=replace(TEXT, eos_id=50))).text
    assert lower.place(torch.tensor([[9, 50, 98, 50]])).tolist() == [1]  # type: ignore[union-attr, operator]


def test_siglip_reads_its_pads_and_bert_does_not() -> None:
    """So SigLIP needs its 64 tokens, whatever the mask says; BERT needs the mask."""
    siglip, chinese = network(SIGLIP), network(CHINESE)
    short, long = torch.tensor([[5, 7, 1]]), torch.tensor([[5, 7, 1, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 0, 0]])
    with torch.no_grad():
        a = siglip.encode_text(short, torch.ones_like(short))
        assert not torch.allclose(a, siglip.encode_text(long, mask), atol=1e-3)
        b = chinese.encode_text(short, torch.ones_like(short))
        torch.testing.assert_close(chinese.encode_text(long, mask), b)
        assert not torch.allclose(b, chinese.encode_text(long, torch.ones_like(long)), atol=1e-3)


@pytest.mark.parametrize("name", CONFIGS)
def test_similarity_is_scaled_cosine_plus_bias(name: str) -> None:
    clip = network(CONFIGS[name])
    image, text = torch.randn(3, clip.config.embed_dim), torch.randn(2, clip.config.embed_dim)
    cosine = torch.nn.functional.cosine_similarity(image[:, None], text[None], dim=-1)
    bias = float(clip.logit_bias.detach()) if clip.logit_bias is not None else 0.0
    with torch.no_grad():
        expected = cosine * float(clip.logit_scale.exp()) + bias
        torch.testing.assert_close(clip.similarity(image, text), expected)
        torch.testing.assert_close(clip.similarity(3 * image, 5 * text), expected)
    assert (clip.logit_bias is None) == (name != "siglip")


class Tower(nn.Module):
    """One method as a module, as the runtime exports it."""

    def __init__(self, clip: Clip, method: str) -> None:
        super().__init__()
        self.clip, self.method = clip, method

    def forward(self, *inputs: Tensor) -> Tensor:
        out: Tensor = getattr(self.clip, self.method)(*inputs)
        return out


def words(batch: int, length: int) -> tuple[Tensor, Tensor]:
    ids = torch.randint(1, 90, (batch, length))
    ids[:, -1] = END
    mask = torch.ones_like(ids)
    if length > 3:
        ids[0, 2], mask[0, 3:] = END, 0
    return ids, mask


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_one_exported_graph_serves_any_batch_and_length(name: str) -> None:
    clip = network(CONFIGS[name])
    batch, length = torch.export.Dim("batch", min=1, max=64), torch.export.Dim("length", min=2, max=16)
    with torch.no_grad():
        text = torch.export.export(
            Tower(clip, "encode_text"),
            words(2, 7),
            dynamic_shapes={"inputs": ({0: batch, 1: length}, {0: batch, 1: length})},
        ).module()
        image = torch.export.export(
            Tower(clip, "encode_image"),
            (torch.randn(2, 3, 24, 24),),
            dynamic_shapes={"inputs": ({0: batch},)},
        ).module()
        for size, count in ((1, 2), (3, 16), (5, 9)):
            ids, mask = words(size, count)
            torch.testing.assert_close(text(ids, mask), clip.encode_text(ids, mask))
            pixels = torch.randn(size, 3, 24, 24)
            torch.testing.assert_close(image(pixels), clip.encode_image(pixels))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_one_trace_serves_any_batch_and_length(name: str) -> None:
    clip = network(CONFIGS[name])
    with torch.no_grad():
        text = torch.jit.trace(Tower(clip, "encode_text"), words(2, 7))  # type: ignore[no-untyped-call]
        image = torch.jit.trace(Tower(clip, "encode_image"), torch.randn(2, 3, 24, 24))  # type: ignore[no-untyped-call]
        for size, count in ((1, 2), (3, 16)):
            ids, mask = words(size, count)
            torch.testing.assert_close(text(ids, mask), clip.encode_text(ids, mask))
            pixels = torch.randn(size, 3, 24, 24)
            torch.testing.assert_close(image(pixels), clip.encode_image(pixels))


@pytest.mark.parametrize("name", CONFIGS)
def test_every_parameter_learns(name: str) -> None:
    clip = network(CONFIGS[name])
    ids, mask = words(2, 7)
    clip(torch.randn(2, 3, 24, 24), ids, mask).square().sum().backward()
    for key, parameter in clip.named_parameters():
        assert parameter.grad is not None, key
