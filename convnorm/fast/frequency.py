"""A convolution, its preconditioner and the crop in one: channels are mixed frequency by frequency, by matrix products.

That takes 3 N^2 operations per image and pair of channels, where the full convolution alone takes 2 k^2 N^2, and only
those rows and columns of the output are computed that crop and stride leave. Every linear map is a matrix product, wide
or in batches as `maps` says.
"""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from convnorm.autocast import without_autocast
from convnorm.fast.dft import Block, Plan, split
from convnorm.fast.gradients import by_plain_operations, gradients_anew, gradients_with_graph, piece_by_piece
from convnorm.fast.maps import Orders, apply, empty, from_columns, ordered, orders, to_columns
from convnorm.memory_format import keep_memory_format

KERNELS_AT_ONCE = 2**26  # numbers, where not one frequency is computed at a time: 256 MB in float32


def mix(x: Tensor, weight: Tensor, spectrum: Tensor, plan: Plan) -> Tensor:
    """Return what crop and stride leave of the preconditioned full output.

    Args:
        x: images, (B, I, H, W), fastest in `torch.channels_last`.
        weight: kernels, one row per output channel, (O, I, k, k), of at least float32; fastest in the same.
        spectrum: the preconditioner, (O, N // 2 + 1, N).
        plan: the constants of the geometry, in x's dtype.

    Returns:
        (B, O, H', W') in x's dtype; how it lies in memory depends on that.
    """
    u = to_columns(plan.analysis, keep_memory_format(x)).flatten(1, 2)
    taps = ordered(weight.permute(2, 3, 0, 1).flatten(0, 1), x.dtype)  # (k*k, O, I)
    v = spectrum.permute(1, 2, 0).to(x.dtype).contiguous()  # (F, N, O)
    z = _columns(u, taps, v, plan) if by_plain_operations() else _Columns.apply(u, taps, v, plan)
    return from_columns(plan.synthesis, z.unflatten(1, (2, -1)))


class Room(NamedTuple):
    """Memory for what is at the points of one frequency of the first axis, used again at the next one.

    Attributes:
        image: (P, B, I).
        kernels: (P, O, I).
        products: (P, B, O).
    """

    image: Orders
    kernels: Orders
    products: Orders


def _columns(u: Tensor, taps: Tensor, v: Tensor, plan: Plan) -> Tensor:
    """Map (F, 2W, B, I) to (F, 2W', B, O)."""
    return torch.cat([_group(u[here], taps, v[here], block) for here, block in _groups(taps, plan)])


def _groups(taps: Tensor, plan: Plan) -> Iterator[tuple[slice, Block]]:
    """Yield all frequencies of the first axis in turn, as many at a time as their kernels leave memory for."""
    first = 0
    for block in plan.blocks:
        together = max(1, KERNELS_AT_ONCE // (len(block.frequency) * taps[0].numel()))
        for kernels in block.kernels.split(together):
            part = Block(block.analysis, kernels, block.synthesis, block.frequency)
            yield slice(first, first := first + len(kernels)), part


def _group(u: Tensor, taps: Tensor, v: Tensor, block: Block) -> Tensor:
    """Map (F', 2W, B, I) to (F', 2W', B, O), for frequencies of one block."""
    image = (block.analysis @ u.flatten(2)).unflatten(2, u.shape[2:])
    kernels = (block.kernels @ split(taps, u.dtype).flatten(1)).unflatten(2, taps.shape[1:])
    products = image @ (kernels * v[:, block.frequency].unsqueeze(3)).transpose(2, 3)
    return (block.synthesis.T @ products.flatten(2)).unflatten(2, products.shape[2:])


def _gradients_by_group(
    u: Tensor, taps: Tensor, v: Tensor, plan: Plan, grad: Tensor, needed: tuple[bool, ...]
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of `_columns` in u and in the taps, each if it is needed; points are computed again."""
    of_u: list[Tensor] = []
    of_taps = torch.zeros_like(taps) if needed[1] else None
    for here, block in _groups(taps, plan):
        again = functools.partial(_group, v=v[here], block=block)
        u_part, taps_part = gradients_anew(again, (u[here], taps), needed, grad[here])
        if u_part is not None:
            of_u.append(u_part)
        if of_taps is not None and taps_part is not None:
            of_taps += taps_part
    return torch.cat(of_u) if of_u else None, of_taps


def _each(u: Tensor, v: Tensor, plan: Plan) -> Iterator[tuple[int, Block, Tensor, Tensor, Room]]:
    """Yield the frequencies of the first axis, each with its block, map of the kernels, V (P, O, 1) and room.

    Kernels are preconditioned, not products: where kernels have no power half precision would overflow in between.
    """
    first, (batch, inputs), outputs = 0, u.shape[2:], v.shape[2]
    for block in plan.blocks:
        points, here = len(block.frequency), range(first, first := first + len(block.kernels))
        shapes = (points, batch, inputs), (points, outputs, inputs), (points, batch, outputs)
        room = Room(*(orders(u, *shape) for shape in shapes))
        scales = v[here.start : here.stop, block.frequency].unsqueeze(3)
        for f, kernel, scale in zip(here, block.kernels, scales, strict=True):
            yield f, block, kernel, scale, room


class _Columns(torch.autograd.Function):
    """`_columns`, on a CPU one frequency of the first axis at a time, whose points fit in the cache.

    Only its inputs are kept for the backward pass: the points are 1.5 times as many as the pixels.
    """

    @staticmethod
    def forward(u: Tensor, taps: Tensor, v: Tensor, plan: Plan) -> Tensor:
        if not piece_by_piece(u):
            return _columns(u, taps, v, plan)
        z = empty(u, len(u), plan.blocks[0].synthesis.shape[1], u.shape[2], taps.shape[1])
        parts = split(taps, u.dtype)
        for f, block, kernel, scale, (image, kernels, products) in _each(u, v, plan):
            apply(block.analysis, u[f], image.maps)
            apply(kernel, parts, kernels.maps)
            torch.bmm(image.maps, kernels.maps.mul_(scale).transpose(1, 2), out=products.points)
            apply(block.synthesis.T, products.points, z[f])
        return z

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor, Tensor, Tensor, Plan], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:3])
        ctx.plan = inputs[3]  # type: ignore[attr-defined]

    @staticmethod
    @without_autocast
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        u, taps, v = ctx.saved_tensors
        needed = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():  # a graph of the gradient is wanted, for a gradient penalty
            again = functools.partial(_columns, v=v, plan=ctx.plan)
            return *gradients_with_graph(again, (u, taps), needed, grad), None, None
        if not piece_by_piece(u):
            return *_gradients_by_group(u, taps, v, ctx.plan, grad, needed), None, None
        return *_gradients(u, taps, v, ctx.plan, grad, needed), None, None


def _gradients(
    u: Tensor, taps: Tensor, v: Tensor, plan: Plan, grad: Tensor, needed: tuple[bool, ...]
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of `_columns` in u and in the taps, each if it is needed."""
    grad_u = empty(u, *u.shape) if needed[0] else None
    grad_taps = torch.zeros_like(taps) if needed[1] else None
    parts = split(taps, u.dtype)
    for f, block, kernel, scale, (image, kernels, products) in _each(u, v, plan):
        apply(block.synthesis, grad[f], products.maps)
        if grad_u is not None:
            apply(kernel, parts, kernels.maps)
            torch.bmm(products.maps, kernels.maps.mul_(scale), out=image.points)
            apply(block.analysis.T, image.points, grad_u[f])
        if grad_taps is not None:
            apply(block.analysis, u[f], image.maps)
            products.maps.mul_(scale.transpose(1, 2))  # not the kernels' gradient, a sum over all images
            torch.bmm(products.maps.transpose(1, 2), image.maps, out=kernels.points)
            of_taps = empty(u, *taps.shape)
            apply(kernel[:, : len(taps)].T, kernels.points, of_taps)
            grad_taps += of_taps
    return grad_u, grad_taps
