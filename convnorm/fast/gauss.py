"""The constant matrices of `channel_products`: complex products as three real ones (Gauss's trick).

With a kernel's transform A and the conjugate of the image's transform X, the product Y = conj(X) A has

    Yr = m1 + m2,   Yi = m1 + m3,   m1 = (Xr + Xi) Ai,   m2 = Xr (Ar - Ai),   m3 = -Xi (Ar + Ai).

The map from (m1, m2, m3) to Y is the transpose of the one from X to (Xr + Xi, Xr, Xi). A frequency that is its own
conjugate is real and takes one product. All that is left are constant matrices: from pixels and taps to the factors of
the real products, and from the products to the outputs that crop and stride keep.

Letters: F frequencies of the first axis, P real products at each of them; H, W the image's axes, H', W' the output's.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from convnorm.fast.cache import cached
from convnorm.fast.dft import Positions, dft, real_dft


class Block(NamedTuple):
    """Consecutive frequencies of the first axis, F' of them, that share all matrices but the kernels'.

    Attributes:
        analysis: from a column of the image's conjugate transform, real above imaginary part, to factors, (P, 2W).
        kernels: per frequency, from the taps (after `split`) to factors, (F', P, k*k), half precision (F', P, 3k*k).
        synthesis: its transpose goes from products to a column of the output, real above imaginary part, (P, 2W').
        frequency: frequency on the second axis that each product belongs to, (P,).
    """

    analysis: Tensor
    kernels: Tensor
    synthesis: Tensor
    frequency: Tensor


class Matrices(NamedTuple):
    """All constants of a layer on its grid.

    Attributes:
        analysis: the first axis' conjugate DFT, real and imaginary parts alternating, (2F, H).
        blocks: of all F frequencies in turn.
        synthesis: the first axis' inverse DFT to the rows that are kept, (H', 2F).
    """

    analysis: Tensor
    blocks: list[Block]
    synthesis: Tensor


def split(taps: Tensor, dtype: torch.dtype) -> Tensor:
    """Return taps (k*k, ...) in `dtype`, as `Block.kernels` takes them.

    In half precision these are (3k*k, ...): high, low and high parts, which meet the matrix's high, high and low parts.
    One product in half precision, summed in float32, is then as accurate as in float32. If taps were rounded before
    their transform, a frequency with little power would be all error, and the preconditioner would amplify it.
    """
    if dtype.itemsize > 2:
        return taps
    high = taps.to(dtype)
    return torch.cat([high, (taps - high.float()).to(dtype), high])


@cached
def matrices(fields: tuple[Any, ...], dtype: torch.dtype, device: torch.device) -> Matrices:
    """Return the constants for `dft.Positions` given as a tuple."""
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

    On a CPU those that are, the first and for even N the one in the middle, are blocks of their own, with half the
    products. Other devices take one block: there fewer kernel launches count for more.
    """
    if device.type != "cpu":
        return [(False, range(n // 2 + 1))]
    half = (n + 1) // 2
    return [(True, range(1)), (False, range(1, half)), (True, range(half, n // 2 + 1))]


def frequencies(m: int, real: bool) -> tuple[list[int], list[int]]:
    """Return the second axis' frequencies with three products and those with one.

    Where the first axis' frequency is its own conjugate (`real`), g and -g are conjugates and one of them is left out.
    """
    if not real:
        return list(range(m)), []
    return list(range(1, (m + 1) // 2)), [g for g in range(m) if 2 * g % m == 0]


def factors(m: int, positions: range, real: bool) -> Tensor:
    """Return the matrix from a column, real above imaginary part, to the factors of its products, (P, 2 positions).

    They are ``Xr + Xi``, ``Xr`` and ``Xi`` at the frequencies with three products, then ``Xr`` at those with one.
    """
    three, one = frequencies(m, real)
    matrix = dft(m, three, positions) * math.sqrt((2 if real else 1) / m)
    re, im = torch.cat([matrix.real, -matrix.imag], 1), torch.cat([matrix.imag, matrix.real], 1)
    single = dft(m, one, positions) / math.sqrt(m)
    return torch.cat([re + im, re, im, torch.cat([single.real, -single.imag], 1)])


def alternating(n: int, positions: range) -> Tensor:
    """Return `real_dft` with real and imaginary parts alternating, (2F, positions)."""
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
