"""The one place that chooses how a preconditioned convolution is computed: by device type and sizes."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from convnorm import functional
from convnorm.autocast import in_autocast_precision
from convnorm.fast import channel_products, separable
from convnorm.fast.dft import positions
from convnorm.fast.gauss import matrices
from convnorm.fast.separable import basis
from convnorm.functional import Grid
from convnorm.layers import CONVOLVE, CONVOLVE_TRANSPOSED, Convolution, by_output_channel
from convnorm.memory_format import like

COMPILED_BATCH = 64  # a compiled graph serves every batch size; it is chosen for this one

Algorithm: TypeAlias = Callable[[Convolution, Tensor, Tensor, Tensor, Grid], Tensor]


class Costs(NamedTuple):
    """What a device takes, in operations of a large matrix product.

    Attributes:
        fft: an FFT and its inverse, per number.
        convolution: one operation of a convolution.
        reorder: bringing one number of the image into the order of the separable form.
        matrix: one entry of the separable form's matrices, in uses of it.
        narrowest: columns that a matrix product pays for at least.
    """

    fft: float
    convolution: float
    reorder: float
    matrix: float
    narrowest: int


COSTS = {"cpu": Costs(fft=1000, convolution=0.4, reorder=150, matrix=85, narrowest=16)}  # measured on AMD, Zen 3 and 4


def convolve(layer: Convolution, x: Tensor, kernels: Tensor, v: Tensor, grid: Grid) -> Tensor:
    """Return what `functional.convolve` returns, in the form that is fastest for these sizes on x's device.

    Args:
        layer: gives stride, groups and so on; its parameters are not used.
        x: images, (..., I, *H), padded by `layers.pad_image`.
        kernels: one row per output channel, (O, I / groups, *k).
        v: their preconditioner.
        grid: result of `functional.full_grid`.

    Returns:
        The output without bias, (..., O, *H'), in x's dtype or that of autocast.
    """
    if math.prod(layer.kernel_size) == 1:
        return _pointwise(layer, x, kernels * v.flatten(1)[:, 0].view(-1, *[1] * (kernels.dim() - 1)))
    # Scale V to order one, and the kernels by the rest, so that half precision neither overflows nor vanishes.
    level = v.flatten(1).mean(1).view(-1, *[1] * (v.dim() - 1))
    v, kernels = v / level, kernels.to(v.dtype) * level.unsqueeze(1)
    costs = _costs(layer, x, grid)
    algorithm, *others = costs
    for other in others:  # compilers refuse `min` where sizes are symbols
        if costs[other] < costs[algorithm]:
            algorithm = other
    return like(in_autocast_precision(x, lambda x: algorithm(layer, x, kernels, v, grid)), x, kernels)


def _costs(layer: Convolution, x: Tensor, grid: Grid) -> dict[Algorithm, float]:
    """Return the cost of each algorithm that applies, per number of the grid.

    Channel products pay for the kernels' transforms, so they need a batch.
    """
    if x.dim() != 4 or len(grid.size) != 2 or layer.groups > 1:
        return {_plain: 0}
    device = COSTS["cpu"]
    batch = COMPILED_BATCH if torch.compiler.is_compiling() else len(x)
    inputs, outputs, taps = layer.in_channels, layer.out_channels, math.prod(layer.kernel_size)
    width, kept = len(positions(layer, grid).pixels[1]), len(grid.crop[1])

    def transforms(narrowest: int) -> int:
        return width * max(inputs, narrowest) + kept * max(outputs, narrowest)

    return {
        _plain: batch * outputs * (2 * taps * inputs * device.convolution + device.fft),
        _channel_products: batch * 8 * transforms(device.narrowest) + 3 * inputs * outputs * (batch + 2 * taps),
        _separable: batch * (4 * transforms(0) + device.reorder * inputs)
        + 8 * inputs * outputs * (batch + device.matrix),
    }


def _plain(layer: Convolution, x: Tensor, kernels: Tensor, v: Tensor, grid: Grid) -> Tensor:
    return functional.convolve(layer, x, kernels, v, grid)


def _channel_products(layer: Convolution, x: Tensor, kernels: Tensor, v: Tensor, grid: Grid) -> Tensor:
    return channel_products.convolve(x, kernels, v, matrices(tuple(positions(layer, grid)), x.dtype, x.device))


def _separable(layer: Convolution, x: Tensor, kernels: Tensor, v: Tensor, grid: Grid) -> Tensor:
    return separable.convolve(x, kernels, v, basis(tuple(positions(layer, grid)), x.dtype, x.device))


def _pointwise(layer: Convolution, x: Tensor, kernels: Tensor) -> Tensor:
    """Return the layer's own output for kernels of one tap, whose V is a scale that they hold already."""
    weight, axes = by_output_channel(layer, kernels).to(x.dtype), kernels.dim() - 2
    padding = () if layer.padding_mode != "zeros" or isinstance(layer.padding, str) else layer.padding
    if layer.transposed:
        extra = layer.output_padding
        return CONVOLVE_TRANSPOSED[axes](x, weight, None, layer.stride, padding, extra, layer.groups, layer.dilation)
    if any(padding):
        x = F.pad(x, [p for axis in reversed(padding) for p in (axis, axis)])
    # Strided here and not by the convolution: with AVX2, oneDNN's gradients in such weights of fewer than 8 inputs are
    # wrong, or end the process (uxlfoundation/oneDNN#6035).
    steps: list[Any] = [slice(None, None, stride) for stride in layer.stride]
    return CONVOLVE[axes](x[tuple([..., *steps])], weight, None, 1, 0, 1, layer.groups)
