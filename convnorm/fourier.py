"""The constant matrices of a preconditioned convolution that is computed by real matrix products alone.

A full 2-d convolution is one complex product at each frequency (f, g) of its grid. Gauss' trick makes that three real
products, at what is called *points* here: with image X and kernel A, ``m1 = (Xr + Xi) Ar``, ``m2 = Xr (Ai - Ar)`` and
``m3 = Xi (Ar + Ai)`` give ``Yr = m1 - m3`` and ``Yi = m1 + m2``. Of two conjugate frequencies one is left out; where a
frequency is its own conjugate and all is real, one point is enough. What remains are linear maps: from pixels and from
kernel taps to points, and from points to those pixels of the output that crop and stride leave. The maps of the second
axis are the same at all frequencies f of the first, but for the one or two f that are their own conjugates.

Letters: F frequencies of the first axis, P points; H, W an image's axes, H', W' its output's.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from convnorm.geometry import Geometry

KEPT = 64  # plans in memory: a network has about ten, of 100 kB for images of 32 pixels and some MB for 224


class Block(NamedTuple):
    """The points of consecutive frequencies of the first axis, F' of them, that have all maps but one in common.

    Attributes:
        analysis: from a column of the transformed image, real above imaginary part, (P, 2W).
        kernels: for each frequency, from what `split` makes of the kernel's taps, (F', P, k*k); in half precision
            (F', P, 3k*k).
        synthesis: to a column of the output, real above imaginary part, (2W', P).
        frequency: of the second axis, (P,).
    """

    analysis: Tensor
    kernels: Tensor
    synthesis: Tensor
    frequency: Tensor


class Plan(NamedTuple):
    """All constants of one geometry.

    Attributes:
        analysis: the first axis' transform, real and imaginary parts in turn, (2F, H).
        blocks: of all F frequencies in turn.
        synthesis: back to the rows that are kept, (H', 2F).
    """

    analysis: Tensor
    blocks: list[Block]
    synthesis: Tensor


Constants = TypeVar("Constants", bound=tuple[Any, ...])


def kept(
    make: Callable[[Geometry, torch.dtype, torch.device], Constants],
) -> Callable[[Geometry, torch.dtype, torch.device], Constants]:
    """Keep the constants that a function makes for the next call, but not while a compiler traces.

    What it computes there are not numbers. An export takes what was kept before.
    """
    made: dict[tuple[Geometry, torch.dtype, torch.device], Constants] = {}

    @functools.wraps(make)
    def get(grid: Geometry, dtype: torch.dtype, device: torch.device) -> Constants:
        if torch.compiler.is_dynamo_compiling():
            return make(grid, dtype, device)
        key = grid, dtype, device
        if key not in made:
            with torch.inference_mode(False):
                constants = make(grid, dtype, device)
            if type(constants[-1]) is not Tensor:  # but a stand-in of what traces: no numbers either
                return constants
            if len(made) == KEPT:
                del made[next(iter(made))]
            made[key] = constants
        return made[key]

    return get


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


@kept
def plan(grid: Geometry, dtype: torch.dtype, device: torch.device) -> Plan:
    """Return the constants of a layer on its grid, in `dtype`."""
    (n, m), image, taps, window = grid.size, grid.image, grid.taps, grid.window
    second = {real: _second_axis(m, image[1], window[1], real) for real in (False, True)}
    shared = {real: [matrix.to(device, dtype) for matrix in maps] for real, (_, _, *maps) in second.items()}
    blocks = []
    # The first frequency and, if N is even, that in the middle are their own conjugates.
    for real, span in (True, range(1)), (False, range(1, (n + 1) // 2)), (True, range((n + 1) // 2, n // 2 + 1)):
        if len(span):
            pairs, own = second[real][:2]
            waves = _wave(n, span, taps[0]), _wave(m, [*pairs, *own], taps[1])
            frequency = torch.tensor([*pairs, *pairs, *pairs, *own], device=device)
            analysis, synthesis = shared[real]
            kernels = _kernel_points(*waves, len(pairs), dtype).to(device)
            blocks.append(Block(analysis, kernels, synthesis, frequency))
    return Plan(_first_axis(n, image[0]).to(device, dtype), blocks, _first_axis(n, window[0]).T.to(device, dtype))


def _wave(n: int, frequencies: Sequence[int], places: range) -> Tensor:
    """Return exp(-2 pi i f p / n), (frequencies, places); the phase is reduced before it is rounded."""
    phase = torch.outer(torch.tensor(frequencies), torch.tensor(places)) % n
    angle = phase.double() * (-2 * math.pi / n)
    return torch.complex(angle.cos(), angle.sin())


def parts(n: int, places: range) -> Tensor:
    """Return the real and the imaginary part of exp(-2 pi i f p / n) for f up to n / 2, (2, F, places)."""
    wave = _wave(n, range(n // 2 + 1), places)
    return torch.stack([wave.real, wave.imag])


def real_basis(n: int, places: range) -> Tensor:
    """Return the orthonormal transform of a real signal, (2, F, places): a frequency stands for its conjugate too."""
    norm = torch.tensor([[math.sqrt((1 if 2 * f % n == 0 else 2) / n)] for f in range(n // 2 + 1)], dtype=torch.float64)
    return parts(n, places) * norm


def _first_axis(n: int, places: range) -> Tensor:
    """Return the transform of a real signal, real and imaginary parts in turn, (2F, places)."""
    return real_basis(n, places).transpose(0, 1).flatten(0, 1)


def _second_axis(n: int, image: range, window: range, real: bool) -> tuple[list[int], list[int], Tensor, Tensor]:
    """Return the frequencies of three points and of one, analysis (P, 2W) and synthesis (2W', P).

    Where the first axis' frequency is its own conjugate (`real`), g and -g are conjugates.
    """
    pairs = list(range(1, (n + 1) // 2)) if real else list(range(n))
    own = [g for g in range(n) if 2 * g % n == 0] if real else []
    total, re, im, single = _forms(n, image, pairs, own, real)
    analysis = torch.cat([total, re, im, single])
    total, re, im, single = _forms(n, window, pairs, own, real)
    return pairs, own, analysis, torch.cat([total, im, -re, single]).T.contiguous()


def _forms(
    n: int, places: range, pairs: list[int], own: list[int], real: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return Xr + Xi, Xr and Xi of a complex column as forms of its (real, imaginary) parts; Xr where Xi is zero.

    The same forms, transposed, give the inverse: its (real, imaginary) parts from Yr are Xr's, those from Yi are Xi's.
    """
    wave = _wave(n, pairs, places) * math.sqrt((2 if real else 1) / n)
    re, im = torch.cat([wave.real, -wave.imag], 1), torch.cat([wave.imag, wave.real], 1)
    single = _wave(n, own, places) / math.sqrt(n)
    return re + im, re, im, torch.cat([single.real, -single.imag], 1)


def _kernel_points(first: Tensor, second: Tensor, pairs: int, dtype: torch.dtype) -> Tensor:
    """Return the forms Ar, Ai - Ar and Ar + Ai at frequencies of three points, then Ar at those of one; see `split`.

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
    forms = torch.cat([re[:, :pairs], (im - re)[:, :pairs], (re + im)[:, :pairs], re[:, pairs:]], 1)
    high = forms.to(dtype)
    return high if dtype.itemsize > 2 else torch.cat([high, high, (forms - high.double()).to(dtype)], 2)
