"""Losses against their written-out formulas, and across two processes against one."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from processes import run_in_processes
from torch import Tensor, nn

from sensorium.train.losses import in_chunks, info_nce, limit_scale, sigmoid_loss
from sensorium.train.world import world

WIDTH, SIZES = 5, (3, 4)
IDS = torch.tensor([7, 1, 7, 2, 3, 1, 4])


def towers(dtype: torch.dtype) -> tuple[list[Tensor], Tensor, Tensor]:
    """Parameters [two towers, log scale, bias] and the inputs of both towers."""
    source = torch.Generator().manual_seed(3)
    weights = [torch.randn(6, WIDTH, generator=source).to(dtype) for _ in range(2)]
    scalars = [torch.tensor(1.3, dtype=dtype), torch.tensor(-0.7, dtype=dtype)]
    parameters = [tensor.requires_grad_() for tensor in [*weights, *scalars]]
    inputs = [torch.randn(sum(SIZES), 6, generator=source).to(dtype) for _ in range(2)]
    return parameters, inputs[0], inputs[1]


def loss_and_gradients(
    name: str, dtype: torch.dtype, rows: slice, *, with_ids: bool
) -> tuple[Tensor, list[Tensor]]:
    """Loss of some rows and its gradients by all parameters, in whatever process group there is."""
    (image_weight, text_weight, log_scale, bias), images, texts = towers(dtype)
    image = F.normalize(images[rows] @ image_weight, dim=-1)
    text = F.normalize(texts[rows] @ text_weight, dim=-1)
    ids = IDS[rows] if with_ids else None
    if name == "info_nce":
        loss = info_nce(image, text, log_scale.exp(), ids=ids)
        parameters = [image_weight, text_weight, log_scale]
    else:
        loss = sigmoid_loss(image, text, log_scale.exp(), bias, ids=ids)
        parameters = [image_weight, text_weight, log_scale, bias]
    # The upstream factor differs between processes in general: the exchange must respect it.
    grads = torch.autograd.grad(loss * (1 + world().rank if with_ids else 1), parameters)
    return loss.detach(), list(grads)


def in_this_process() -> dict[str, tuple[Tensor, list[Tensor]]]:
    rank, size = world()
    rows = slice(0, sum(SIZES)) if size == 1 else slice(sum(SIZES[:rank]), sum(SIZES[: rank + 1]))
    return {
        f"{name}-{dtype}-{with_ids}": loss_and_gradients(name, dtype, rows, with_ids=with_ids)
        for name in ("info_nce", "sigmoid_loss")
        for dtype in (torch.float64, torch.float32)
        for with_ids in (False, True)
    }


@pytest.fixture(scope="module")
def received(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, tuple[Tensor, list[Tensor]]]]:
    return run_in_processes(in_this_process, tmp_path_factory.mktemp("two"))


def test_two_processes_of_unequal_batches_equal_the_full_batch_in_one(received: list[Any]) -> None:
    for case, (loss, grads) in in_this_process().items():
        tolerance = 1e-12 if "float64" in case else 2e-6
        together = received[0][case][0] + received[1][case][0]
        torch.testing.assert_close(together, loss, rtol=tolerance, atol=0)
        if case.endswith("True"):  # weighted by 1 and 2: the next test's
            continue
        for one, first, second in zip(grads, received[0][case][1], received[1][case][1], strict=True):
            difference = (first + second - one).norm() / one.norm()
            assert difference < tolerance, f"{case}: {difference}"


def test_unequal_upstream_factors_reach_the_right_rows(received: list[Any]) -> None:
    """Process 1 counts its loss twice; the gradient must be that of the rows' losses weighted 1 and 2."""
    (image_weight, text_weight, log_scale, bias), images, texts = towers(torch.float64)
    image = F.normalize(images @ image_weight, dim=-1)
    text = F.normalize(texts @ text_weight, dim=-1)
    factor = torch.tensor([1.0] * SIZES[0] + [2.0] * SIZES[1], dtype=torch.float64)
    same = IDS[:, None] == IDS[None, :]
    cosines = image @ text.T
    target = same.double() / same.sum(dim=1, keepdim=True)
    logits = log_scale.exp() * cosines
    by_row = -(target * (logits.log_softmax(1) + logits.T.log_softmax(1))).sum(1) / 2
    nce = torch.autograd.grad(
        (by_row * factor).sum(), [image_weight, text_weight, log_scale], retain_graph=True
    )
    sign = same.double() * 2 - 1
    pairs = -F.logsigmoid(sign * (logits + bias)).sum(1)
    siglip = torch.autograd.grad((pairs * factor).sum(), [image_weight, text_weight, log_scale, bias])
    for name, expected in (("info_nce", nce), ("sigmoid_loss", siglip)):
        key = f"{name}-{torch.float64}-True"
        for one, first, second in zip(expected, received[0][key][1], received[1][key][1], strict=True):
            torch.testing.assert_close(first + second, one, rtol=1e-12, atol=1e-14)


def test_info_nce_is_the_pseudocode_of_the_paper() -> None:
    (image_weight, text_weight, log_scale, _), images, texts = towers(torch.float64)
    image, text = F.normalize(images @ image_weight, dim=-1), F.normalize(texts @ text_weight, dim=-1)
    logits = image @ text.T * log_scale.exp()
    labels = torch.arange(len(image))
    mean = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
    torch.testing.assert_close(info_nce(image, text, log_scale.exp()) / len(image), mean)


def test_sigmoid_loss_is_the_pseudocode_of_the_paper_and_passes_gradcheck() -> None:
    (image_weight, text_weight, log_scale, bias), images, texts = towers(torch.float64)
    image, text = F.normalize(images @ image_weight, dim=-1), F.normalize(texts @ text_weight, dim=-1)
    labels = 2 * torch.eye(len(image), dtype=torch.float64) - 1
    expected = -F.logsigmoid(labels * (image @ text.T * log_scale.exp() + bias)).sum() / len(image)
    torch.testing.assert_close(sigmoid_loss(image, text, log_scale.exp(), bias) / len(image), expected)
    leaves = [tensor.detach().requires_grad_() for tensor in (image, text, log_scale, bias)]
    assert torch.autograd.gradcheck(lambda i, t, s, b: sigmoid_loss(i, t, s.exp(), b), leaves)


def test_equal_ids_are_no_negatives_of_one_another() -> None:
    image = F.normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), dim=-1)
    ids = torch.tensor([4, 5, 4])  # the first and last pair carry the same caption and look alike
    scale, bias = torch.tensor(50.0), torch.tensor(-25.0)
    assert info_nce(image, image, scale, ids=ids) / 3 == pytest.approx(2 / 3 * math.log(2), abs=1e-6)
    assert info_nce(image, image, scale) / 3 == pytest.approx(2 / 3 * math.log(2), abs=1e-6)
    assert sigmoid_loss(image, image, scale, bias, ids=ids) < 1e-6
    assert sigmoid_loss(image, image, scale, bias) > 40


def test_half_precision_features_are_compared_in_float32() -> None:
    (image_weight, text_weight, log_scale, bias), images, texts = towers(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        image, text = images @ image_weight, texts @ text_weight
        assert image.dtype == torch.bfloat16
        for loss in (
            info_nce(image, text, log_scale.exp()),
            sigmoid_loss(image, text, log_scale.exp(), bias),
        ):
            assert loss.dtype == torch.float32
            assert torch.isfinite(torch.autograd.grad(loss, image_weight, retain_graph=True)[0]).all()


def test_shapes_that_are_no_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3, 2\) and \(2, 2\)"):
        info_nce(torch.ones(3, 2), torch.ones(2, 2), torch.tensor(1.0))
    with pytest.raises(ValueError, match="ids"):
        sigmoid_loss(torch.ones(3, 2), torch.ones(3, 2), torch.ones(()), torch.ones(()), ids=torch.arange(2))


def test_chunks_give_the_gradient_of_the_whole_batch_and_repeat_dropout() -> None:
    torch.manual_seed(5)
    tower = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.4), nn.Linear(8, 4)).double()
    inputs, text = torch.randn(7, 6).double(), F.normalize(torch.randn(7, 4).double(), dim=-1)
    log_scale = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    gradients = []
    for encode in (
        lambda x: torch.cat([tower(part) for part in x.split(3)]),  # the same dropout masks, with activations
        lambda x: in_chunks(tower, x, rows=3),
    ):
        torch.manual_seed(9)
        loss = info_nce(F.normalize(encode(inputs), dim=-1), text, log_scale.exp())
        gradients.append(torch.autograd.grad(loss, [*tower.parameters(), log_scale]))
    for whole, chunked in zip(*gradients, strict=True):
        torch.testing.assert_close(chunked, whole, rtol=1e-12, atol=1e-14)


def test_scale_is_limited_in_place() -> None:
    log_scale = nn.Parameter(torch.tensor(9.0))
    limit_scale(log_scale)
    assert log_scale.exp().item() == pytest.approx(100, rel=1e-5)
    assert log_scale.requires_grad
