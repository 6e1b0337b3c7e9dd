"""The constant matrices of the kernels: the orthonormal real DFT at some positions of the grid.

With T from an image to its points and T' from an output to its points, the layer is T'^t A T, where A multiplies the
points by transfer matrices. So each backward pass is a forward pass with T and T' exchanged and A's adjoint.
"""

import math
from typing import TypeAlias

import torch
from torch import Tensor

from convnorm.fast.constants import cached
from convnorm.fast.dft import dft

PADDED = 64  # matrices have multiples of this many rows and columns

Size: TypeAlias = tuple[int, ...]  # of the two axes
Positions: TypeAlias = tuple[range, ...]


@cached
def both(size: Size, positions: Positions, dtype: torch.dtype, tf32: bool, device: torch.device) -> Tensor:
    """Return T of both axes, from (H W) to (F N_2 2), real and imaginary part."""
    matrix = torch.einsum("fh,gw->fghw", _first(size, positions[0]), _second(size, positions[1]))
    return _ready(torch.stack([matrix.real, matrix.imag], 2).flatten(3).flatten(0, 2), dtype, tf32).to(device)


@cached
def first(size: Size, positions: range, dtype: torch.dtype, tf32: bool, device: torch.device) -> Tensor:
    """Return T of the first axis, from (H) to (F 2)."""
    matrix = _first(size, positions)
    return _ready(torch.stack([matrix.real, matrix.imag], 1).flatten(0, 1), dtype, tf32).to(device)


@cached
def second(size: Size, positions: range, dtype: torch.dtype, tf32: bool, device: torch.device) -> Tensor:
    """Return T of the second axis, from (2 W) to (N_2 2)."""
    matrix = _second(size, positions)
    of_real, of_imaginary = (torch.stack([m.real, m.imag], 1).flatten(0, 1) for m in (matrix, 1j * matrix))
    return _ready(torch.cat([of_real, of_imaginary], 1), dtype, tf32).to(device)


@cached
def waves(size: Size, taps: Positions, device: torch.device) -> Tensor:
    """Return the matrix from a kernel's taps, (k k), to its points, (F N_2 2), in float32."""
    n, m = size
    matrix = torch.einsum("fu,gv->fguv", dft(n, range(n // 2 + 1), taps[0]), dft(m, range(m), taps[1])).flatten(2)
    matrix = torch.stack([matrix.real, matrix.imag], 2).flatten(0, 2)
    return _padded(matrix, multiple(len(matrix), 128), multiple(matrix.shape[1], 16)).float().to(device)


def _first(size: Size, positions: range) -> Tensor:
    """Return the DFT up to N_1 / 2, where each frequency stands for its conjugate too."""
    n = size[0]
    share = torch.tensor([1 if 2 * f % n == 0 else 2 for f in range(n // 2 + 1)], dtype=torch.float64)
    return dft(n, range(n // 2 + 1), positions) * (share / n).sqrt().unsqueeze(1)


def _second(size: Size, positions: range) -> Tensor:
    return dft(size[1], range(size[1]), positions) / math.sqrt(size[1])


def _ready(matrix: Tensor, dtype: torch.dtype, tf32: bool) -> Tensor:
    """Return a matrix as the kernel takes it: (1, rows, columns), or in bfloat16 (2, ...), whose sum is accurate."""
    matrix = _padded(matrix, *(multiple(n, PADDED) for n in matrix.shape))
    if dtype == torch.bfloat16:
        high = matrix.to(dtype)
        return torch.stack([high, (matrix - high.double()).to(dtype)])
    bits = matrix.float().view(torch.int32)
    if tf32:  # tensor cores cut off what is not rounded
        bits = (bits + 0x1000) & ~0x1FFF
    return bits.view(torch.float32).unsqueeze(0)


def _padded(matrix: Tensor, *shape: int) -> Tensor:
    padded = matrix.new_zeros(shape)
    padded[tuple(slice(n) for n in matrix.shape)] = matrix
    return padded


def multiple(n: int, of: int) -> int:
    """Return n, rounded up to a multiple."""
    return -(-n // of) * of
