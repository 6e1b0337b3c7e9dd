"""Launches of the kernels: tensors in, a tensor out."""

import os
from typing import Any, NamedTuple

import torch
from torch import Tensor

from convnorm.fast.gpu import matrices, products, spectrum, transforms
from convnorm.fast.gpu.matrices import Positions, Size, multiple
from convnorm.fast.gpu.tuning import TILES
from convnorm.functional import EPS, least_power

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
EXACT = "ieee"  # precision of the kernels' transforms: V amplifies what is rounded before it
LEAST_PROGRAMS = 256  # of the kernels' gradients: about two for each multiprocessor of an H100
BOTH_UP_TO = 400  # a grid of at most this many positions takes one matrix for both axes: faster on an H100


def cdiv(n: int, by: int) -> int:
    """Return n / by, rounded up."""
    return -(-n // by)


def power_of_two(n: int) -> int:
    """Return the smallest power of two from n and from 16, the least that tensor cores take."""
    return max(16, 1 << (n - 1).bit_length())


def to_points(x: Tensor, size: Size, positions: Positions, precision: str) -> Tensor:
    """Return the points, (P, B, 2, C), of images or gradients x, (B, C, H, W), at positions of the grid."""
    x = x.contiguous(memory_format=torch.channels_last)
    batch, channels = x.shape[:2]
    points = x.new_empty((size[0] // 2 + 1) * size[1], batch, 2, channels)
    for name, matrix, source, target in _steps(x, points, size, positions, precision):
        _transform(name, matrix, source, target, precision)
    return points


def from_points(points: Tensor, size: Size, positions: Positions, precision: str) -> Tensor:
    """Return the adjoint of `to_points`: (B, C, H, W) in channels_last."""
    _, batch, _, channels = points.shape
    y = points.new_empty(batch, *(len(axis) for axis in positions), channels).permute(0, 3, 1, 2)
    for name, matrix, target, source in reversed(_steps(y, points, size, positions, precision)):
        _transform(name + "_adjoint", matrix.mT, source, target, precision)
    return y


class Rows(NamedTuple):
    """A tensor as (outer, batch, rows, columns), of which a row r is at ``r // 2`` and ``r % 2``.

    Attributes:
        data: the tensor.
        shape: outer, batch, rows, columns.
        strides: of outer, batch, ``r // 2`` and ``r % 2``.
    """

    data: Tensor
    shape: tuple[int, int, int, int]
    strides: tuple[int, int, int, int]


def _steps(
    image: Tensor, points: Tensor, size: Size, positions: Positions, precision: str
) -> list[tuple[str, Tensor, Rows, Rows]]:
    """Return the matrices from an image to its points, the name of each, what it multiplies and what it yields."""
    batch, c, height, width = image.shape
    (n, m), half = size, size[0] // 2 + 1
    how = image.dtype, precision == "tf32", image.device
    if n * m <= BOTH_UP_TO:
        source = Rows(image, (1, batch, height * width, c), (0, height * width * c, 2 * c, c))
        target = Rows(points, (1, batch, 2 * half * m, c), (0, 2 * c, 2 * batch * c, c))
        return [("both", matrices.both(size, positions, *how), source, target)]
    between, row = image.new_empty(half, batch, 2, width, c), width * c
    return [
        (
            "first",
            matrices.first(size, positions[0], *how),
            Rows(image, (1, batch, height, row), (0, height * row, 2 * row, row)),
            Rows(between, (1, batch, 2 * half, row), (0, 2 * row, 2 * batch * row, row)),
        ),
        (
            "second",
            matrices.second(size, positions[1], *how),
            Rows(between, (half, batch, 2 * width, c), (2 * batch * row, 2 * row, 2 * c, c)),
            Rows(points, (half, batch, 2 * m, c), (2 * m * batch * c, 2 * c, 2 * batch * c, c)),
        ),
    ]


def _transform(name: str, matrix: Tensor, x: Rows, y: Rows, precision: str) -> None:
    """Multiply x by a constant matrix (parts, rows, columns) into y."""
    outer, batch, k, columns = x.shape
    rows = y.shape[2]
    (bc, bm, bk), warps, stages = TILES[name]
    bc = min(bc, power_of_two(columns))
    transforms.transform[outer * batch, cdiv(columns, bc), cdiv(rows, bm)](
        matrix, x.data, y.data, columns, rows, k, batch, *x.strides, *y.strides, *matrix.stride(),
        BC=bc, BM=bm, BK=bk, PARTS=len(matrix), **_options(precision, warps, stages),
    )  # fmt: skip


def multiply(
    x: Tensor, a: Tensor, y: Tensor, precision: str, conjugate: bool = False, scale: Tensor | None = None
) -> Tensor:
    """Multiply complex matrices at every point: y (P, 2, M, N) = x (P, 2, M, K) a (P, 2, K, N), all of any strides.

    Args:
        x: the first factors.
        a: the second factors.
        y: the result, whose last axis is contiguous.
        precision: of the products in float32.
        conjugate: take a's conjugate.
        scale: factors for the rows of y, (M, P), contiguous.
    """
    points, _, m, k = x.shape
    n = a.shape[3]
    (bm, bn, bk), warps, stages = TILES["products"]
    bm, bn, bk = min(bm, power_of_two(m)), min(bn, power_of_two(n)), min(bk, power_of_two(k))
    products.products[cdiv(m, bm) * cdiv(n, bn), points](
        x, a, y, x if scale is None else scale, m, n, k, points, *x.stride(), *a.stride(), *y.stride()[:3],
        BM=bm, BN=bn, BK=bk, CONJUGATE=conjugate, SCALED=scale is not None, **_options(precision, warps, stages),
    )  # fmt: skip
    return y


def kernels_to_points(kernels: Tensor, v: Tensor, size: Size, taps: Positions, dtype: torch.dtype) -> Tensor:
    """Return the preconditioned transfer matrices, (P, 2, O, I), of kernels (O, I, k, k). V is contiguous."""
    outputs, inputs, *kernel = kernels.shape
    waves = matrices.waves(size, taps, kernels.device)
    points = v[0].numel()
    y = kernels.new_empty(points, 2, outputs, inputs, dtype=dtype)
    (rows, pairs), warps, stages = TILES["kernels_to_points"]
    products.kernels_to_points[cdiv(outputs * inputs, pairs), cdiv(2 * points, rows)](
        kernels, waves, v, y, outputs, inputs, points, kernel[0] * kernel[1], kernel[1], waves.shape[1],
        *kernels.stride(), BR=rows, BN=pairs, **_options(EXACT, warps, stages),
    )  # fmt: skip
    return y


def points_to_kernels(points: Tensor, like: Tensor, size: Size, taps: Positions, precision: str) -> Tensor:
    """Return the adjoint of `kernels_to_points` but for V: a gradient in the shape and strides of kernels `like`."""
    outputs, inputs, *kernel = like.shape
    waves = matrices.waves(size, taps, points.device)
    (block, pairs), warps, stages = TILES["points_to_kernels"]
    programs = cdiv(outputs * inputs, pairs), cdiv(kernel[0] * kernel[1], 16)
    splits = min(cdiv(LEAST_PROGRAMS, programs[0] * programs[1]), cdiv(2 * len(points), block))
    rows = multiple(cdiv(2 * len(points), splits), block)
    splits = cdiv(2 * len(points), rows)
    grid = *programs, splits
    strides = torch.empty_like(like, device="meta").stride()
    parts = torch.empty(splits, like.numel(), device=points.device)
    products.points_to_kernels[grid](
        points, waves, parts, outputs, inputs, len(points), kernel[0] * kernel[1], kernel[1], waves.shape[1],
        *strides, like.numel(), rows, BR=block, BN=pairs, **_options(precision, warps, stages),
    )  # fmt: skip
    return (parts[0] if splits == 1 else parts.sum(0)).as_strided(like.shape, strides)


def preconditioner(kernels: Tensor, size: Size, dilation: Size) -> Tensor:
    """Return what `functional.preconditioner` returns, (O, N_1 // 2 + 1, N_2) in float32, computed in float32."""
    outputs, inputs, *kernel = kernels.shape
    taps = tuple(range(0, d * (k - 1) + 1, d) for k, d in zip(kernel, dilation, strict=True))
    waves = matrices.waves(size, taps, kernels.device)
    v = torch.empty(outputs, size[0] // 2 + 1, size[1], device=kernels.device)
    (points, channels), warps, stages = TILES["spectrum"]
    channels = min(channels, power_of_two(inputs))
    spectrum.spectrum[outputs, cdiv(v[0].numel(), points)](
        kernels, waves, v, inputs, v[0].numel(), kernel[0] * kernel[1], kernel[1], waves.shape[1],
        EPS, least_power(torch.float32), *kernels.stride(),
        BP=points, BI=channels, PRECISION=EXACT, num_warps=warps, num_stages=stages,
    )  # fmt: skip
    return v


def _options(precision: str, warps: int, stages: int) -> dict[str, Any]:
    return {"PRECISION": precision, "WIDE": INTERPRETED, "num_warps": warps, "num_stages": stages}
