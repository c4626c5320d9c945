"""Qwen2.5-VL against transformers: pictures of odd sizes, films, padding; the same numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from sensorium.models.qwen_vl.qwen_vl import Film, QwenVl, positions_of, tokens_of
from sensorium.models.qwen_vl.vision import Grid, QwenVisionConfig, VisionBlock, window_order
from sensorium.weights.maps import qwen_vl as maps
from sensorium.weights.rules import original, renamed
from tiny_decoders import randomized, relative

IMAGE, VIDEO, START, END = 90, 91, 92, 93
VISION: dict[str, Any] = {
    "depth": 3,
    "hidden_size": 32,
    "intermediate_size": 44,
    "num_heads": 2,
    "patch_size": 4,
    "window_size": 16,  # windows of 2 x 2 merged tokens
    "out_hidden_size": 40,
    "fullatt_block_indexes": [1],
    "tokens_per_second": 2,
}
TEXT: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 40,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 256,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 4, 4]},
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def reference(*, tied: bool = False) -> Any:
    config = transformers.Qwen2_5_VLConfig(
        vision_config=VISION,
        text_config={**TEXT, "tie_word_embeddings": tied},
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        vision_start_token_id=START,
        vision_end_token_id=END,
        tie_word_embeddings=tied,
    )
    return randomized(transformers.Qwen2_5_VLForConditionalGeneration(config))


def raw(theirs: Any) -> dict[str, Any]:
    return dict(json.loads(theirs.config.to_json_string(use_diff=False)))


def filled(theirs: Any, state: dict[str, Tensor] | None = None) -> QwenVl:
    network = QwenVl(maps.read_config(raw(theirs)))
    given_ = {key: value.clone() for key, value in (state or theirs.state_dict()).items()}
    expected = {key: value.shape for key, value in network.state_dict().items()}
    network.load_state_dict(renamed(given_.items(), maps.RULES, expected))
    return network.eval()


def patches(grids: list[Grid], seed: int = 5) -> Tensor:
    count = sum(t * h * w for t, h, w in grids)
    return torch.randn(count, 3 * 2 * 16, generator=torch.Generator().manual_seed(seed))


def shown(token: int, count: int) -> list[int]:
    return [START, *[token] * count, END]


@pytest.mark.parametrize(
    "grids",
    [[(1, 4, 4)], [(1, 2, 2)], [(1, 8, 8)], [(1, 6, 10), (1, 2, 14)], [(3, 4, 6)], [(2, 10, 2), (1, 12, 4)]],
)
@torch.no_grad()
def test_the_tower_sees_what_the_reference_sees(grids: list[Grid]) -> None:
    theirs = reference()
    ours = filled(theirs)
    expected = theirs.model.visual(patches(grids), torch.tensor(grids)).pooler_output
    assert relative(ours.vision(patches(grids), grids), expected) < 1e-5


@torch.no_grad()
def test_company_changes_nothing() -> None:
    network = filled(reference())
    grids: list[Grid] = [(1, 6, 10), (1, 4, 4), (2, 2, 6)]
    packed = network.see(patches(grids), grids)
    start = 0
    for grid, tokens in zip(grids, packed, strict=True):
        count = grid[0] * grid[1] * grid[2]
        [alone] = network.see(patches(grids)[start : start + count], [grid])
        assert relative(tokens, alone) < 1e-5
        start += count


@pytest.mark.parametrize("side", ["left", "right", None])
@torch.no_grad()
def test_pictures_and_films_among_words(side: str | None) -> None:
    theirs = reference()
    ours = filled(theirs)
    pictures: list[Grid] = [(1, 4, 6), (1, 2, 8)]
    film: Grid = (3, 4, 4)
    first = [5, *shown(IMAGE, 6), 7, 8, *shown(VIDEO, 12), 9]
    second = [11, 12, *shown(IMAGE, 4), 13]
    rows = [first, second] if side else [first]
    longest = max(map(len, rows))
    ids, mask = torch.zeros(len(rows), longest, dtype=torch.long), torch.zeros(len(rows), longest)
    for row, text in enumerate(rows):
        at = slice(longest - len(text), None) if side == "left" else slice(0, len(text))
        ids[row, at], mask[row, at] = torch.tensor(text), 1
    grids = pictures[: len(rows)]
    expected = theirs(
        input_ids=ids,
        attention_mask=mask.long(),
        pixel_values=patches(grids),
        image_grid_thw=torch.tensor(grids),
        pixel_values_videos=patches([film], 6),
        video_grid_thw=torch.tensor([film]),
        second_per_grid_ts=torch.tensor([1.5]),
        mm_token_type_ids=(ids == IMAGE).int() + 2 * (ids == VIDEO).int(),
    ).logits
    positions = torch.zeros(3, *ids.shape, dtype=torch.long)
    for row, text in enumerate(rows):
        found, _ = positions_of(
            ours.config,
            text,
            grids[row : row + 1],
            [Film(film, 1.5)] if row == 0 else [],
            after_film="space",
        )
        positions[:, row, mask[row] != 0] = found
    embeds = ours.prompt(ids, ours.see(patches(grids), grids), ours.see(patches([film], 6), [film]))
    hidden, _ = ours.decoder(embeds, positions, mask=mask != 0)
    real = mask != 0
    assert relative(ours.decoder.logits(hidden)[real], expected[real]) < 1e-5


@pytest.mark.parametrize("token", [IMAGE, VIDEO])
@torch.no_grad()
def test_it_writes_the_same_32_tokens(token: int) -> None:
    """Behind a film, too, whose seconds reach further than its rows and columns."""
    theirs = reference(tied=True)
    ours = filled(theirs)
    grid: Grid = (1, 6, 4) if token == IMAGE else (6, 2, 2)
    text = [5, *shown(token, 6), 7]
    kind = "image" if token == IMAGE else "video"
    values = "pixel_values" if token == IMAGE else "pixel_values_videos"
    told = theirs.generate(
        input_ids=torch.tensor([text]),
        attention_mask=torch.ones(1, len(text), dtype=torch.long),
        **{values: patches([grid]), f"{kind}_grid_thw": torch.tensor([grid])},
        **({} if token == IMAGE else {"second_per_grid_ts": torch.tensor([1.5])}),
        mm_token_type_ids=(torch.tensor([text]) == token).int() * (1 if token == IMAGE else 2),
        max_new_tokens=32,
        min_new_tokens=32,
        do_sample=False,
    )[0, -32:]
    seen = ours.see(patches([grid]), [grid])
    pictures, films = (seen, []) if token == IMAGE else ([], seen)
    embeds = ours.prompt(torch.tensor([text]), pictures, films)
    grids, reels = ([grid], []) if token == IMAGE else ([], [Film(grid, 1.5)])
    positions, here = positions_of(ours.config, text, grids, reels, after_film="space")
    positions, cache, written = positions[:, None], None, []
    for _ in range(32):
        hidden, cache = ours.decoder(embeds, positions, cache=cache, last=1)
        scores = ours.decoder.logits(hidden)[0, -1]
        scores[2] = float("-inf")  # as min_new_tokens does
        written.append(int(scores.argmax()))
        embeds = ours.decoder.embed(torch.tensor([[written[-1]]]))
        positions, here = torch.full((3, 1, 1), here), here + 1
    assert written == told.tolist()


def test_words_behind_a_film_come_after_its_last_moment() -> None:
    """As in the authors' code: 2 + 5 pairs of frames of 1.5 seconds with 2 positions a second."""
    config = filled(reference()).config
    text = [5, *shown(VIDEO, 6), 7]
    positions, here = positions_of(config, text, [], [Film((6, 2, 2), 1.5)])
    assert positions[0].tolist() == [0, 1, 2, 5, 8, 11, 14, 17, 18, 19]
    assert positions[1].tolist() == [0, 1, *[2] * 6, 18, 19]
    assert here == 20


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=3))
def test_every_token_is_in_exactly_one_window(sizes: list[tuple[int, int, int]]) -> None:
    config = QwenVisionConfig(4, 2, 3, 2, 32, 1, 2, 44, 16, (), 40)
    grids = [(t, 2 * h, 2 * w) for t, h, w in sizes]
    order, counts = window_order(config, grids)
    assert sorted(order.tolist()) == list(range(sum(tokens_of(config, grid) for grid in grids)))
    assert sum(counts) == len(order)
    assert min(counts) > 0
    assert max(counts) <= config.window_tokens**2


@torch.no_grad()
def test_looks_are_those_that_it_answers_with() -> None:
    network = filled(reference())
    grid: Grid = (1, 4, 8)
    given_ = patches([grid])
    [look] = network.vision.looks(given_, grid)
    assert look.shape == (2, 32, 32)
    torch.testing.assert_close(look.sum(-1), torch.ones(2, 32))
    # the block's own output, recomputed from the look: in the order of the patches as given
    x, order, cosines, sines = network.vision._ordered(given_, [grid])
    whole, windows = network.vision._segments([grid], x.device)
    first, block = network.vision.blocks[0], network.vision.blocks[1]
    assert isinstance(block, VisionBlock)
    x = first(x, windows, cosines, sines)
    back = (order.argsort()[:, None] * 4 + torch.arange(4)).flatten()
    values = block.v(block.norm1(x)).unflatten(1, (2, -1)).transpose(0, 1)[:, back]
    read = (look @ values).transpose(0, 1).flatten(1)
    y = x[back] + block.out(read)
    torch.testing.assert_close(
        y + block.mlp(block.norm2(y)), block(x, whole, cosines, sines)[back], rtol=1e-4, atol=1e-4
    )


def test_counts_that_do_not_agree_are_refused() -> None:
    network = filled(reference())
    grid: Grid = (1, 4, 6)
    with pytest.raises(ValueError, match="do not fill"):
        network.see(patches([grid])[:-1], [grid])
    with pytest.raises(ValueError, match="no squares"):
        network.see(patches([(1, 3, 6)]), [(1, 3, 6)])
    seen = network.see(patches([grid]), [grid])
    with pytest.raises(ValueError, match=r"5 places .* 6 tokens"):
        network.prompt(torch.tensor([shown(IMAGE, 5)]), seen)
    with pytest.raises(ValueError, match="needs 6 places"):
        positions_of(network.config, shown(IMAGE, 5), [grid])
    with pytest.raises(ValueError, match="no picture"):
        positions_of(network.config, shown(IMAGE, 6), [])
    with pytest.raises(ValueError, match="no place"):
        positions_of(network.config, [1, 2], [grid])


@pytest.mark.parametrize("tied", [False, True])
def test_every_layout_gives_the_same_network(tied: bool, tmp_path: Path) -> None:
    theirs = reference(tied=tied)
    ours = filled(theirs)
    theirs.save_pretrained(tmp_path)
    hub = original(ours.state_dict(), maps.RULES)
    assert "visual.patch_embed.proj.weight" in hub
    assert "model.embed_tokens.weight" in hub
    for state in (load_file(tmp_path / "model.safetensors"), hub):
        again = filled(theirs, state).state_dict()
        for key, value in ours.state_dict().items():
            assert torch.equal(again[key], value), key
    config = maps.read_config(raw(theirs))
    assert maps.read_config(maps.write_config(config)) == config


def test_the_hubs_config_with_the_language_models_fields_on_top_is_read() -> None:
    flat = {
        "model_type": "qwen2_5_vl",
        **{key: value for key, value in TEXT.items() if key != "rope_parameters"},
        "rope_theta": 1e4,
        "rope_scaling": {"type": "mrope", "mrope_section": [2, 4, 4]},
        "vision_config": {**VISION, "in_chans": 3},
        "image_token_id": IMAGE,
        "video_token_id": VIDEO,
        "rms_norm_eps": 1e-5,
    }
    assert maps.read_config(flat) == maps.read_config(raw(reference()))
