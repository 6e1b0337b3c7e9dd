"""Where the pixels, the kernel's taps and the output lie on the grid of a layer's full output."""

from typing import NamedTuple

from convnorm.functional import Grid
from convnorm.layers import Convolution


class Positions(NamedTuple):
    """A layer on its grid; one entry per spatial axis.

    The full output at n is the sum over pixels m and taps u with ``pixels[m] + taps[u] = n`` modulo N.

    Attributes:
        size: N.
        pixels: positions of the image's pixels.
        taps: positions of the kernel's taps.
        crop: positions that the layer's padding and stride keep.
    """

    size: tuple[int, ...]
    pixels: tuple[range, ...]
    taps: tuple[range, ...]
    crop: tuple[range, ...]


def positions(layer: Convolution, grid: Grid) -> Positions:
    """Return the positions of a layer on its grid."""
    pixels, taps = zip(*(_axis(layer, grid, i) for i in range(len(grid.size))), strict=True)
    return Positions(grid.size, pixels, taps, grid.crop)


def _axis(layer: Convolution, grid: Grid, i: int) -> tuple[range, range]:
    n, padding, stride, dilation = grid.size[i], grid.padding[i], layer.stride[i], layer.dilation[i]
    reach = dilation * (layer.kernel_size[i] - 1)
    if layer.transposed:
        return range(0, n - padding - reach, stride), range(0, reach + 1, dilation)
    return range(padding - reach, n - padding), range(reach, -1, -dilation)  # torch correlates: taps in reverse
