"""Affine resampling of images without the blur and the aliasing of plain bilinear interpolation.

As in ADA's paper (Karras et al., NeurIPS 2020, appendix B.2): double the resolution with the lowpass filter of an
orthogonal wavelet, interpolate bilinearly, and go back with the same filter. Since the wavelet is orthogonal, the map
that moves nothing returns the image. Images are continued by reflection.
"""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

# The lowpass filter of the symlet with six vanishing moments (Daubechies, "Ten Lectures on Wavelets", 1992, table 8.2)
SYM6 = (
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
)
_TAPS = len(SYM6)
# By how many taps the filter delays what is smooth: it is not quite symmetric, and a mirror would show that.
_DELAY = sum(tap * weight for tap, weight in enumerate(SYM6)) / sum(SYM6)
_BILINEAR, _REFLECTION = 0, 2  # the numbers that ATen has for them


def resample(images: Tensor, maps: Tensor) -> Tensor:
    """Return images whose pixel at p shows what the given ones have at M p.

    Args:
        images: (N, C, H, W).
        maps: M, (N, 3, 3), of points (x, y, 1) in pixels from the image's center, y pointing down.
    """
    height, width = images.shape[2:]
    kind = images.dtype, images.device
    doubled = _doubling(height, *kind) @ images @ _doubling(width, *kind).T
    sampled = _Sampling.apply(doubled, _sampling_points(maps, height, width, doubled))
    return _halving(height, *kind) @ sampled @ _halving(width, *kind).T


def _sampling_points(maps: Tensor, height: int, width: int, doubled: Tensor) -> Tensor:
    """Return where in the doubled images to look, (N, 2 H + 10, 2 W + 10, 2), in `grid_sample`'s coordinates."""
    x, y = (_fine_positions(size, doubled).sub((size - 1) / 2) for size in (width, height))
    moved_x, moved_y = (
        maps[:, axis, 0, None, None] * x + maps[:, axis, 1, None, None] * y[:, None] + maps[:, axis, 2, None, None]
        for axis in (0, 1)
    )
    axes = (moved_x, width, doubled.shape[3]), (moved_y, height, doubled.shape[2])
    return torch.stack([_normalized(moved, size, samples) for moved, size, samples in axes], dim=3)


def _fine_positions(size: int, like: Tensor) -> Tensor:
    """Return where the samples lie that make an axis again when it is halved, in pixels."""
    count = 2 * size + _TAPS - 2
    return torch.arange(count, dtype=like.dtype, device=like.device) / 2 - _DELAY / 2


def _normalized(positions: Tensor, size: int, samples: int) -> Tensor:
    """Map pixels from the center to `grid_sample`'s [-1, 1], in which a doubled axis has its outer edges."""
    first = (_TAPS - 2) - _DELAY - 2 * _margin(size)  # of the doubled samples, in halves of a pixel
    index = 2 * (positions + (size - 1) / 2) - first
    return (2 * index + 1) / samples - 1


def _margin(size: int) -> int:
    """Return by how many pixels to continue an axis: what the filter needs, and a quarter for what moves in."""
    return _TAPS // 2 + size // 4


@lru_cache(maxsize=16)  # copied to a device once, not in every step
def _doubling(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the matrix that reflects an axis beyond its ends and doubles its resolution."""
    margin = _margin(size)
    padded = size + 2 * margin
    full = torch.zeros(2 * padded + _TAPS - 2, padded, dtype=torch.float64)
    for pixel in range(padded):
        full[2 * pixel : 2 * pixel + _TAPS, pixel] = torch.tensor(SYM6, dtype=torch.float64)
    whole = full[_TAPS - 2 : 2 * padded]  # the samples that all of the filter contributes to
    matrix = torch.zeros(len(whole), size, dtype=torch.float64)
    return matrix.index_add_(1, _reflected(size, margin), whole).to(device, dtype)


@lru_cache(maxsize=16)
def _halving(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the matrix that halves the resolution of an axis again, (size, 2 size + 10)."""
    matrix = torch.zeros(size, 2 * size + _TAPS - 2, dtype=torch.float64)
    for pixel in range(size):
        matrix[pixel, 2 * pixel : 2 * pixel + _TAPS] = torch.tensor(SYM6, dtype=torch.float64)
    return matrix.to(device, dtype)


def _reflected(size: int, margin: int) -> Tensor:
    """Return which pixel stands at each place from -margin to size + margin: reflection at the outer edges."""
    places = torch.arange(-margin, size + margin).remainder(2 * size)
    return torch.minimum(places, 2 * size - 1 - places)


class _Sampling(torch.autograd.Function):
    """Bilinear interpolation at given points. Torch's own cannot be differentiated twice, as gradient penalties do."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, points: Tensor) -> Tensor:
        ctx.save_for_backward(points)
        ctx.size = images.shape
        return F.grid_sample(images, points, padding_mode="reflection", align_corners=False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (points,) = ctx.saved_tensors
        return _SamplingAdjoint.apply(gradients[0], points, ctx.size), None


class _SamplingAdjoint(torch.autograd.Function):
    """The adjoint of `_Sampling`, which is linear in the images: each is the other's derivative."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, points: Tensor, size: torch.Size) -> Tensor:
        ctx.save_for_backward(points)
        images = gradient.new_zeros(()).expand(size)  # only its size matters
        backward = torch.ops.aten.grid_sampler_2d_backward
        return backward(gradient, images, points, _BILINEAR, _REFLECTION, False, [True, False])[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (points,) = ctx.saved_tensors
        return _Sampling.apply(gradients[0], points), None, None
