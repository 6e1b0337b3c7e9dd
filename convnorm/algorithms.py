"""The preconditioned, cropped and strided output of a convolution, by the algorithm that is cheapest for its sizes."""

import math
from collections.abc import Callable
from types import EllipsisType
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from convnorm.autocast import in_autocast_precision
from convnorm.bicomplex import basis, mix_few
from convnorm.fourier import plan
from convnorm.functional import precondition
from convnorm.geometry import CONVOLVE, CONVOLVE_TRANSPOSED, Convolution, Geometry, rows
from convnorm.layout import in_layout
from convnorm.mixing import mix

COMPILED_BATCH = 64  # what a compiler's graph is chosen for: it is to hold for every batch

# In operations of a matrix product, measured on CPUs:
FFT_COST = 1000  # a number's way through both FFTs
CONVOLUTION_COST = 0.4  # a convolution's operation (oneDNN's kernels against MKL's, on AMD)
REORDER_COST = 150  # a number's way to its place in the bicomplex image
MATRIX_COST = 85  # an entry of the kernels' bicomplex matrices, in uses of it
NARROWEST = 16  # products of matrices with fewer columns take as long as those with so many

Algorithm: TypeAlias = Callable[[Convolution, Tensor, Tensor, Tensor, Geometry], Tensor]


def convolve_preconditioned(layer: Convolution, x: Tensor, kernels: Tensor, spectrum: Tensor, grid: Geometry) -> Tensor:
    """Return the layer's output of x, without bias, after its full output was preconditioned.

    Args:
        layer: gives stride, groups and the like; its parameters are not used.
        x: images, (..., I, *H), extended by `geometry.extend`.
        kernels: one row per output channel, (O, I / groups, *k).
        spectrum: what `functional.preconditioner` returns for them.
        grid: of the layer, for x.

    Returns:
        (..., O, *H'), in x's dtype or that of autocast.
    """
    if math.prod(layer.kernel_size) == 1:  # a flat spectrum, which is a scale
        return _convolve(layer, x, kernels * spectrum.flatten(1)[:, 0].view(-1, *[1] * (kernels.dim() - 1)))
    level = spectrum.flatten(1).mean(1).view(-1, *[1] * (spectrum.dim() - 1))
    spectrum = spectrum / level  # of order one: half precision neither overflows nor vanishes
    kernels = kernels.to(spectrum.dtype) * level.unsqueeze(1)
    costs = _costs(layer, x, grid)
    algorithm, *others = costs
    for other in others:  # not `min`, which compilers refuse where sizes are symbols
        if costs[other] < costs[algorithm]:
            algorithm = other
    return in_layout(algorithm(layer, x, kernels, spectrum, grid), x, kernels)


def _costs(layer: Convolution, x: Tensor, grid: Geometry) -> dict[Algorithm, float]:
    """Return what each algorithm that can do it costs per number of the grid, in operations of a matrix product.

    Mixing pays for the kernels' transforms, so it needs a batch.
    """
    if x.dim() != 4 or len(grid.size) != 2 or layer.groups > 1:
        return {_filter: 0}
    batch = COMPILED_BATCH if torch.compiler.is_compiling() else len(x)
    inputs, outputs, taps = layer.in_channels, layer.out_channels, math.prod(layer.kernel_size)

    def ways(narrowest: int) -> int:
        return len(grid.image[1]) * max(inputs, narrowest) + len(grid.window[1]) * max(outputs, narrowest)

    return {
        _filter: batch * outputs * (2 * taps * inputs * CONVOLUTION_COST + FFT_COST),
        _mix: batch * 8 * ways(NARROWEST) + 3 * inputs * outputs * (batch + 2 * taps),
        _mix_few: batch * (4 * ways(0) + REORDER_COST * inputs) + 8 * inputs * outputs * (batch + MATRIX_COST),
    }


def _filter(layer: Convolution, x: Tensor, kernels: Tensor, spectrum: Tensor, grid: Geometry) -> Tensor:
    window: list[slice | EllipsisType] = [slice(places.start, places.stop, places.step) for places in grid.window]

    def run(x: Tensor) -> Tensor:  # in full precision up to here: the spectrum amplifies what rounding leaves
        y = precondition(_convolve_fully(layer, x.to(kernels.dtype), kernels, grid), spectrum)
        return y[tuple([..., *window])].to(x.dtype)

    return in_autocast_precision(x, run)


def _mix(layer: Convolution, x: Tensor, kernels: Tensor, spectrum: Tensor, grid: Geometry) -> Tensor:
    return in_autocast_precision(x, lambda x: mix(x, kernels, spectrum, plan(tuple(grid), x.dtype, x.device)))


def _mix_few(layer: Convolution, x: Tensor, kernels: Tensor, spectrum: Tensor, grid: Geometry) -> Tensor:
    return in_autocast_precision(x, lambda x: mix_few(x, kernels, spectrum, basis(tuple(grid), x.dtype, x.device)))


def _convolve(layer: Convolution, x: Tensor, kernels: Tensor) -> Tensor:
    """Return the layer's own output with other kernels, of a single tap."""
    weight, axes = rows(layer, kernels).to(x.dtype), kernels.dim() - 2
    padding = () if layer.padding_mode != "zeros" or isinstance(layer.padding, str) else layer.padding
    if layer.transposed:
        extra = layer.output_padding
        return CONVOLVE_TRANSPOSED[axes](x, weight, None, layer.stride, padding, extra, layer.groups, layer.dilation)
    if any(padding):
        x = F.pad(x, [p for axis in reversed(padding) for p in (axis, axis)])
    # Here and not by the convolution: with AVX2 oneDNN's gradients in such weights of fewer than 8 inputs are wrong, if
    # they don't end the process (uxlfoundation/oneDNN#6035).
    kept: list[slice | EllipsisType] = [slice(None, None, stride) for stride in layer.stride]
    return CONVOLVE[axes](x[tuple([..., *kept])], weight, None, 1, 0, 1, layer.groups)


def _convolve_fully(layer: Convolution, x: Tensor, kernels: Tensor, grid: Geometry) -> Tensor:
    """Return the full output: with stride 1, or uncropped if the layer is transposed."""
    weight, axes = rows(layer, kernels).to(x.dtype), kernels.dim() - 2
    if layer.transposed:
        return CONVOLVE_TRANSPOSED[axes](x, weight, None, layer.stride, 0, grid.padding, layer.groups, layer.dilation)
    return CONVOLVE[axes](x, weight, None, 1, grid.padding, layer.dilation, layer.groups)
