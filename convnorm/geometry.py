"""Where image, kernel and output lie on the grid of a layer's full output: all that differs between convolutions."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import torch.nn.functional as F
from torch import Tensor, nn

from convnorm.layout import in_layout

Convolution: TypeAlias = (
    nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
)
CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}  # by the number of spatial axes
CONVOLVE_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


class Geometry(NamedTuple):
    """A layer on the grid of its full, zero-padded output; one entry per spatial axis.

    The full output at n is the sum over pixels m and taps u with ``image[m] + taps[u] = n`` on the grid, which wraps
    around but is large enough that no pixel does. Of it the layer itself returns ``window``.

    Attributes:
        size: N.
        padding: what the full convolution is called with: zeros around the image, or a transposed one's output_padding.
        image: where the pixels lie.
        taps: where the kernel's taps lie.
        window: what padding and stride leave.
    """

    size: tuple[int, ...]
    padding: tuple[int, ...]
    image: tuple[range, ...]
    taps: tuple[range, ...]
    window: tuple[range, ...]


def geometry(layer: Convolution, image: Sequence[int]) -> Geometry:
    """Lay a layer on its grid, for images (already extended, see `extend`) of the given size.

    Raises:
        ValueError: if nothing would be left of the output, or torch refuses such a padding.
    """
    if layer.padding_mode == "zeros" and not isinstance(layer.padding, str) and min(layer.padding) < 0:
        raise ValueError(f"padding must not be negative, got {layer}")
    freedom = [max(pair) for pair in zip(layer.stride, layer.dilation, strict=True)]
    if any(extra >= most for extra, most in zip(layer.output_padding, freedom, strict=True)):
        raise ValueError(f"output_padding must be less than stride or dilation, got {layer}")
    axis = _transposed_axis if layer.transposed else _axis
    grid = Geometry(*zip(*(axis(layer, i, h) for i, h in enumerate(image)), strict=True))
    if not all(grid.window) or not all(image):
        raise ValueError(f"image of size {tuple(image)} is too small for {layer}")
    return grid


def _axis(layer: Convolution, i: int, h: int) -> tuple[int, int, range, range, range]:
    step, dilation = layer.stride[i], layer.dilation[i]
    reach = dilation * (layer.kernel_size[i] - 1)  # N = H + reach, unless there are more zeros around
    before, after = _zeros(layer, i, reach)
    padding = max(reach, before)
    beyond = padding - reach
    start, count = padding - before, (h + before + after - reach - 1) // step + 1
    return (
        h + padding + beyond,
        padding,
        range(beyond, beyond + h),
        range(reach, -1, -dilation),
        range(start, start + count * step, step),
    )


def _zeros(layer: Convolution, i: int, reach: int) -> tuple[int, int]:
    if layer.padding_mode != "zeros" or layer.padding == "valid":
        return 0, 0
    if isinstance(layer.padding, str):  # "same"
        return reach // 2, reach - reach // 2
    return layer.padding[i], layer.padding[i]


def _transposed_axis(layer: Convolution, i: int, h: int) -> tuple[int, int, range, range, range]:
    step, dilation = layer.stride[i], layer.dilation[i]
    image = range(0, (h - 1) * step + 1, step)
    reach = dilation * (layer.kernel_size[i] - 1)
    full = (h - 1) * step + reach + 1
    start = _zeros(layer, i, reach)[0]
    stop = full - start + layer.output_padding[i]
    beyond = max(stop - full, 0)
    return full + beyond, beyond, image, range(0, reach + 1, dilation), range(start, stop)


def extended(layer: Convolution, size: Sequence[int]) -> list[int]:
    """Return the size of an image of the given size after `extend`."""
    if layer.padding_mode == "zeros":
        return list(size)
    margins = layer._reversed_padding_repeated_twice  # of the last axis first
    return [h + sum(margins[2 * i : 2 * i + 2]) for h, i in zip(size, reversed(range(len(size))), strict=True)]


def extend(layer: Convolution, x: Tensor) -> Tensor:
    """Extend the image as the layer's padding mode says; zeros are left to the convolution."""
    if layer.padding_mode == "zeros":
        return x
    return in_layout(F.pad(x, layer._reversed_padding_repeated_twice, mode=layer.padding_mode), x)


def rows(layer: Convolution, weight: Tensor) -> Tensor:
    """Return the layer's weight with one row per output channel, (O, I / groups, *k), or such rows as its weight."""
    if not layer.transposed:
        return weight
    groups = weight.reshape(layer.groups, -1, *weight.shape[1:])
    return groups.transpose(1, 2).flatten(0, 1)
