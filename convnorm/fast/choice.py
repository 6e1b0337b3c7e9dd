"""The one place that chooses how to compute a preconditioned convolution: by device and sizes."""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from convnorm import functional
from convnorm.autocast import in_autocast_precision
from convnorm.fast import channel_products, separable
from convnorm.fast.channel_products import all_at_once
from convnorm.fast.costs import Sizes, costs
from convnorm.fast.dft import positions
from convnorm.fast.gauss import matrices
from convnorm.fast.gpu.availability import offered
from convnorm.fast.separable import basis
from convnorm.grid import Grid
from convnorm.layers import CONVOLVE, CONVOLVE_TRANSPOSED, Convolution, by_output_channel, zero_padding
from convnorm.memory_format import like

COMPILED_BATCH = 64  # a compiled graph serves every batch size; its form is chosen for this one
# Numbers, 256 MiB in float32: above this the kernels' transforms at all frequencies, of 1.5 numbers per frequency and
# pair of channels, are not held at once; the plain form runs.
MOST_KERNELS = 2**26

Algorithm: TypeAlias = Callable[[Convolution, Tensor, Tensor, Tensor, Grid], Tensor]


def convolve(layer: Convolution, x: Tensor, kernels: Tensor, v: Tensor, grid: Grid) -> Tensor:
    """Return what `functional.convolve` returns, in the fastest form for these sizes on x's device.

    Args:
        layer: the convolution. Its own parameters are not used.
        x: images, (..., I, *H), padded by `layers.pad_image`.
        kernels: one row per output channel, (O, I / groups, *k).
        v: their preconditioner.
        grid: result of `grid.full_grid`.

    Returns:
        The output without bias, (..., O, *H'), in x's dtype or autocast's.
    """
    if math.prod(layer.kernel_size) == 1:
        return _pointwise(layer, x, kernels * v.flatten(1)[:, 0].view(-1, *[1] * (kernels.dim() - 1)), grid)
    cost = _costs(layer, x, grid)
    algorithm, *others = cost
    for other in others:  # compilers refuse `min` with symbolic sizes
        if cost[other] < cost[algorithm]:
            algorithm = other
    if algorithm is not _triton:  # which multiplies the two in float32
        v, kernels = _of_one_scale(v, kernels)
    return like(in_autocast_precision(x, lambda x: algorithm(layer, x, kernels, v, grid)), x, kernels)


def _of_one_scale(v: Tensor, kernels: Tensor) -> tuple[Tensor, Tensor]:
    """Move the scale of V into the kernels, so that neither overflows nor vanishes in half precision."""
    level = v.flatten(1).mean(1).view(-1, *[1] * (v.dim() - 1))
    return v / level, kernels.to(v.dtype) * level.unsqueeze(1)


def _costs(layer: Convolution, x: Tensor, grid: Grid) -> dict[Algorithm, float]:
    """Return the cost of each form that applies."""
    if x.dim() != 4 or len(grid.size) != 2 or layer.groups > 1:
        return {_plain: 0}
    inputs, outputs, cells = layer.in_channels, layer.out_channels, math.prod(grid.size)
    if all_at_once(x) and 3 * cells * inputs * outputs > 2 * MOST_KERNELS:
        return {_plain: 0}
    batch = COMPILED_BATCH if torch.compiler.is_compiling() else len(x)
    width = len(positions(layer, grid).pixels[1])
    sizes = Sizes(batch, inputs, outputs, math.prod(layer.kernel_size), cells, width, len(grid.crop[1]))
    found: dict[Algorithm, float] = dict(
        zip((_plain, _channel_products, _separable, _triton), costs(x.device.type, sizes), strict=True)
    )
    if not offered(x, grid.size):
        del found[_triton]
    return found


def _plain(layer: Convolution, x: Tensor, kernels: Tensor, v: Tensor, grid: Grid) -> Tensor:
    return functional.convolve(layer, x, kernels, v, grid)


def _channel_products(layer: Convolution, x: Tensor, kernels: Tensor, v: Tensor, grid: Grid) -> Tensor:
    return channel_products.convolve(x, kernels, v, matrices(tuple(positions(layer, grid)), x.dtype, x.device))


def _separable(layer: Convolution, x: Tensor, kernels: Tensor, v: Tensor, grid: Grid) -> Tensor:
    return separable.convolve(x, kernels, v, basis(tuple(positions(layer, grid)), x.dtype, x.device))


def _triton(layer: Convolution, x: Tensor, kernels: Tensor, v: Tensor, grid: Grid) -> Tensor:
    from convnorm.fast.gpu import points  # which imports Triton

    return points.convolve(x, kernels.float(), v, positions(layer, grid))


def _pointwise(layer: Convolution, x: Tensor, kernels: Tensor, grid: Grid) -> Tensor:
    """Return the layer's own output for 1x1 kernels that are scaled by their V already."""
    weight, axes = by_output_channel(layer, kernels).to(x.dtype), kernels.dim() - 2
    padding = () if layer.padding_mode != "zeros" or isinstance(layer.padding, str) else layer.padding
    if layer.transposed:
        zeros = zero_padding(layer)
        full = [n - beyond - 2 * p for n, beyond, (p, _) in zip(grid.size, grid.padding, zeros, strict=True)]
        extra = [len(crop) - n for crop, n in zip(grid.crop, full, strict=True)]
        return CONVOLVE_TRANSPOSED[axes](x, weight, None, layer.stride, padding, extra, layer.groups, layer.dilation)
    if any(padding):
        x = F.pad(x, [p for axis in reversed(padding) for p in (axis, axis)])
    # Stride by slicing: with AVX2, oneDNN's weight gradient of a strided 1x1 convolution with fewer than 8 inputs is
    # wrong or ends the process (uxlfoundation/oneDNN#6035).
    steps: list[Any] = [slice(None, None, stride) for stride in layer.stride]
    return CONVOLVE[axes](x[tuple([..., *steps])], weight, None, 1, 0, 1, layer.groups)
