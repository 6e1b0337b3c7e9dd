"""Convolution, preconditioner and crop in one, for few input channels: the real Fourier basis of each axis.

A real image has four real coefficients at each pair (f, g) of non-negative frequencies: cos cos, cos sin, sin cos and
sin sin. A convolution multiplies these four by a 4 x 4 matrix made of the kernel's own four coefficients. So every
transform is a real matrix along one axis, a third of the operations of `channel_products`, whose second axis is
complex. The products of channels take 16 multiplications instead of 6, which matters little with few input channels.

Letters: F and G frequencies of the two axes; p and q, cos or sin on the first and the second axis; H, W the image's
axes, H', W' the output's.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from convnorm.fast.constants import cached
from convnorm.fast.dft import Positions, half_dft, real_dft
from convnorm.fast.gauss import alternating
from convnorm.fast.gradients import constant_product
from convnorm.fast.transform import from_frequencies
from convnorm.memory_format import keep_memory_format


class Basis(NamedTuple):
    """The constants of a layer on its grid.

    Attributes:
        analysis: transforms of the image's height, (F p, H), and width, (q G, W).
        synthesis: inverse transforms to the output's height, (H', F p), and width, (W', q G).
        kernel: transform of the kernel, (p q F G, k*k), at least float32.
        matrix: from a kernel's four coefficients to the 4 x 4 matrix that it multiplies by, (4*4, 4), at least float32.
        sign: sign of each coefficient when V(f, g) and V(f, -g) differ, (4, 1, 1, 1, 1), at least float32.
        mirror: index of the frequency -g of the second axis, for each g, (G,).
    """

    analysis: tuple[Tensor, Tensor]
    synthesis: tuple[Tensor, Tensor]
    kernel: Tensor
    matrix: Tensor
    sign: Tensor
    mirror: Tensor


@cached
def basis(fields: tuple[Any, ...], dtype: torch.dtype, device: torch.device) -> Basis:
    """Return the constants for the fields of a `dft.Positions` and images of `dtype`."""
    at = Positions(*fields)
    n, m = at.size
    kernel = torch.einsum("pfu,qgv->pqfguv", half_dft(n, at.taps[0]), half_dft(m, at.taps[1])).flatten(0, 3).flatten(1)
    unit = torch.tensor([[[1, 0], [0, -1]], [[0, 1], [1, 0]]], dtype=torch.float64)  # entry, entry, part of a + bi
    matrix = torch.einsum("abp,cdq->acbdpq", unit, unit).flatten(0, 3).flatten(1)
    exact = torch.promote_types(dtype, torch.float32)
    return Basis(
        (alternating(n, at.pixels[0]).to(device, dtype), real_dft(m, at.pixels[1]).flatten(0, 1).to(device, dtype)),
        (alternating(n, at.crop[0]).T.to(device, dtype), real_dft(m, at.crop[1]).flatten(0, 1).T.to(device, dtype)),
        kernel.to(device, exact),
        matrix.to(device, exact),
        torch.tensor([1, -1, -1, 1]).view(4, 1, 1, 1, 1).to(device, exact),
        (-torch.arange(m // 2 + 1, device=device)) % m,
    )


def convolve(x: Tensor, kernels: Tensor, v: Tensor, constants: Basis) -> Tensor:
    """Return the preconditioned, cropped and strided output; arguments as in `channel_products.convolve`."""
    batch, inputs, height, width = x.shape
    (first, second), (to_height, to_width) = constants.analysis, constants.synthesis
    along_height = first @ keep_memory_format(x).permute(2, 3, 0, 1).reshape(height, width * batch * inputs)
    along_both = second @ along_height.view(len(first), width, batch * inputs)
    parts = along_both.view(len(first) // 2, 2, 2, len(second) // 2, batch, inputs)
    image = parts.permute(0, 3, 4, 1, 2, 5).flatten(3)  # (F, G, B, 4I)
    matrices = _kernel_matrices(kernels, v, constants).to(x.dtype)  # (F, p q G, 4I, O)
    products = (image.repeat(1, 4, 1, 1) @ matrices).unflatten(1, (2, -1))  # (F, p, q G, B, O)
    y = (to_width @ products.flatten(3)).unflatten(3, products.shape[3:])  # (F, p, W', B, O)
    return from_frequencies(to_height, y.flatten(1, 2))


def _kernel_matrices(kernels: Tensor, v: Tensor, constants: Basis) -> Tensor:
    """Return the matrices that multiply by the preconditioned kernels, (F, p q G, 4I, O), at least float32."""
    outputs, inputs = kernels.shape[:2]
    shape = 4, v.shape[1], len(constants.mirror), inputs, outputs
    taps = kernels.permute(2, 3, 1, 0).reshape(-1, inputs * outputs)
    coefficients = _preconditioned(constant_product(constants.kernel, taps).view(shape), v, constants)
    matrices = constant_product(constants.matrix, coefficients.flatten(1)).view(4, *shape)
    return matrices.permute(2, 0, 3, 1, 4, 5).flatten(3, 4).flatten(1, 2)


def _preconditioned(coefficients: Tensor, v: Tensor, constants: Basis) -> Tensor:
    """Scale the kernels' transforms by V, given as coefficients (4, F, G, I, O).

    Write the coefficients as a + b i + c j + d ij with two imaginary units, i for the first axis and j for the
    second, and ij = ji. Its value at (f, g) is the one with i for j, at (f, -g) the one with -i for j. To scale the
    first by V and the second by V' is to multiply by (V + V') / 2 + (V' - V) / 2 ij.
    """
    v = v.permute(1, 2, 0).unsqueeze(2).contiguous()  # (F, N_2, 1, O)
    here, mirrored = v[:, : len(constants.mirror)], v[:, constants.mirror]
    return (here + mirrored) / 2 * coefficients + (mirrored - here) / 2 * constants.sign * coefficients.flip(0)
