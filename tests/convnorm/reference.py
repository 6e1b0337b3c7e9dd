"""ConvNorm by its definition, in numpy and float64, from the layer's public attributes: none of our code is used."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

PAD_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}  # torch's names, and numpy's


class Axis(NamedTuple):
    """A spatial axis of the full output: n has the products of pixels m and taps u with m + u = n.

    Attributes:
        size: N, how many positions there are; n is meant modulo N.
        pixels: where the image's pixels lie.
        taps: where the kernel's taps lie.
        outputs: what the layer returns of it.
    """

    size: int
    pixels: np.ndarray
    taps: np.ndarray
    outputs: np.ndarray


def output(layer: nn.Module, x: Tensor, normalized: bool = True) -> Tensor:
    """Return a layer's output without bias, each row of its transfer matrices scaled to norm one if `normalized`.

    Args:
        layer: a convolution, plain or transposed, in float64.
        x: images, (N, I, *H), in float64.
        normalized: False for the layer's own output.
    """
    image = _padded(layer, x.numpy())
    axes = [_axis(layer, i, h) for i, h in enumerate(image.shape[2:])]
    pixels = _transformed(image, [axis.pixels for axis in axes], axes)
    channels = []
    for o in range(layer.out_channels):
        inputs, kernels = _row(layer, o)
        row = _transformed(kernels, [axis.taps for axis in axes], axes)  # (I / groups, *N)
        if normalized:
            row /= np.sqrt((np.abs(row) ** 2).sum(0))
        channels.append((row * pixels[:, inputs]).sum(1))
    full = np.fft.ifftn(np.stack(channels, 1), axes=_last(axes)).real
    return torch.from_numpy(full[(..., *np.ix_(*(axis.outputs % axis.size for axis in axes)))])


def _axis(layer: nn.Module, i: int, h: int) -> Axis:
    stride, reach = layer.stride[i], _reach(layer, i)
    taps = np.arange(layer.kernel_size[i]) * layer.dilation[i]
    before, after = _margins(layer, i) if layer.padding_mode == "zeros" else (0, 0)
    if layer.transposed:
        spread = (h - 1) * stride + 1  # the image, with zeros between its pixels
        count = spread + reach - before - after + layer.output_padding[i]
        # Output padding may ask for more than there is.
        return Axis(max(spread + reach, before + count), np.arange(h) * stride, taps, before + np.arange(count))
    count = (h + before + after - reach - 1) // stride + 1
    # torch correlates, hence the taps in reverse. Outputs of zeros beyond the kernel's reach have their own positions.
    beyond = max(before - reach, 0) + max(after - reach, 0)
    return Axis(h + reach + beyond, np.arange(h), reach - taps, reach - before + np.arange(count) * stride)


def _reach(layer: nn.Module, i: int) -> int:
    """Return the distance between the kernel's first and last tap."""
    return layer.dilation[i] * (layer.kernel_size[i] - 1)


def _margins(layer: nn.Module, i: int) -> tuple[int, int]:
    """Return what the layer's padding adds before and after the image."""
    if layer.padding == "valid":
        return 0, 0
    if layer.padding == "same":
        return _reach(layer, i) // 2, -(-_reach(layer, i) // 2)
    return layer.padding[i], layer.padding[i]


def _padded(layer: nn.Module, image: np.ndarray) -> np.ndarray:
    """Pad the image by its padding mode, except with zeros, which come from the grid."""
    if layer.padding_mode == "zeros":
        return image
    margins = [_margins(layer, i) for i in range(image.ndim - 2)]
    return np.pad(image, [(0, 0), (0, 0), *margins], mode=PAD_MODES[layer.padding_mode])


def _row(layer: nn.Module, o: int) -> tuple[slice, np.ndarray]:
    """Return which input channels an output channel sees, and its kernels for them, (I / groups, *k)."""
    weight, per_group = layer.weight.detach().numpy(), layer.in_channels // layer.groups
    group, within = divmod(o, layer.out_channels // layer.groups)
    inputs = slice(group * per_group, (group + 1) * per_group)
    return inputs, weight[inputs, within] if layer.transposed else weight[o]


def _transformed(values: np.ndarray, positions: list[np.ndarray], axes: list[Axis]) -> np.ndarray:
    """Return the Fourier transform of the grid on which the values are at their positions and zeros elsewhere."""
    grid = np.zeros((*values.shape[: -len(axes)], *(axis.size for axis in axes)))
    grid[(..., *np.ix_(*positions))] = values
    return np.fft.fftn(grid, axes=_last(axes))


def _last(axes: list[Axis]) -> range:
    return range(-len(axes), 0)
