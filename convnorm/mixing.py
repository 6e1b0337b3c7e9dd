"""A convolution, its preconditioner and the crop in one: channels are mixed frequency by frequency, by matrix products.

That takes 3 N^2 operations per image and pair of channels, where the full convolution alone takes 2 k^2 N^2, and only
those rows and columns of the output are computed that crop and stride leave. Pixels and frequencies come first, batch
and channels last, so that every linear map is one matrix product with all images.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from convnorm.fourier import Block, Plan, split
from convnorm.gradients import gradients_with_graph


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
    rows = x.permute(2, 3, 0, 1).reshape(height, width * batch * inputs)
    u = (plan.analysis @ rows).view(frequencies, 2 * width, batch, inputs)
    taps = weight.permute(2, 3, 0, 1).flatten(0, 1).contiguous()  # (k*k, O, I)
    v = spectrum.permute(1, 2, 0).to(x.dtype).contiguous()  # (F, N, O)
    # A compiler sees plain operations: it fuses what it likes, and chooses itself what to compute twice.
    z = _columns(u, taps, v, plan) if torch.compiler.is_compiling() else _Columns.apply(u, taps, v, plan)
    out_width = z.shape[1] // 2
    y = plan.synthesis @ z.view(2 * frequencies, out_width * batch * outputs)
    return y.view(out_height, out_width, batch, outputs).permute(2, 3, 0, 1)


class Room(NamedTuple):
    """Memory for what is at the points of one frequency of the first axis, used again at the next one.

    Attributes:
        image: (P, B, I).
        kernels: (P, O, I).
        products: (P, B, O).
    """

    image: Tensor
    kernels: Tensor
    products: Tensor


def _room(u: Tensor, outputs: int, plan: Plan) -> Room:
    points, (batch, inputs) = max(len(block.analysis) for block in plan.blocks), u.shape[2:]
    shapes = (points, batch, inputs), (points, outputs, inputs), (points, batch, outputs)
    return Room(*(u.new_empty(shape) for shape in shapes))


def _columns(u: Tensor, taps: Tensor, v: Tensor, plan: Plan) -> Tensor:
    """Map (F, 2W, B, I) to (F, 2W', B, O)."""
    parts, columns, first = split(taps, u.dtype), [], 0
    for block in plan.blocks:
        here = slice(first, first := first + len(block.kernels))
        image = torch.einsum("pw,fwbi->fpbi", block.analysis, u[here])
        kernels = torch.einsum("fpk,koi->fpio", block.kernels, parts)
        products = image @ kernels * v[here, block.frequency].unsqueeze(2)
        columns.append(torch.einsum("wp,fpbo->fwbo", block.synthesis, products))
    return torch.cat(columns)


def _each(plan: Plan) -> Iterator[tuple[int, Block, Tensor]]:
    """Yield each frequency of the first axis, its block, and its map of the kernels."""
    kernels = ((block, kernel) for block in plan.blocks for kernel in block.kernels)
    for f, (block, kernel) in enumerate(kernels):
        yield f, block, kernel


def _apply(matrix: Tensor, x: Tensor, out: Tensor | None = None) -> Tensor:
    """Apply a linear map to the first axis of x; `out` may be longer than the result."""
    flat = None if out is None else out[: len(matrix)].flatten(1)
    return torch.mm(matrix, x.flatten(1), out=flat).view(len(matrix), *x.shape[1:])


def _at(block: Block, v: Tensor) -> Tensor:
    """Return the spectrum (N, O) at the points, (P, 1, O)."""
    return v[block.frequency].unsqueeze(1)


def _is_narrow(u: Tensor) -> bool:
    """Say whether the kernels are smaller than the products, and so take the preconditioner at less cost."""
    batch, inputs = u.shape[2:]
    return 2 * inputs <= batch  # twice: in the backward pass the kernels' gradient takes it too


def _scaled(here: bool, x: Tensor, scale: Tensor) -> Tensor:
    return x.mul_(scale) if here else x


class _Columns(torch.autograd.Function):
    """`_columns`, one frequency of the first axis at a time, whose points fit in the cache.

    Only its inputs are kept for the backward pass: the points are 1.5 times as many as the pixels.
    """

    @staticmethod
    def forward(u: Tensor, taps: Tensor, v: Tensor, plan: Plan) -> Tensor:
        z = u.new_empty(len(u), len(plan.blocks[0].synthesis), u.shape[2], taps.shape[1])
        parts, room, narrow = split(taps, u.dtype), _room(u, taps.shape[1], plan), _is_narrow(u)
        for f, block, kernel in _each(plan):
            image, scale = _apply(block.analysis, u[f], room.image), _at(block, v[f])
            kernels = _scaled(narrow, _apply(kernel, parts, room.kernels), scale.transpose(1, 2))
            products = torch.bmm(image, kernels.transpose(1, 2), out=room.products[: len(image)])
            _apply(block.synthesis, _scaled(not narrow, products, scale), z[f])
        return z

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor, Tensor, Tensor, Plan], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:3])
        ctx.plan = inputs[3]  # type: ignore[attr-defined]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        u, taps, v = ctx.saved_tensors
        if torch.is_grad_enabled():  # a graph of the gradient is wanted, for a gradient penalty
            z = _columns(u, taps, v, ctx.plan)
            return *gradients_with_graph(z, (u, taps), ctx.needs_input_grad[:2], grad), None, None
        return *_gradients(u, taps, v, ctx.plan, grad, ctx.needs_input_grad), None, None


def _gradients(
    u: Tensor, taps: Tensor, v: Tensor, plan: Plan, grad: Tensor, needed: tuple[bool, ...]
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of `_columns` in u and in the taps, each if it is needed."""
    grad_u = torch.empty_like(u) if needed[0] else None
    grad_taps = u.new_empty(len(u), *taps.shape) if needed[1] else None
    parts, room, narrow = split(taps, u.dtype), _room(u, taps.shape[1], plan), _is_narrow(u)
    for f, block, kernel in _each(plan):
        scale = _at(block, v[f])
        products = _scaled(not narrow, _apply(block.synthesis.T, grad[f], room.products), scale)
        image = room.image[: len(products)]
        if grad_u is not None:
            kernels = _scaled(narrow, _apply(kernel, parts, room.kernels), scale.transpose(1, 2))
            torch.bmm(products, kernels, out=image)
            _apply(block.analysis.T, image, grad_u[f])
        if grad_taps is not None:
            image = _apply(block.analysis, u[f], room.image)
            kernels = torch.bmm(products.transpose(1, 2), image, out=room.kernels[: len(image)])
            _apply(kernel[:, : len(taps)].T, _scaled(narrow, kernels, scale.transpose(1, 2)), grad_taps[f])
    return grad_u, None if grad_taps is None else grad_taps.sum(0).to(taps.dtype)
