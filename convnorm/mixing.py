"""A convolution, its preconditioner and the crop in one: channels are mixed frequency by frequency, by matrix products.

That takes 3 N^2 operations per image and pair of channels, where the full convolution alone takes 2 k^2 N^2, and only
those rows and columns of the output are computed that crop and stride leave. Pixels and frequencies come first, batch
and channels last, so that every linear map is one matrix product with all images.
"""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from convnorm.autocast import without_autocast
from convnorm.fourier import Block, Plan, split
from convnorm.gradients import by_plain_operations, gradients_anew, gradients_with_graph, piece_by_piece
from convnorm.layout import keep_layout


def mix(x: Tensor, weight: Tensor, spectrum: Tensor, plan: Plan) -> Tensor:
    """Return what crop and stride leave of the preconditioned full output.

    Args:
        x: images, (B, I, H, W), fastest in `torch.channels_last`.
        weight: kernels, one row per output channel, (O, I, k, k), of at least float32.
        spectrum: the preconditioner, (O, N // 2 + 1, N).
        plan: the constants of the geometry, in x's dtype.

    Returns:
        (B, O, H', W') in x's dtype; in memory, H' and W' come before B and O.
    """
    batch, inputs, height, width = x.shape
    frequencies, outputs, out_height = spectrum.shape[1], len(weight), len(plan.synthesis)
    rows = keep_layout(x).permute(2, 3, 0, 1).reshape(height, width * batch * inputs)
    u = (plan.analysis @ rows).view(frequencies, 2 * width, batch, inputs)
    taps = weight.permute(2, 3, 0, 1).flatten(0, 1).contiguous()  # (k*k, O, I)
    v = spectrum.permute(1, 2, 0).to(x.dtype).contiguous()  # (F, N, O)
    z = _columns(u, taps, v, plan) if by_plain_operations() else _Columns.apply(u, taps, v, plan)
    out_width = z.shape[1] // 2
    # In two steps: torch 2.11 takes one only for the batch that it exports with.
    y = plan.synthesis @ z.flatten(1).view(2 * frequencies, out_width * batch * outputs)
    return y.view(out_height, out_width, batch, outputs).permute(2, 3, 0, 1)


class Room(NamedTuple):
    """Memory for what is at the points of one frequency of the first axis, used again at the next one.

    Attributes:
        image: (P, B, I).
        kernels: (P, O, I).
        products: (P, B, O).
        waves: what `Forms` asks for.
    """

    image: Tensor
    kernels: Tensor
    products: Tensor
    waves: Tensor


def _columns(u: Tensor, taps: Tensor, v: Tensor, plan: Plan) -> Tensor:
    """Map (F, 2W, B, I) to (F, 2W', B, O)."""
    parts, columns, first = split(taps, u.dtype), [], 0
    for block in plan.blocks:
        here = slice(first, first := first + len(block.kernels))
        image = torch.einsum("pw,fwbi->fpbi", block.analysis.matrix, u[here])
        kernels = torch.einsum("fpk,koi->fpio", block.kernels, parts)
        products = image @ kernels * v[here, block.frequency].unsqueeze(2)
        columns.append(torch.einsum("pw,fpbo->fwbo", block.synthesis.matrix, products))
    return torch.cat(columns)


def _each(u: Tensor, v: Tensor, plan: Plan) -> Iterator[tuple[int, Block, Tensor, Tensor, Room]]:
    """Yield the frequencies of the first axis, each with its block, map of the kernels, V (P, 1, O) and room."""
    first, (batch, inputs), outputs = 0, u.shape[2:], v.shape[2]
    for block in plan.blocks:
        points, here = len(block.frequency), range(first, first := first + len(block.kernels))
        waves = 2 * (points // 3) * batch * max(inputs, outputs)
        shapes = (points, batch, inputs), (points, outputs, inputs), (points, batch, outputs), (waves,)
        room = Room(*(u.new_empty(shape) for shape in shapes))
        scales = v[here.start : here.stop, block.frequency].unsqueeze(2)
        for f, kernel, scale in zip(here, block.kernels, scales, strict=True):
            yield f, block, kernel, scale, room


def _apply(matrix: Tensor, x: Tensor, out: Tensor) -> None:
    """Apply a linear map to the first axis of x."""
    torch.mm(matrix, x.flatten(1), out=out.flatten(1))


class _Columns(torch.autograd.Function):
    """`_columns`, on a CPU one frequency of the first axis at a time, whose points fit in the cache.

    Only its inputs are kept for the backward pass: the points are 1.5 times as many as the pixels.
    """

    @staticmethod
    def forward(u: Tensor, taps: Tensor, v: Tensor, plan: Plan) -> Tensor:
        if not piece_by_piece(u):
            return _columns(u, taps, v, plan)
        z = u.new_empty(len(u), plan.blocks[0].synthesis.matrix.shape[1], u.shape[2], taps.shape[1])
        parts = split(taps, u.dtype)
        for f, block, kernel, scale, room in _each(u, v, plan):
            block.analysis.points(u[f].flatten(1), room.image.flatten(1), room.waves)
            _apply(kernel, parts, room.kernels)
            torch.bmm(room.image, room.kernels.transpose(1, 2), out=room.products)
            block.synthesis.columns(room.products.mul_(scale).flatten(1), z[f].flatten(1), room.waves)
        return z

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor, Tensor, Tensor, Plan], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:3])
        ctx.plan = inputs[3]  # type: ignore[attr-defined]

    @staticmethod
    @without_autocast
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        u, taps, v = ctx.saved_tensors
        if torch.is_grad_enabled():  # a graph of the gradient is wanted, for a gradient penalty
            z = _columns(u, taps, v, ctx.plan)
            return *gradients_with_graph(z, (u, taps), ctx.needs_input_grad[:2], grad), None, None
        if not piece_by_piece(u):
            again = functools.partial(_columns, v=v, plan=ctx.plan)
            return *gradients_anew(again, (u, taps), ctx.needs_input_grad[:2], grad), None, None
        return *_gradients(u, taps, v, ctx.plan, grad, ctx.needs_input_grad), None, None


def _gradients(
    u: Tensor, taps: Tensor, v: Tensor, plan: Plan, grad: Tensor, needed: tuple[bool, ...]
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of `_columns` in u and in the taps, each if it is needed."""
    grad_u = torch.empty_like(u) if needed[0] else None
    grad_taps = torch.zeros_like(taps) if needed[1] else None
    parts = split(taps, u.dtype)
    for f, block, kernel, scale, room in _each(u, v, plan):
        block.synthesis.points(grad[f].flatten(1), room.products.flatten(1), room.waves)
        room.products.mul_(scale)
        if grad_u is not None:
            _apply(kernel, parts, room.kernels)
            torch.bmm(room.products, room.kernels, out=room.image)
            block.analysis.columns(room.image.flatten(1), grad_u[f].flatten(1), room.waves)
        if grad_taps is not None:
            block.analysis.points(u[f].flatten(1), room.image.flatten(1), room.waves)
            torch.bmm(room.products.transpose(1, 2), room.image, out=room.kernels)
            grad_taps += (kernel[:, : len(taps)].T @ room.kernels.flatten(1)).view_as(taps)
    return grad_u, grad_taps
