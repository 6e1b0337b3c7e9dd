# mypy: ignore-errors
"""A Triton kernel for the preconditioner."""

import triton
import triton.language as tl
from triton.language.standard import _sum_combine as add  # which the interpreter knows, unlike a function of ours


@triton.jit
def spectrum(
    kernels, waves, v, IN, P, TAPS, TAPS_WIDE, PADDED, EPS, LEAST, k_out, k_in, k_first, k_second,
    BP: tl.constexpr, BI: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Compute V, (O, P), at BP points of one output channel.

    Transforms are in float32, sums of squares in float64, whose range float32 lacks.
    """
    out = tl.program_id(0)
    point = tl.program_id(1) * BP + tl.arange(0, BP)
    power = tl.full((BP, BI), 0.0, tl.float64)
    energy = tl.full((16, BI), 0.0, tl.float64)
    kernels += out.to(tl.int64) * k_out
    for start in range(0, IN, BI):
        channel = start + tl.arange(0, BI)
        re = tl.full((BP, BI), 0.0, tl.float32)
        im = tl.full((BP, BI), 0.0, tl.float32)
        for first in range(0, TAPS, 16):
            tap = first + tl.arange(0, 16)
            at = kernels + (tap // TAPS_WIDE * k_first + tap % TAPS_WIDE * k_second)[:, None] + channel[None, :] * k_in
            taps = tl.load(at, mask=(tap[:, None] < TAPS) & (channel[None, :] < IN), other=0.0).to(tl.float32)
            at = waves + 2 * point[:, None] * PADDED + tap[None, :]
            known = point[:, None] < P
            re = tl.dot(tl.load(at, mask=known, other=0.0), taps, re, input_precision=PRECISION)
            im = tl.dot(tl.load(at + PADDED, mask=known, other=0.0), taps, im, input_precision=PRECISION)
            exact = taps.to(tl.float64)
            energy += exact * exact
        real, imaginary = re.to(tl.float64), im.to(tl.float64)
        power += real * real + imaginary * imaginary
    power = tl.reduce(power, 1, add)
    energy = tl.reduce(tl.reduce(energy, 1, add), 0, add)
    bounded = tl.maximum(tl.maximum(power, EPS * energy), LEAST)
    root = 1 / tl.sqrt(tl.where(energy > 0, bounded, 1.0))
    tl.store(v + out * P + point, root.to(tl.float32), mask=point < P)
