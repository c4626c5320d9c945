"""mini-clip: its two halves, its invariances, its file format, and the embedded weights."""

import dataclasses

import numpy as np
import pytest
import torch

from sensorium.models.bert import BertConfig
from sensorium.models.efficientnet import EfficientNetConfig, Stage
from sensorium.models.mini_clip import PIXEL_MEAN, PIXEL_STD, ColourFeatures, MiniClip, MiniClipConfig
from sensorium.train.data.captions import groups
from sensorium.weights.files import find
from sensorium.weights.load import FAMILIES, build, empty, fill
from sensorium.weights.maps import mini_clip as layout
from sensorium.weights.rules import original

TINY = MiniClipConfig(
    vision=EfficientNetConfig(
        8, (Stage(3, 1, 1, 8, 1), Stage(5, 2, 6, 16, 2), Stage(3, 2, 6, 16, 1)), 32, 20
    ),
    text=BertConfig(50, 16, 2, 32, 2, 4, 64, "gelu", 1e-12),
    window=3,
    groups=5,
    sharpness=10.0,
    concept_dim=12,
    joint_dim=8,
    hidden=16,
    joint_weight=0.5,
    colours=4,
    colour_cells=12,
)


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = MiniClip(TINY).eval()
    network.chinese.data[30:] = 1
    network.centres.data.normal_()
    return network


@pytest.fixture(scope="module")
def embedded():
    files = find("sensorium/mini-clip")
    return files, build(files)


def test_both_sides_have_the_same_length_and_the_halves_their_weights(network):
    image = network.encode_image(torch.randn(3, 3, 64, 64))
    text = network.encode_text(torch.randint(50, (2, 7)), torch.ones(2, 7, dtype=torch.int64))
    assert image.shape == (3, 20)
    assert text.shape == (2, 20)
    for vectors in (image, text):
        torch.testing.assert_close(vectors[:, :12].norm(dim=1), torch.ones(len(vectors)))
        torch.testing.assert_close(vectors[:, 12:].norm(dim=1), torch.full((len(vectors),), 0.5))


def test_padding_changes_no_sentence(network):
    ids = torch.tensor([[0, 7, 8, 2]])
    padded, mask = torch.tensor([[0, 7, 8, 2, 49, 1]]), torch.tensor([[1, 1, 1, 1, 0, 0]])
    alone = network.encode_text(ids, torch.ones_like(ids))
    torch.testing.assert_close(alone, network.encode_text(padded, mask), rtol=1e-5, atol=1e-6)


def test_one_chinese_token_makes_a_sentence_chinese(network):
    ids = torch.tensor([[1, 2, 3], [1, 40, 3], [1, 2, 45]])
    mask = torch.tensor([[1, 1, 1], [1, 1, 1], [1, 1, 0]])
    assert network.is_chinese(ids, mask).flatten().tolist() == [0.0, 1.0, 0.0]


def test_concepts_add_up_their_members(network):
    network.membership.data.zero_()
    network.membership.data[2, [3, 4]] = 1
    probabilities = torch.zeros(1, 20)
    probabilities[0, 3], probabilities[0, 4], probabilities[0, 5] = 0.3, 0.3, 0.4
    concepts = network.concepts(probabilities)
    assert concepts[0].argmax() == 20 + 2
    torch.testing.assert_close(concepts[0, 22] / concepts[0, 5], torch.tensor(1.5))


def test_colour_features_say_what_and_where():
    torch.manual_seed(0)
    colour = ColourFeatures(3, 12)
    colour.references.data = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
    picture = torch.zeros(1, 3, 48, 48)
    picture[:, 0, :16], picture[:, 2, 16:] = 1, 1  # upper third red, the rest blue
    features = colour((picture - PIXEL_MEAN) / PIXEL_STD)[0]
    shares = features[:15].square().reshape(5, 3)  # whole, upper, middle, lower third, centre
    expected = torch.tensor([[1 / 3, 0, 2 / 3], [1, 0, 0], [0, 0, 1], [0, 0, 1]])
    torch.testing.assert_close(shares[:4], expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(features[15:18], torch.tensor([1 / 3, 0, 2 / 3]), atol=1e-4, rtol=0)


def test_features_of_the_joint_half_have_the_declared_length(network):
    pooled, colours, classes = network.described(torch.rand(2, 32, 4, 4), torch.randn(2, 3, 48, 48))
    assert pooled.shape[1] + colours.shape[1] == TINY.features
    torch.testing.assert_close(classes.sum(1), torch.ones(2))


def test_four_bits_come_back_as_they_were():
    torch.manual_seed(0)
    once = layout.packed(torch.randn(6, 64))
    assert once.shape == (6, 2, 18)
    assert torch.equal(layout.packed(layout.unpacked(once)), once)


def test_four_bits_are_read_as_ggml_lays_them_out():
    block = torch.zeros(1, 1, 18, dtype=torch.uint8)
    block[0, 0, :2] = torch.from_numpy(np.array([0.5], "<f2").view(np.uint8).copy())
    block[0, 0, 2:] = 8 | 8 << 4  # 8 stands for zero
    block[0, 0, 2] = 15 | 0 << 4
    values = layout.unpacked(block)[0]
    assert values[0] == 3.5
    assert values[16] == -4.0
    assert values.abs().sum() == 7.5


def test_eight_bits_are_within_half_a_step():
    torch.manual_seed(0)
    rule = layout.Packed8("a", ("b",))
    filters = torch.randn(5, 16, 1, 1)
    [back] = rule.apply(rule.undo([filters]))
    step = filters.flatten(1).abs().amax(1) / 127
    assert ((back - filters).flatten(1).abs().amax(1) <= step * 0.6).all()


def test_written_tensors_build_the_same_network(network):
    kind = FAMILIES["mini_clip"]
    other = empty(kind, kind.read_config(kind.write_config(TINY)))
    assert other.config == TINY
    fill(other, original(network.state_dict(), kind.rules).items(), kind.rules)
    torch.testing.assert_close(other.state_dict()["names"], network.names.data)
    again = original(other.state_dict(), kind.rules)
    once = original(network.state_dict(), kind.rules)
    assert all(torch.equal(again[name], once[name]) for name in once if not name.endswith(".q8"))


def test_embedded_model_is_small_and_whole(embedded):
    files, network = embedded
    assert sum(path.stat().st_size for path in files.folder.iterdir()) <= 40_000_000
    assert {path.name for path in files.folder.iterdir()} >= {"README.md", "config.json", "tokenizer.json"}
    assert all(torch.isfinite(tensor).all() for tensor in network.state_dict().values())
    assert dataclasses.asdict(network.config)["groups"] == len(groups())


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("a dog", "a dog"),
        ("一只小狗", "a dog"),
        ("horses", "a horse"),
        ("雪山", "snowy mountain peaks, snow, winter landscape"),
        ("a sailing boat", "a sailing boat"),
        ("城堡", "a castle or palace"),
    ],
)
def test_embedded_model_knows_what_is_meant(embedded, text, group):
    from sensorium.media.text import Tokenizer

    files, network = embedded
    tokens = Tokenizer.from_folder(files.folder, files.text).encode([text])
    ids, mask = torch.from_numpy(tokens.ids), torch.from_numpy(tokens.mask)
    with torch.no_grad():
        sentence = network.centred(network.text.mean(ids, mask), network.is_chinese(ids, mask))
        relevance = network.relevance(sentence)[0]
    classes = network.config.vision.classes
    wanted = next(number for number, known in enumerate(groups()) if known.english == group)
    meant = {classes + wanted, *groups()[wanted].members}
    assert set(relevance.topk(5).indices.tolist()) & meant
