"""The constant matrices of a preconditioned convolution that is computed by real matrix products alone.

A full 2-d convolution is one complex product at each frequency (f, g) of its grid. Gauss' trick makes that three real
products, at what is called *points* here: with kernel A and the conjugate of the image's transform, X,
``m1 = (Xr + Xi) Ai``, ``m2 = Xr (Ar - Ai)`` and ``m3 = -Xi (Ar + Ai)`` give ``Yr = m1 + m2`` and ``Yi = m1 + m3``: the
way back from the points is the transpose of the way there. Of two conjugate frequencies one is left out; where a
frequency is its own conjugate and all is real, one point is enough. What remains are linear maps: from pixels and from
kernel taps to points, and from points to those pixels of the output that crop and stride leave. The maps of the second
axis are the same at all frequencies f of the first, but for the one or two f that are their own conjugates.

Letters: F frequencies of the first axis, P points; H, W an image's axes, H', W' its output's.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from convnorm.fast.cache import cached
from convnorm.fast.positions import Positions
from convnorm.fast.waves import real_basis, wave


class Block(NamedTuple):
    """The points of consecutive frequencies of the first axis, F' of them, that have all maps but one in common.

    Attributes:
        analysis: from a column of the image's conjugate transform, real above imaginary part, to its points, (P, 2W).
        kernels: for each frequency, from what `split` makes of the kernel's taps, (F', P, k*k); in half precision
            (F', P, 3k*k).
        synthesis: whose transpose maps points to a column of the output, real above imaginary part, (P, 2W').
        frequency: of the second axis, (P,).
    """

    analysis: Tensor
    kernels: Tensor
    synthesis: Tensor
    frequency: Tensor


class Plan(NamedTuple):
    """All constants of one geometry.

    Attributes:
        analysis: the conjugate of the first axis' transform, real and imaginary parts in turn, (2F, H).
        blocks: of all F frequencies in turn.
        synthesis: back to the rows that are kept, (H', 2F).
    """

    analysis: Tensor
    blocks: list[Block]
    synthesis: Tensor


def split(taps: Tensor, dtype: torch.dtype) -> Tensor:
    """Return taps (k*k, ...) in `dtype`, as `Block.kernels` takes them.

    Half precision makes (3k*k, ...) of them, high, low and high parts, which meet the constants' high, high and low
    parts: one matrix product in half precision, summed in float32, is then as accurate as one in float32. Rounded
    before their transform, a frequency with little power would be all error, and the preconditioner would amplify it.
    """
    if dtype.itemsize > 2:
        return taps
    high = taps.to(dtype)
    return torch.cat([high, (taps - high.float()).to(dtype), high])


@cached
def plan(fields: tuple[Any, ...], dtype: torch.dtype, device: torch.device) -> Plan:
    """Return the constants of a layer on its grid, whose fields these are, in `dtype`."""
    grid = Positions(*fields)
    (n, m), taps, window = grid.size, grid.taps, grid.crop
    image = [range(-places.start, -places.stop, -places.step) for places in grid.pixels]  # conjugate
    blocks = []
    # The first frequency and, if N is even, that in the middle are their own conjugates.
    for real, span in (True, range(1)), (False, range(1, (n + 1) // 2)), (True, range((n + 1) // 2, n // 2 + 1)):
        if len(span):
            second = [column_points(m, places, real).to(device, dtype) for places in (image[1], window[1])]
            three, one = frequencies(m, real)
            waves = wave(n, span, taps[0]), wave(m, [*three, *one], taps[1])
            frequency = torch.tensor([*three, *three, *three, *one], device=device)
            kernels = _kernel_points(*waves, len(three), dtype).to(device)
            blocks.append(Block(second[0], kernels, second[1], frequency))
    return Plan(_first_axis(n, image[0]).to(device, dtype), blocks, _first_axis(n, window[0]).T.to(device, dtype))


def frequencies(n: int, real: bool) -> tuple[list[int], list[int]]:
    """Return the second axis' frequencies of three points, and those of one.

    Where the first axis' frequency is its own conjugate (`real`), g and -g are conjugates, and one is left out.
    """
    if not real:
        return list(range(n)), []
    return list(range(1, (n + 1) // 2)), [g for g in range(n) if 2 * g % n == 0]


def column_points(n: int, places: range, real: bool) -> Tensor:
    """Return the map from a column, real above imaginary part, to its points, (P, 2 places).

    They are ``Xr + Xi``, ``Xr`` and ``Xi`` at the frequencies of three points, then ``Xr`` at those of one.
    """
    three, one = frequencies(n, real)
    waves = wave(n, three, places) * math.sqrt((2 if real else 1) / n)
    re, im = torch.cat([waves.real, -waves.imag], 1), torch.cat([waves.imag, waves.real], 1)
    single = wave(n, one, places) / math.sqrt(n)
    return torch.cat([re + im, re, im, torch.cat([single.real, -single.imag], 1)])


def _first_axis(n: int, places: range) -> Tensor:
    """Return the transform of a real signal, real and imaginary parts in turn, (2F, places)."""
    return real_basis(n, places).transpose(0, 1).flatten(0, 1)


def _kernel_points(first: Tensor, second: Tensor, pairs: int, dtype: torch.dtype) -> Tensor:
    """Return the forms Ai, Ar - Ai and -Ar - Ai at frequencies of three points, then Ar at those of one; see `split`.

    Args:
        first: the first axis' waves, (F', k).
        second: the second axis', (G, k), those of three points before those of one.
        pairs: how many of these have three points.
        dtype: of the maps.

    Returns:
        (F', P, k*k), in half precision (F', P, 3k*k).
    """

    def outer(a: Tensor, b: Tensor) -> Tensor:
        return torch.einsum("fu,gv->fguv", a, b).flatten(2)

    re = outer(first.real, second.real) - outer(first.imag, second.imag)
    im = outer(first.real, second.imag) + outer(first.imag, second.real)
    points = torch.cat([im[:, :pairs], (re - im)[:, :pairs], (-re - im)[:, :pairs], re[:, pairs:]], 1)
    high = points.to(dtype)
    return high if dtype.itemsize > 2 else torch.cat([high, high, (points - high.double()).to(dtype)], 2)
