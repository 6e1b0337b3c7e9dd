"""The constant matrices of `channel_products`: complex products as three real ones (Gauss's trick).

With a kernel's transform A and the conjugate of the image's transform X, the product Y = conj(X) A has

    Yr = m1 + m2,   Yi = m1 + m3,   m1 = (Xr + Xi) Ai,   m2 = Xr (Ar - Ai),   m3 = -Xi (Ar + Ai).

The matrix from (m1, m2, m3) to Y is the transpose of that from X to (Xr + Xi, Xr, Xi). A frequency that is its own
conjugate is real and takes one product. So everything else is a product with constant matrices: from pixels and taps to
the factors of the real products, and from the products to the outputs that crop and stride select.

Letters: F frequencies of the first axis, P real products at each of them; H, W the image's axes, H', W' the output's.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from convnorm.fast.constants import cached
from convnorm.fast.dft import Positions, dft, real_dft


class Block(NamedTuple):
    """F' consecutive frequencies of the first axis, which share all matrices except the kernels'.

    Attributes:
        analysis: from the image's conjugate transform along the height, real then imaginary part, to factors, (P, 2W).
        kernels: from the taps, after `split`, to factors: (F', P, k*k), in half precision (F', P, 3k*k).
        synthesis: its transpose goes from products to the output's transform along the height, (P, 2W').
        frequency: frequency on the second axis that each product belongs to, (P,).
    """

    analysis: Tensor
    kernels: Tensor
    synthesis: Tensor
    frequency: Tensor


class Matrices(NamedTuple):
    """The constants of a layer on its grid.

    Attributes:
        analysis: conjugate DFT of the image's height, real and imaginary parts alternating, (2F, H).
        blocks: all F frequencies, in order.
        synthesis: inverse DFT to the output's height, (H', 2F).
    """

    analysis: Tensor
    blocks: list[Block]
    synthesis: Tensor


def split(taps: Tensor, dtype: torch.dtype) -> Tensor:
    """Return taps (k*k, ...) in `dtype`, as `Block.kernels` takes them.

    In half precision they are (3k*k, ...): the high, low and high parts, which the matrix multiplies by its high, high
    and low parts. One half-precision product that accumulates in float32 is then about as accurate as a float32
    product. If taps were rounded before their transform, V would amplify the error where there is little power.
    """
    if dtype.itemsize > 2:
        return taps
    high = taps.to(dtype)
    return torch.cat([high, (taps - high.float()).to(dtype), high])


@cached
def matrices(fields: tuple[Any, ...], dtype: torch.dtype, device: torch.device) -> Matrices:
    """Return the constants for the fields of a `dft.Positions` and images of `dtype`."""
    at = Positions(*fields)
    (n, m), pixels = at.size, [range(-axis.start, -axis.stop, -axis.step) for axis in at.pixels]  # conjugate
    blocks = []
    for real, span in spans(n, device):
        if len(span):
            three, one = frequencies(m, real)
            second = [factors(m, axis, real).to(device, dtype) for axis in (pixels[1], at.crop[1])]
            kernels = _kernel_factors(dft(n, span, at.taps[0]), dft(m, [*three, *one], at.taps[1]), len(three), dtype)
            frequency = torch.tensor([*three, *three, *three, *one], device=device)
            blocks.append(Block(second[0], kernels.to(device), second[1], frequency))
    return Matrices(alternating(n, pixels[0]).to(device, dtype), blocks, alternating(n, at.crop[0]).T.to(device, dtype))


def spans(n: int, device: torch.device) -> list[tuple[bool, range]]:
    """Return the first axis' frequencies of each block, and whether they are their own conjugates.

    On a CPU the frequencies that are (0, and N / 2 for even N) are blocks of their own, with half the products. Other
    devices take one block: fewer launches matter more.
    """
    if device.type != "cpu":
        return [(False, range(n // 2 + 1))]
    half = (n + 1) // 2
    return [(True, range(1)), (False, range(1, half)), (True, range(half, n // 2 + 1))]


def frequencies(m: int, real: bool) -> tuple[list[int], list[int]]:
    """Return the second axis' frequencies with three products and those with one.

    If the first axis' frequency is its own conjugate (`real`), g and -g are conjugates, and one of the two is left out.
    """
    if not real:
        return list(range(m)), []
    return list(range(1, (m + 1) // 2)), [g for g in range(m) if 2 * g % m == 0]


def factors(m: int, positions: range, real: bool) -> Tensor:
    """Return the matrix from a signal, real then imaginary part, to the factors of its products, (P, 2 positions).

    They are ``Xr + Xi``, ``Xr`` and ``Xi`` at the frequencies with three products, then ``Xr`` at those with one.
    """
    three, one = frequencies(m, real)
    matrix = dft(m, three, positions) * math.sqrt((2 if real else 1) / m)
    re, im = torch.cat([matrix.real, -matrix.imag], 1), torch.cat([matrix.imag, matrix.real], 1)
    single = dft(m, one, positions) / math.sqrt(m)
    return torch.cat([re + im, re, im, torch.cat([single.real, -single.imag], 1)])


def alternating(n: int, positions: range) -> Tensor:
    """Return `dft.real_dft` with real and imaginary parts alternating, (2F, positions)."""
    return real_dft(n, positions).transpose(0, 1).flatten(0, 1)


def _kernel_factors(first: Tensor, second: Tensor, three: int, dtype: torch.dtype) -> Tensor:
    """Return the matrices from taps to Ai, Ar - Ai and -Ar - Ai where there are three products, then to Ar.

    Args:
        first: DFT of the first axis, (F', k).
        second: DFT of the second axis, (G, k), frequencies with three products before those with one.
        three: how many frequencies have three products.
        dtype: of the result; half precision gets high, high and low parts (see `split`).
    """

    def outer(a: Tensor, b: Tensor) -> Tensor:
        return torch.einsum("fu,gv->fguv", a, b).flatten(2)

    re = outer(first.real, second.real) - outer(first.imag, second.imag)
    im = outer(first.real, second.imag) + outer(first.imag, second.real)
    exact = torch.cat([im[:, :three], (re - im)[:, :three], (-re - im)[:, :three], re[:, three:]], 1)
    high = exact.to(dtype)
    return high if dtype.itemsize > 2 else torch.cat([high, high, (exact - high.double()).to(dtype)], 2)
