"""Convolution, preconditioner and crop in one, as products of channels at every frequency.

At each frequency the preconditioned full output is a transfer matrix times the image's channels. That takes 1.5 N^2
multiplications per image and pair of channels (three real products for a complex one, half of the frequencies); the
full convolution takes k^2 N^2. The inverse transform computes only the positions that crop and stride select. All
steps are products with the constant matrices of `gauss`.
"""

import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from convnorm.autocast import without_autocast
from convnorm.fast.gauss import Block, Matrices, split
from convnorm.fast.gradients import backward_by_plain_operations, by_plain_operations, plain_gradients
from convnorm.fast.transform import empty, from_frequencies, small_products, to_frequencies, transform
from convnorm.memory_format import keep_memory_format


def convolve(x: Tensor, kernels: Tensor, v: Tensor, constants: Matrices) -> Tensor:
    """Return the preconditioned, cropped and strided output.

    Args:
        x: images, (B, I, H, W), fastest in `torch.channels_last`.
        kernels: one row per output channel, (O, I, k, k), at least float32; fastest in the same format.
        v: the preconditioner, (O, N_1 // 2 + 1, N_2).
        constants: result of `gauss.matrices` in x's dtype.

    Returns:
        (B, O, H', W') in x's dtype, in any memory format.
    """
    u = to_frequencies(constants.analysis, keep_memory_format(x))
    taps = kernels.permute(2, 3, 0, 1).flatten(0, 1)  # (k*k, O, I)
    taps = taps.transpose(0, 1).contiguous().transpose(0, 1) if small_products(taps, x.dtype) else taps.contiguous()
    v = v.permute(1, 2, 0).to(x.dtype).contiguous()  # (F, N_2, O)
    z = _products(u, taps, v, constants) if all_at_once(x) else _Products.apply(u, taps, v, constants)
    return from_frequencies(constants.synthesis, z)


def all_at_once(x: Tensor) -> bool:
    """Return whether all frequencies are computed at once for images x, and not one by one.

    A CPU's cache holds one frequency. Other devices are faster with few large operations.
    """
    return by_plain_operations() or x.device.type != "cpu"


def _products(u: Tensor, taps: Tensor, v: Tensor, constants: Matrices) -> Tensor:
    """Return z, (F, 2W', B, O), for u, (F, 2W, B, I), all frequencies of a block at once."""
    found, first, parts = [], 0, split(taps, u.dtype)
    for block in constants.blocks:
        here = slice(first, first := first + len(block.kernels))
        image = transform(block.analysis, u[here])  # (F', P, B, I)
        kernels = transform(block.kernels, parts) * v[here][:, block.frequency].unsqueeze(3)  # (F', P, O, I)
        found.append(transform(block.synthesis.T, image @ kernels.transpose(2, 3)))
    return torch.cat(found) if len(found) > 1 else found[0]


class _Products(torch.autograd.Function):
    """`_products`, one frequency of the first axis at a time, which fits in a CPU's cache.

    It saves only its inputs for the backward pass: the factors are 1.5 times as many numbers as the pixels.
    """

    @staticmethod
    def forward(u: Tensor, taps: Tensor, v: Tensor, constants: Matrices) -> Tensor:
        z = empty(u, len(u), constants.blocks[0].synthesis.shape[1], u.shape[2], taps.shape[1])
        parts = split(taps, u.dtype)
        for f, block, matrix, scale in _each_frequency(v, constants):
            image, kernels = transform(block.analysis, u[f]), transform(matrix, parts).mul_(scale)
            # V scales the kernels: the products would overflow half precision at a frequency without power.
            transform(block.synthesis.T, torch.bmm(image, kernels.transpose(1, 2)), out=z[f])
        return z

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor, Tensor, Tensor, Matrices], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:3])
        ctx.constants = inputs[3]  # type: ignore[attr-defined]

    @staticmethod
    @without_autocast
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        u, taps, v = ctx.saved_tensors
        needed = ctx.needs_input_grad[:2]
        if backward_by_plain_operations(grad):
            again = functools.partial(_products, v=v, constants=ctx.constants)
            return *plain_gradients(again, (u, taps), needed, grad), None, None
        return *_gradients(u, taps, v, ctx.constants, grad, needed), None, None


def _gradients(
    u: Tensor, taps: Tensor, v: Tensor, constants: Matrices, grad: Tensor, needed: tuple[bool, ...]
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of u and of the taps, or None where not needed."""
    grad_u = empty(u, *u.shape) if needed[0] else None
    grad_taps = torch.zeros_like(taps) if needed[1] else None
    parts = split(taps, u.dtype)
    for f, block, matrix, scale in _each_frequency(v, constants):
        products = transform(block.synthesis, grad[f])
        if grad_u is not None:
            kernels = transform(matrix, parts).mul_(scale)
            transform(block.analysis.T, torch.bmm(products, kernels), out=grad_u[f])
        if grad_taps is not None:
            products.mul_(
                scale.transpose(1, 2)
            )  # fewer numbers than the kernels' gradient, which V could scale instead
            of_kernels = torch.bmm(products.transpose(1, 2), transform(block.analysis, u[f]))
            grad_taps += transform(matrix[:, : len(taps)].T, of_kernels)
    return grad_u, grad_taps


def _each_frequency(v: Tensor, constants: Matrices) -> Iterator[tuple[int, Block, Tensor, Tensor]]:
    """Yield each frequency of the first axis, its block, its matrix for the taps and V at its products, (P, O, 1)."""
    f = 0
    for block in constants.blocks:
        for matrix in block.kernels:
            yield f, block, matrix, v[f, block.frequency].unsqueeze(2)
            f += 1
