"""The BERT encoder by itself."""

from __future__ import annotations

import torch

from sensorium.models.bert import Bert, BertConfig

CONFIG = BertConfig(
    vocabulary=50,
    context_length=12,
    types=2,
    width=12,
    depth=3,
    heads=3,
    mlp_width=20,
    activation="gelu",
    norm_eps=1e-12,
)


def network() -> Bert:
    torch.manual_seed(0)
    bert = Bert(CONFIG)
    for parameter in bert.parameters():
        parameter.data = torch.randn_like(parameter) * 0.3
    return bert.eval()


def test_padding_changes_nothing() -> None:
    bert = network()
    short, long = torch.tensor([[4, 5, 6]]), torch.tensor([[4, 5, 6, 0, 9]])
    every, mask = torch.ones_like(short), torch.tensor([[1, 1, 1, 0, 0]])
    with torch.no_grad():
        torch.testing.assert_close(bert(long, mask)[:, :3], bert(short, every))
        torch.testing.assert_close(bert.first(long, mask), bert.first(short, every))
        torch.testing.assert_close(bert.mean(long, mask), bert.mean(short, every))


def test_first_and_mean_are_read_from_the_tokens() -> None:
    bert = network()
    ids = torch.randint(0, 50, (3, 7))
    mask = torch.ones_like(ids)
    with torch.no_grad():
        tokens = bert(ids, mask)
        torch.testing.assert_close(bert.first(ids, mask), tokens[:, 0])
        torch.testing.assert_close(bert.mean(ids, mask), tokens.mean(1))


def test_mask_may_be_boolean_or_float() -> None:
    bert = network()
    ids, mask = torch.randint(0, 50, (2, 4)), torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]])
    with torch.no_grad():
        expected = bert(ids, mask)
        for other in (mask.bool(), mask.float()):
            assert torch.equal(bert(ids, other), expected)


def test_order_of_words_matters() -> None:
    bert = network()
    mask = torch.ones(1, 3, dtype=torch.long)
    with torch.no_grad():
        one, other = bert.mean(torch.tensor([[4, 5, 6]]), mask), bert.mean(torch.tensor([[6, 5, 4]]), mask)
    assert not torch.allclose(one, other, atol=1e-3)
