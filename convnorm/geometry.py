"""Where a layer's output lies on the grid of its full, zero-padded output: all that differs between convolutions."""

from collections.abc import Sequence
from types import EllipsisType
from typing import NamedTuple, TypeAlias

import torch.nn.functional as F
from torch import Tensor, nn

Convolution: TypeAlias = (
    nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
)
CONVOLVE = F.conv1d, F.conv2d, F.conv3d
CONVOLVE_TRANSPOSED = F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d


class Geometry(NamedTuple):
    """The full output of a layer, and the slices of it that the layer itself returns; one entry per spatial axis.

    Attributes:
        padding: what the full convolution is called with: zeros around the image, or a transposed one's output_padding.
        size: N, the grid of the full output.
        window: the index of what padding and stride leave of the full output.
    """

    padding: list[int]
    size: list[int]
    window: tuple[slice | EllipsisType, ...]


def rows(layer: Convolution, weight: Tensor) -> Tensor:
    """Return the layer's kernels with one row per output channel: (O, I / groups, *k)."""
    if not layer.transposed:
        return weight
    groups = weight.reshape(layer.groups, -1, *weight.shape[1:])
    return groups.transpose(1, 2).flatten(0, 1)


def extend(layer: Convolution, x: Tensor) -> Tensor:
    """Extend the image as the layer's padding mode says; zeros are left to the convolution."""
    if layer.padding_mode == "zeros":
        return x
    return F.pad(x, layer._reversed_padding_repeated_twice, mode=layer.padding_mode)


def geometry(layer: Convolution, image: Sequence[int]) -> Geometry:
    """Lay the layer's output, for an (extended) image of the given size, on the grid of its full output."""
    axis = _transposed_axis if layer.transposed else _axis
    padding, size, window = zip(*(axis(layer, i, h) for i, h in enumerate(image)), strict=True)
    return Geometry(list(padding), list(size), (..., *window))


def _axis(layer: Convolution, i: int, h: int) -> tuple[int, int, slice]:
    reach = layer.dilation[i] * (layer.kernel_size[i] - 1)  # N = H + reach where padding is not larger
    before, after = _zeros(layer, i, reach)
    padding = max(reach, before)
    count = (h + before + after - reach - 1) // layer.stride[i] + 1
    start = padding - before
    return padding, h + 2 * padding - reach, slice(start, start + (count - 1) * layer.stride[i] + 1, layer.stride[i])


def _zeros(layer: Convolution, i: int, reach: int) -> tuple[int, int]:
    if layer.padding_mode != "zeros" or layer.padding == "valid":
        return 0, 0
    if isinstance(layer.padding, str):  # "same"
        return reach // 2, reach - reach // 2
    return layer.padding[i], layer.padding[i]


def _transposed_axis(layer: Convolution, i: int, h: int) -> tuple[int, int, slice]:
    full = (h - 1) * layer.stride[i] + layer.dilation[i] * (layer.kernel_size[i] - 1) + 1
    start = _zeros(layer, i, 0)[0]
    stop = full - start + layer.output_padding[i]
    beyond = max(stop - full, 0)
    return beyond, full + beyond, slice(start, stop, 1)


def convolve(layer: Convolution, x: Tensor, weight: Tensor, padding: Sequence[int]) -> Tensor:
    """Compute the full output of the layer, without bias: stride 1, or uncropped where it is transposed."""
    axes = weight.dim() - 3
    if layer.transposed:
        return CONVOLVE_TRANSPOSED[axes](x, weight, None, layer.stride, 0, padding, layer.groups, layer.dilation)
    return CONVOLVE[axes](x, weight, None, 1, padding, layer.dilation, layer.groups)
