"""The contrastive recipe: a tiny CLIP learns a dozen colours, and its data is read and cut as stated."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_clip import COLOURS, write_colour_pictures, write_tiny_clip

from sensorium.errors import SensoriumError
from sensorium.media.image import fit_image
from sensorium.media.text import Tokenizer
from sensorium.train.loop import Note, StepRecord
from sensorium.train.order import Place
from sensorium.train.pairs import PairLoader, read_pairs
from sensorium.train.recipes.contrastive import Config, recall, retrieval, run
from sensorium.weights.files import find
from sensorium.weights.load import build


def colour_config(folder: Path, **changes: object) -> Config:
    sigmoid = changes.pop("sigmoid", False)
    model = write_tiny_clip(folder / "model", sigmoid=bool(sigmoid))
    pairs = write_colour_pictures(folder / "data")
    config = Config(
        data=pairs,
        validation=pairs,
        out=folder / "run",
        model=str(model),
        batch=12,
        steps=60,
        lr=2e-3,
        decay=0.01,
        warmup=10,
        save_every=50,
        about="Made by the test.",
    )
    return replace(config, **changes)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("info_nce", {}),
        ("sigmoid", {"sigmoid": True, "fresh": True}),
        ("chunks and average", {"chunk": 6, "ema": 0.8}),
    ],
)
def test_a_tiny_clip_learns_a_dozen_colours(tmp_path: Path, name: str, changes: dict[str, object]) -> None:
    config = colour_config(tmp_path, **changes)
    before = find(config.model)
    tokenizer = Tokenizer.from_folder(before.folder, before.text)
    pairs = read_pairs(config.data).pairs
    untrained = retrieval(build(before), before, tokenizer, pairs)
    assert untrained["text_to_image@1"] < 0.5
    events = list(run(config))
    records = [event for event in events if isinstance(event, StepRecord)]
    assert records[-1].total < 0.2 * records[0].total
    assert records[-1].evaluation["text_to_image@1"] == 1
    assert records[-1].evaluation["image_to_text@1"] == 1
    after = find(config.out / "model")
    assert retrieval(build(after), after, tokenizer, pairs) == records[-1].evaluation
    card = (config.out / "model" / "README.md").read_text()
    for fact in (
        "pairs.jsonl",
        "12 pictures",
        "12 of them trained on",
        "Made by the test.",
        "--set steps=60",
        "text_to_image@1 | 1.000",
        " s of",
    ):
        assert fact in card
    assert str(config.out / "model") in [event.text for event in events if isinstance(event, Note)][-1]


def test_a_resumed_run_writes_the_same_weights(tmp_path: Path) -> None:
    config = colour_config(tmp_path, steps=8, save_every=3)
    list(run(config))
    parts = replace(config, out=tmp_path / "parts")
    events = run(parts)
    for event in events:
        if isinstance(event, StepRecord) and event.step == 5:
            break
    events.close()
    list(run(parts, resume=True))
    name = "model/model.safetensors"
    assert (config.out / name).read_bytes() == (parts.out / name).read_bytes()
    assert [event for event in run(parts, resume=True) if isinstance(event, StepRecord)] == []
    list(run(replace(parts, steps=9), resume=True))
    assert (config.out / name).read_bytes() != (parts.out / name).read_bytes(), "the longer run is exported"


def test_frozen_parts_stay_and_wrong_names_are_refused(tmp_path: Path) -> None:
    config = colour_config(tmp_path, steps=2, freeze=("vision", "logit_scale"))
    list(run(config))
    assert "freeze=vision,logit_scale" in (config.out / "model" / "README.md").read_text()
    before, after = build(find(config.model)).state_dict(), build(find(config.out / "model")).state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"text", "text_projection", "image_projection"}
    with pytest.raises(SensoriumError, match=r"no 'eyes' to freeze .* vision, text"):
        list(run(replace(config, out=tmp_path / "other", freeze=("eyes",))))
    with pytest.raises(SensoriumError, match="no bias on its logits"):
        list(run(replace(config, out=tmp_path / "other", loss="sigmoid")))


def test_the_bias_that_info_nce_has_no_use_for_is_left_alone(tmp_path: Path) -> None:
    config = colour_config(tmp_path, steps=2, sigmoid=True, loss="info_nce")
    list(run(config))
    before, after = build(find(config.model)).state_dict(), build(find(config.out / "model")).state_dict()
    assert torch.equal(before["logit_bias"], after["logit_bias"])
    assert not torch.equal(before["logit_scale"], after["logit_scale"])


def test_pictures_that_cannot_be_read_are_left_out_and_named(tmp_path: Path) -> None:
    config = colour_config(tmp_path, steps=2)
    (config.data.parent / "red.png").write_bytes(b"no picture")
    with config.data.open("a") as file:
        file.write('{"image": "missing.png", "text": "red"}\n')
    config = replace(config, validation=None)
    events = list(run(config))
    refused = [event.text for event in events if isinstance(event, Note) and event.refused]
    assert len(refused) == 2
    assert "missing.png: there is no such file" in refused[0]
    assert "red.png" in refused[1]
    assert [event.items for event in events if isinstance(event, StepRecord)] == [11, 22]


def test_pairs_are_read_from_lists_and_folders(tmp_path: Path) -> None:
    for name in ("a.png", "sub/b.PNG", "c.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(path)
    (tmp_path / "a.txt").write_text("one\n\n two \none\n")
    (tmp_path / "sub" / "b.txt").write_text("三\n", encoding="utf-8")
    found = read_pairs(tmp_path).pairs
    assert [(pair.image.name, pair.captions) for pair in found] == [
        ("a.png", ("one", "two")),
        ("b.PNG", ("三",)),
    ]
    (tmp_path / "list.csv").write_text('image,text\na.png,"one, two"\nc.png,x\na.png,three\n')
    (tmp_path / "list.tsv").write_text("file\twords\nc.png\tx\n")
    (tmp_path / "list.jsonl").write_text(
        '{"image": "a.png", "text": ["x", "y"]}\n\n{"image": "no.png", "text": "z"}\n'
    )
    assert [pair.captions for pair in read_pairs(tmp_path / "list.csv").pairs] == [
        ("one, two", "three"),
        ("x",),
    ]
    assert read_pairs(tmp_path / "list.tsv", image_key="file", text_key="words").pairs[0].captions == ("x",)
    read = read_pairs(tmp_path / "list.jsonl")
    assert read.pairs[0].captions == ("x", "y")
    assert read.refused == [f"{tmp_path / 'no.png'}: there is no such file"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.jsonl", '{"image": "a.png", "text": "x"}\n[1]\n', "line 2 is no JSON object"),
        ("x.jsonl", '{"image": "a.png", "text": ["x", 3]}\n', "line 1 needs a path under 'image'"),
        ("x.jsonl", '{"image": "a.png", "text": " "}\n', "words under 'text'"),
        ("x.csv", "picture,text\na.png,x\n", "line 2 needs a path under 'image'"),
        ("x.csv", "image,text\n", "has no rows to train on"),
        ("x.jsonl", '{"image": "a.png", "text": "x"}\n', r"no such file"),
        ("x.parquet", "", r"give a \.jsonl, \.csv or \.tsv file"),
    ],
)
def test_malformed_lists_are_refused_with_the_line(
    tmp_path: Path, name: str, content: str, reason: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(SensoriumError, match=reason):
        read_pairs(tmp_path / name)
    with pytest.raises(SensoriumError, match="neither a list"):
        read_pairs(tmp_path / "absent.csv")


def test_batches_depend_on_places_alone_and_vary_between_epochs(tmp_path: Path) -> None:
    config = colour_config(tmp_path)
    files = find(config.model)
    tokenizer = Tokenizer.from_folder(files.folder, files.text)
    pairs = read_pairs(config.data).pairs
    load = PairLoader(pairs, files.image, tokenizer, seed=1, crop_area=0.3, flip=0.5)
    place, others = Place(3, 5), [Place(3, 1), Place(3, 5)]
    np.random.default_rng().random()
    first, again = load([place]), load(others)
    assert torch.equal(first["pixels"][0], again["pixels"][1])
    assert first["captions"][0] == again["captions"][1]
    epochs = load([Place(epoch, 5) for epoch in range(30)])
    assert len({tuple(row) for row in epochs["pixels"].flatten(1).tolist()}) == 30
    assert len(set(epochs["captions"].tolist())) == 2, "both captions take turns"
    plain = PairLoader(pairs, files.image, tokenizer, seed=1)([place])
    expected = fit_image(Image.open(pairs[5].image), files.image)
    np.testing.assert_allclose((plain["pixels"][0].permute(1, 2, 0).numpy() + 1) * 127.5, expected, atol=1e-3)


def test_recall_is_counted_by_hand() -> None:
    scores = torch.tensor([[0.9, 0.1, 0.5], [0.2, 0.3, 0.4], [0.5, 0.6, 0.1]])
    right = torch.eye(3, dtype=torch.bool)
    assert recall(scores, right, 1) == pytest.approx(1 / 3)
    assert recall(scores, right, 2) == pytest.approx(2 / 3)
    assert recall(scores, right, 9) == 1


def test_equal_captions_are_all_right_in_retrieval(tmp_path: Path) -> None:
    config = colour_config(tmp_path)
    rows = [{"image": f"{name}.png", "text": "a picture"} for name in COLOURS]
    config.data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = find(config.model)
    tokenizer = Tokenizer.from_folder(files.folder, files.text)
    assert set(retrieval(build(files), files, tokenizer, read_pairs(config.data).pairs).values()) == {1.0}
