"""Contrastive losses over the batch of all processes.

Each returns the SUM over the rows of this process, as everything that the loop adds up does; divide by the
number of rows for the figure that papers print. Summed over the processes, losses and gradients equal those
of the same batch in one process: the tests compare both. Features of half precision are compared in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from sensorium.train.world import gathered_integer, world


def info_nce(image: Tensor, text: Tensor, scale: Tensor, *, ids: Tensor | None = None) -> Tensor:
    """The symmetric contrastive loss of CLIP.

    Radford et al. 2021, figure 3; InfoNCE is by van den Oord et al. 2018.

    ``image`` and ``text`` are the unit rows [b, d] of this process, pair by pair; ``b`` may differ between
    processes. ``scale`` multiplies the cosines (CLIP: ``log_scale.exp()``). Rows of all processes are
    compared, and gradients flow back to all. ``ids`` [b], integers: pairs of equal id are positives of one
    another and share the target equally, so that a repeated caption is no negative of itself; absent, every
    pair is its own. Returns the sum over local rows of the mean of both directions.
    """
    _check(image, text, ids)
    with torch.autocast(image.device.type, enabled=False):
        image, text, scale = _precise(image), _precise(text), _precise(scale)
        sizes = gathered_integer(len(image), image.device)
        all_image, all_text = _gathered(image, sizes), _gathered(text, sizes)
        if ids is None:
            target = _own_ids(image, sizes)
        else:
            same = (ids[:, None] == _gathered(ids, sizes)[None, :]).to(image.dtype)
            target = same / same.sum(dim=1, keepdim=True)
        to_text = F.cross_entropy(scale * image @ all_text.T, target, reduction="sum")
        to_image = F.cross_entropy(scale * text @ all_image.T, target, reduction="sum")
        return (to_text + to_image) / 2


def sigmoid_loss(
    image: Tensor, text: Tensor, scale: Tensor, bias: Tensor, *, ids: Tensor | None = None
) -> Tensor:
    """The pairwise sigmoid loss of SigLIP (Zhai et al. 2023, section 3.2 and its chunked form 3.3).

    Arguments as for ``info_nce``; ``bias`` is added to the scaled cosines. Captions travel from process to
    process one block at a time and logits are made again for the backward pass, so that no process ever holds
    more than its own rows, one foreign block and their [b, b] logits.
    Returns the sum over local images and all captions.
    """
    _check(image, text, ids)
    with torch.autocast(image.device.type, enabled=False):
        image, text = _precise(image), _precise(text)
        sizes = gathered_integer(len(image), image.device)
        own = _own_ids(image, sizes) if ids is None else ids
        total: Tensor = _SigmoidLoss.apply(  # type: ignore[no-untyped-call]
            image, text, _precise(scale), _precise(bias), own, sizes
        )
        return total


def in_chunks(encode: Callable[..., Tensor], *inputs: Tensor, rows: int = 32) -> Tensor:
    """Encode a batch ``rows`` at a time, and make activations again for the way back instead of keeping them.

    The gradient is that of the whole batch, with all its negatives, at the memory of one chunk (the idea of
    GradCache, Gao et al. 2021, by activation checkpointing, which also repeats dropout alike). Inputs are
    split along their first dimension. Not for networks with batch normalisation, which would see the chunks.
    """
    parts = zip(*(torch.split(tensor, rows) for tensor in inputs), strict=True)
    return torch.cat([checkpoint(encode, *part, use_reentrant=False) for part in parts])


def limit_scale(log_scale: Tensor, low: float = 0.0, high: float = math.log(100.0)) -> None:
    """Clip a learnable log scale in place, as CLIP does so that logits are never scaled by more than 100."""
    with torch.no_grad():
        log_scale.clamp_(low, high)


class _GatherRows(torch.autograd.Function):
    """Rows of all processes, in order of rank; the gradient of a row is summed over all who used it."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes = sizes
        padded = rows.new_zeros(max(sizes), *rows.shape[1:])  # all_gather wants equal shapes
        padded[: len(rows)] = rows
        received = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(received, padded)
        return torch.cat([part[:size] for part, size in zip(received, sizes, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        total = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return torch.split(total, ctx.sizes)[world().rank], None


class _SigmoidLoss(torch.autograd.Function):
    """The sigmoid loss block by block; both passes receive the captions of one process after another."""

    @staticmethod
    def forward(
        ctx: Any, image: Tensor, text: Tensor, scale: Tensor, bias: Tensor, ids: Tensor, sizes: list[int]
    ) -> Tensor:
        ctx.save_for_backward(image, text, scale, bias, ids)
        ctx.sizes = sizes
        total = image.new_zeros(())
        for source in range(len(sizes)):
            captions, caption_ids = _sent_by(source, text, sizes), _sent_by(source, ids, sizes)
            total += _block_loss(image, captions, scale, bias, ids[:, None] == caption_ids[None, :])
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        image, text, scale, bias, ids = ctx.saved_tensors
        sums = [torch.zeros_like(image), torch.zeros_like(scale), torch.zeros_like(bias)]
        text_grad = torch.zeros_like(text)
        for source in range(len(ctx.sizes)):
            captions, caption_ids = _sent_by(source, text, ctx.sizes), _sent_by(source, ids, ctx.sizes)
            with torch.enable_grad():
                leaves = [tensor.detach().requires_grad_() for tensor in (image, scale, bias, captions)]
                same = ids[:, None] == caption_ids[None, :]
                loss = _block_loss(leaves[0], leaves[3], leaves[1], leaves[2], same)
            *grads, caption_grad = torch.autograd.grad(loss, leaves, upstream)
            torch._foreach_add_(sums, grads)
            if len(ctx.sizes) > 1:
                dist.reduce(caption_grad, dst=source)
            if source == world().rank:
                text_grad = caption_grad
        return sums[0], text_grad, sums[1], sums[2], None, None


def _block_loss(image: Tensor, text: Tensor, scale: Tensor, bias: Tensor, same: Tensor) -> Tensor:
    """Sum of -log sigmoid(+-logit) over a block: image [b, d], text [c, d], positives where same [b, c]."""
    logits = scale * image @ text.T + bias
    return F.softplus(torch.where(same, -logits, logits)).sum()


def _sent_by(source: int, rows: Tensor, sizes: list[int]) -> Tensor:
    """The rows of process ``source``, on every process."""
    if len(sizes) == 1:
        return rows
    mine = source == world().rank
    block = rows.clone() if mine else rows.new_empty(sizes[source], *rows.shape[1:])
    dist.broadcast(block, src=source)
    return block


def _gathered(rows: Tensor, sizes: list[int]) -> Tensor:
    if len(sizes) == 1:
        return rows
    result: Tensor = _GatherRows.apply(rows, sizes)  # type: ignore[no-untyped-call]
    return result


def _own_ids(rows: Tensor, sizes: list[int]) -> Tensor:
    """A number for each local pair that no other pair of any process has: its row in the gathered batch."""
    start = sum(sizes[: world().rank])
    return torch.arange(start, start + len(rows), device=rows.device)


def _precise(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _check(image: Tensor, text: Tensor, ids: Tensor | None) -> None:
    if image.ndim != 2 or image.shape != text.shape:
        raise ValueError(f"paired rows [b, d] are wanted, not {tuple(image.shape)} and {tuple(text.shape)}")
    if ids is not None and ids.shape != image.shape[:1]:
        raise ValueError(f"ids are {tuple(ids.shape)}, the batch has {len(image)} pairs")
