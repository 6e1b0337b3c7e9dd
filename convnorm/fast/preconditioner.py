"""The preconditioner from the kernels' autocorrelations, without padding any kernel to the grid.

The power ``sum_i |FFT a_oi|^2`` is the Fourier transform of the kernels' autocorrelations, summed over the input
channels. These are (2k-1)^2 numbers per output channel, for any number of input channels and any grid.
"""

import math
import operator
from collections.abc import Sequence

import torch
from torch import Tensor

from convnorm.fast.cache import cached
from convnorm.functional import inverse_root
from convnorm.layers import check_kernels


def preconditioner(kernels: Tensor, size: Sequence[int], dilation: Sequence[int] | None = None) -> Tensor:
    """Return what `functional.preconditioner` returns, 70 to 140 times as fast for 128 channels."""
    dilation = [1] * len(size) if dilation is None else dilation
    check_kernels(kernels, size, dilation)
    flat = math.prod(kernels.shape[2:]) == 1
    v = inverse_root(_power(kernels, [1] * len(size) if flat else size, dilation), kernels)
    return v.expand(-1, size[0] // 2 + 1, *size[1:])


def _power(kernels: Tensor, size: Sequence[int], dilation: Sequence[int]) -> Tensor:
    """Return ``sum_i |FFT a_oi|^2``, (O, N_1 // 2 + 1, *N_2...), in float64: small powers are small differences.

    Autocorrelations larger than the grid wrap around.
    """
    sums, positions = _autocorrelations(
        kernels.detach().double(), tuple(operator.index(n) for n in size), tuple(dilation)
    )
    lags = sums.new_zeros(len(sums), math.prod(size)).index_add_(1, positions, sums).view(-1, *size)
    # rfftn halves the last axis; V has half of the first.
    power: Tensor = torch.fft.rfftn(lags.movedim(1, -1), dim=_last_axes(len(size)))
    return power.real.movedim(-1, 1).contiguous()


def _autocorrelations(kernels: Tensor, size: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return terms of the autocorrelations, summed over the input channels, and their positions on the flattened grid.

    Terms with the same position are to be added. They are the products of all pairs of taps, (O, k^4), or, for large
    and depthwise kernels, the sum of each lag by FFT, (O, (2k-1)^2).
    """
    kernel, inputs = tuple(kernels.shape[2:]), kernels.shape[1]
    lags = [2 * k - 1 for k in kernel]
    if math.prod(kernel) ** 2 * (25 + inputs) > 250 * math.prod(lags) * inputs:  # costs measured on a CPU
        axes = _last_axes(len(lags))
        transforms = torch.view_as_real(torch.fft.rfftn(kernels, s=lags, dim=axes))
        sums = torch.fft.irfftn(transforms.square().sum((1, -1)), s=lags, dim=axes)
        return sums.flatten(1), _lag_positions(kernel, size, dilation, False, kernels.device)
    taps = kernels.flatten(2)
    return (taps.transpose(1, 2) @ taps).flatten(1), _lag_positions(kernel, size, dilation, True, kernels.device)


@cached
def _lag_positions(
    kernel: tuple[int, ...], size: tuple[int, ...], dilation: tuple[int, ...], pairs: bool, device: torch.device
) -> Tensor:
    """Return the positions on the flattened grid of the lags of all pairs of taps, or of all lags in FFT order."""
    positions = torch.zeros(1, 1, dtype=torch.long)
    for k, n, d in zip(kernel, size, dilation, strict=True):
        taps = torch.arange(k)
        lags = taps[:, None] - taps if pairs else torch.cat([taps, taps[1:] - k])[:, None]
        along_axis = lags * d % n
        positions = (positions[:, None, :, None] * n + along_axis[None, :, None, :]).reshape(
            len(positions) * len(lags), -1
        )
    return positions.flatten().to(device)


def _last_axes(count: int) -> tuple[int, ...]:
    return tuple(range(-count, 0))
