# mypy: ignore-errors
"""Triton kernels of the products of channels, and between convolution kernels and their points."""

import triton
import triton.language as tl

from convnorm.fast.gpu.transforms import rounded


@triton.jit
def products(
    x, a, y, scale, M, N, K, P,
    x_point, x_part, x_row, x_k, a_point, a_part, a_k, a_column, y_point, y_part, y_row,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, CONJUGATE: tl.constexpr, SCALED: tl.constexpr,
    PRECISION: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Multiply complex matrices x (M, K) and a (K, N), or a's conjugate, at one point.

    Rows of the result are scaled by `scale`, (M, P), if SCALED.
    """
    point, columns = tl.program_id(1).to(tl.int64), (N + BN - 1) // BN
    m = tl.program_id(0) // columns * BM + tl.arange(0, BM)
    n = tl.program_id(0) % columns * BN + tl.arange(0, BN)
    x += point * x_point + m[:, None].to(tl.int64) * x_row
    a += point * a_point + n[None, :].to(tl.int64) * a_column
    re = tl.full((BM, BN), 0.0, tl.float32)
    im = tl.full((BM, BN), 0.0, tl.float32)
    other = tl.full((BM, BN), 0.0, tl.float32)  # what is subtracted: tensor cores have no such product
    for first in range(0, K, BK):
        k = first + tl.arange(0, BK)
        of_x, of_a = (m[:, None] < M) & (k[None, :] < K), (k[:, None] < K) & (n[None, :] < N)
        at_x, at_a = x + k[None, :].to(tl.int64) * x_k, a + k[:, None].to(tl.int64) * a_k
        xr = tl.load(at_x, mask=of_x, other=0.0)
        xi = tl.load(at_x + x_part, mask=of_x, other=0.0)
        ar = tl.load(at_a, mask=of_a, other=0.0)
        ai = tl.load(at_a + a_part, mask=of_a, other=0.0)
        if WIDE:
            xr, xi, ar, ai = xr.to(tl.float32), xi.to(tl.float32), ar.to(tl.float32), ai.to(tl.float32)
        if x.dtype.element_ty == tl.float32:
            xr, xi = rounded(xr, PRECISION, WIDE), rounded(xi, PRECISION, WIDE)
            ar, ai = rounded(ar, PRECISION, WIDE), rounded(ai, PRECISION, WIDE)
        re = tl.dot(xr, ar, re, input_precision=PRECISION)
        im = tl.dot(xi, ar, im, input_precision=PRECISION)
        if CONJUGATE:
            re = tl.dot(xi, ai, re, input_precision=PRECISION)
            other = tl.dot(xr, ai, other, input_precision=PRECISION)
        else:
            im = tl.dot(xr, ai, im, input_precision=PRECISION)
            other = tl.dot(xi, ai, other, input_precision=PRECISION)
    if CONJUGATE:
        im -= other
    else:
        re -= other
    if SCALED:
        v = tl.load(scale + m * P + point, mask=m < M, other=0.0)
        re, im = re * v[:, None], im * v[:, None]
    y += point * y_point + m[:, None].to(tl.int64) * y_row + n[None, :]
    inside = (m[:, None] < M) & (n[None, :] < N)
    tl.store(y, re.to(y.dtype.element_ty), mask=inside)
    tl.store(y + y_part, im.to(y.dtype.element_ty), mask=inside)


@triton.jit
def kernels_to_points(
    kernels, waves, v, y, OUT, IN, P, TAPS, TAPS_WIDE, PADDED, k_out, k_in, k_first, k_second,
    BR: tl.constexpr, BN: tl.constexpr, PRECISION: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Transform kernels to points and scale them by V: y (2P, OUT IN). BR rows, BN pairs of channels."""
    row = tl.program_id(1) * BR + tl.arange(0, BR)
    pair = tl.program_id(0) * BN + tl.arange(0, BN)
    here = pair < OUT * IN
    out = pair // IN
    at_pair = kernels + out * k_out + pair % IN * k_in
    sums = tl.full((BR, BN), 0.0, tl.float32)
    for first in range(0, TAPS, 16):
        tap = first + tl.arange(0, 16)
        at = at_pair[None, :] + (tap // TAPS_WIDE * k_first + tap % TAPS_WIDE * k_second)[:, None]
        taps = tl.load(at, mask=here[None, :] & (tap[:, None] < TAPS), other=0.0)
        wave = tl.load(waves + row[:, None] * PADDED + tap[None, :])
        sums = tl.dot(wave, taps, sums, input_precision=PRECISION)
    inside = here[None, :] & (row[:, None] < 2 * P)
    scale = tl.load(v + out[None, :] * P + row[:, None] // 2, mask=inside, other=0.0)
    at = y + row[:, None].to(tl.int64) * (OUT * IN) + pair[None, :]
    tl.store(at, (sums * scale).to(y.dtype.element_ty), mask=inside)


@triton.jit
def points_to_kernels(
    points, waves, kernels, OUT, IN, P, TAPS, TAPS_WIDE, PADDED, k_out, k_in, k_first, k_second, k_split, ROWS,
    BR: tl.constexpr, BN: tl.constexpr, PRECISION: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """The adjoint of the transform, 16 taps and BN pairs of channels, of ROWS rows of the points."""
    tap = tl.program_id(1) * 16 + tl.arange(0, 16)
    pair = tl.program_id(0) * BN + tl.arange(0, BN)
    here = pair < OUT * IN
    split = tl.program_id(2)
    sums = tl.full((16, BN), 0.0, tl.float32)
    for first in range(split * ROWS, split * ROWS + ROWS, BR):
        row = first + tl.arange(0, BR)
        known = row < 2 * P
        wave = tl.load(waves + row[None, :] * PADDED + tap[:, None], mask=known[None, :], other=0.0)
        at = points + row[:, None].to(tl.int64) * (OUT * IN) + pair[None, :]
        tile = tl.load(at, mask=here[None, :] & known[:, None], other=0.0).to(tl.float32)
        wave, tile = rounded(wave, PRECISION, WIDE), rounded(tile, PRECISION, WIDE)
        sums = tl.dot(wave, tile, sums, input_precision=PRECISION)
    at = kernels + (pair // IN * k_out + pair % IN * k_in)[None, :] + split * k_split
    at += (tap // TAPS_WIDE * k_first + tap % TAPS_WIDE * k_second)[:, None]
    tl.store(at, sums, mask=here[None, :] & (tap[:, None] < TAPS))
