"""Matrices of the discrete Fourier transform at the positions of pixels, taps and outputs on the grid."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from convnorm.grid import Grid
from convnorm.layers import Convolution, reaches


class Positions(NamedTuple):
    """A layer on the grid of its full output; one entry per spatial axis.

    The full output at n is the sum over pixels m and taps u with ``pixels[m] + taps[u] = n`` modulo N.

    Attributes:
        size: N.
        pixels: positions of the image's pixels.
        taps: positions of the kernel's taps.
        crop: positions that the layer's padding and stride select.
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
    reach = reaches(layer)[i]
    if layer.transposed:
        return range(0, n - padding - reach, stride), range(0, reach + 1, dilation)
    return range(padding - reach, n - padding), range(reach, -1, -dilation)  # torch correlates: taps in reverse


def dft(n: int, frequencies: Sequence[int], positions: Sequence[int]) -> Tensor:
    """Return ``exp(-2 pi i f p / n)``, complex128 (frequencies, positions)."""
    phase = torch.outer(torch.tensor(frequencies), torch.tensor(positions)) % n  # exact, unlike the angle
    angle = phase.double() * (-2 * math.pi / n)
    return torch.complex(angle.cos(), angle.sin())


def half_dft(n: int, positions: range) -> Tensor:
    """Return the real and the imaginary part of `dft` for the frequencies up to n / 2, (2, F, positions)."""
    matrix = dft(n, range(n // 2 + 1), positions)
    return torch.stack([matrix.real, matrix.imag])


def real_dft(n: int, positions: range) -> Tensor:
    """Return the orthonormal DFT of a real signal, (2, F, positions): each frequency stands for its conjugate too."""
    scale = [[math.sqrt((1 if 2 * f % n == 0 else 2) / n)] for f in range(n // 2 + 1)]
    return half_dft(n, positions) * torch.tensor(scale, dtype=torch.float64)
