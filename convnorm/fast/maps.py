"""A linear map of the rows of many matrices at once: ``A X_n`` for all n, where (R, N, C) are N matrices of R rows.

Two orders in memory make that fast. With rows outermost it is one wide product; with matrices outermost it is N small
ones, whose numbers stay in the nearest cache and which threads share out among themselves. MKL, which multiplies
float32 and float64, shares out a wide product badly: two threads may take longer than one. oneDNN, which multiplies
half precision, does it well, and of operands that are no whole tensors torch would make copies for it.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from convnorm.autocast import without_autocast
from convnorm.fast.gradients import by_plain_operations, piece_by_piece


def matrices_outermost(dtype: torch.dtype) -> bool:
    """Return which of the two orders is the one for maps."""
    return dtype.itemsize > 2


def in_order(memory: Tensor, *shape: int) -> Tensor:
    """Return flat memory as (..., R, N, C), in the order for maps."""
    memory = memory[: math.prod(shape)]
    if not matrices_outermost(memory.dtype):
        return memory.view(shape)
    *outer, rows, count, columns = shape
    return memory.view(*outer, count, rows, columns).transpose(-3, -2)


def empty(like: Tensor, *shape: int) -> Tensor:
    """Return memory for (..., R, N, C), in the order for maps."""
    return in_order(like.new_empty(math.prod(shape)), *shape)


def ordered(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return x, (R, N, C), in the order for maps in the data type that it will have."""
    return x.transpose(0, 1).contiguous().transpose(0, 1) if matrices_outermost(dtype) else x.contiguous()


def apply(matrix: Tensor, x: Tensor, out: Tensor) -> None:
    """Map x, (R, N, C), to `out`, (R', N, C), both in the order for maps; where matrices are outermost, x in any."""
    if matrices_outermost(x.dtype):
        torch.bmm(matrix.expand(x.shape[1], -1, -1), x.transpose(0, 1), out=out.transpose(0, 1))
    else:
        torch.mm(matrix, x.flatten(1), out=out.flatten(1))


class Orders(NamedTuple):
    """The same memory, (P, N, C), in two orders: that for maps, and with points outermost for products at each."""

    maps: Tensor
    points: Tensor


def orders(like: Tensor, *shape: int) -> Orders:
    """Return memory for (P, N, C)."""
    memory = like.new_empty(math.prod(shape))
    return Orders(in_order(memory, *shape), memory.view(shape))


def to_columns(matrix: Tensor, x: Tensor) -> Tensor:
    """Transform the first axis of images (B, C, H, W) by a constant matrix (2F, H), to (F, 2, W, B, C).

    On a CPU each (2W, B, C) is in the order for maps.
    """
    if not _by_image(x):
        batch, channels, height, width = x.shape
        rows = matrix @ x.permute(2, 3, 0, 1).reshape(height, width * batch * channels)
        return rows.view(len(matrix) // 2, 2, width, batch, channels)
    columns: Tensor = _ToColumns.apply(x, matrix)
    return columns


def from_columns(matrix: Tensor, columns: Tensor) -> Tensor:
    """Transform columns (F, 2, W, B, C) by a constant matrix (H, 2F), to images (B, C, H, W).

    On a CPU each (W, B, C) is best in the order for maps.
    """
    if not _by_image(columns):
        frequencies, _, width, batch, channels = columns.shape
        # In two steps: torch 2.11 takes one only for the batch that it exports with.
        y = matrix @ columns.flatten(1).view(2 * frequencies, width * batch * channels)
        return y.view(len(matrix), width, batch, channels).permute(2, 3, 0, 1)
    x: Tensor = _FromColumns.apply(columns, matrix)
    return x


def _by_image(x: Tensor) -> bool:
    """Return whether to transform image by image."""
    return not by_plain_operations() and piece_by_piece(x) and matrices_outermost(x.dtype)


class _OfConstant(torch.autograd.Function):
    """A linear map by a constant matrix: all that its gradient needs."""

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.matrix = inputs[1]  # type: ignore[attr-defined]


class _ToColumns(_OfConstant):
    @staticmethod
    def forward(x: Tensor, matrix: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        images = x.permute(0, 2, 3, 1).reshape(batch, height, width * channels)
        rows = torch.bmm(matrix.expand(batch, -1, -1), images)
        return rows.view(batch, len(matrix) // 2, 2, width, channels).permute(1, 2, 3, 0, 4)

    @staticmethod
    @without_autocast
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return from_columns(ctx.matrix.T, grad), None


class _FromColumns(_OfConstant):
    @staticmethod
    def forward(columns: Tensor, matrix: Tensor) -> Tensor:
        width, batch, channels = columns.shape[2:]
        re, im = columns.permute(1, 3, 0, 2, 4).flatten(3)  # (B, F, W·C)
        of_re, of_im = (matrix[:, part::2].contiguous().expand(batch, -1, -1) for part in range(2))
        y = torch.bmm(of_re, re).baddbmm_(of_im, im)
        return y.view(batch, len(matrix), width, channels).permute(0, 3, 1, 2)

    @staticmethod
    @without_autocast
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return to_columns(ctx.matrix.T, grad), None
