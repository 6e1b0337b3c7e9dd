"""Convolutional Normalization as functions of tensors (Liu et al., "Convolutional Normalization", NeurIPS 2021).

O and I are output and input channels, k a kernel's size and N the size of the grid, an axis; every function takes any
number of spatial axes.
"""

import math
import operator
from collections.abc import Sequence

import torch
from torch import Tensor

from convnorm.constants import kept

# The least power of a frequency, relative to the mean over all of them: a spectral zero is amplified 10,000 times, not
# infinitely. Far above what cancellation leaves in float64 and far below what the kernels of a network have.
EPS = 1e-8
# How many times less than overflow a spectrum is at most, so that it can be summed up.
HEADROOM = 1e8


def power_spectrum(weight: Tensor, size: Sequence[int], dilation: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return ``sum_i |FFT_N a_oi|^2``, the squared norm of each row of each frequency's transfer matrix.

    The power spectrum is the Fourier transform of the kernels' autocorrelations summed over the input channels. Those
    are (2k-1)^2 numbers an output channel, whatever I and N are: no kernel is ever padded to the grid. Small powers are
    differences of large numbers, hence float64. All are constants for autograd.

    Args:
        weight: kernels, (O, I, *k).
        size: the grid, N per axis; it may be smaller than the kernel, which then wraps around.
        dilation: distance between the kernel's taps per axis.

    Returns:
        The powers in float64, (O, size[0] // 2 + 1, *size[1:]), and the kernels' energy, (O,): the powers' mean over
        the whole grid, unless it is smaller than the kernel.
    """
    kernels = weight.detach().double()
    sums, places = _autocorrelations(kernels, tuple(operator.index(n) for n in size), tuple(dilation))
    lags = sums.new_zeros(len(sums), math.prod(size)).index_add_(1, places, sums).view(-1, *size)
    spectrum: Tensor = torch.fft.rfftn(lags.movedim(1, -1), dim=_axes(len(size)))
    return spectrum.real.movedim(-1, 1).contiguous(), torch.linalg.vector_norm(kernels.flatten(1), dim=1).square()


def _autocorrelations(kernels: Tensor, size: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return summands of the kernels' autocorrelations, summed over the input channels, and their places on the grid.

    They are the products of all pairs of taps, (O, k*k*k*k); where there are too many of those, in large and depthwise
    kernels, the sums for each lag, (O, (2k-1)^2), by transforms.
    """
    kernel, inputs = tuple(kernels.shape[2:]), kernels.shape[1]
    lags = [2 * k - 1 for k in kernel]
    if math.prod(kernel) ** 2 * (25 + inputs) > 250 * math.prod(lags) * inputs:  # what each takes, measured on a CPU
        axes = _axes(len(lags))
        transforms = torch.view_as_real(torch.fft.rfftn(kernels, s=lags, dim=axes))
        sums = torch.fft.irfftn(transforms.square().sum((1, -1)), s=lags, dim=axes)
        return sums.flatten(1), _places(kernel, size, dilation, False, kernels.device)
    taps = kernels.flatten(2)
    return (taps.transpose(1, 2) @ taps).flatten(1), _places(kernel, size, dilation, True, kernels.device)


@kept
def _places(
    kernel: tuple[int, ...], size: tuple[int, ...], dilation: tuple[int, ...], pairs: bool, device: torch.device
) -> Tensor:
    """Return where on the flattened grid the lag of each pair of taps is, or each lag: 0 first, negative ones last."""
    places = torch.zeros(1, 1, dtype=torch.long)
    for k, n, d in zip(kernel, size, dilation, strict=True):
        taps = torch.arange(k)
        lags = taps[:, None] - taps if pairs else torch.cat([taps, taps[1:] - k])[:, None]
        of_axis = lags * d % n
        places = (places[:, None, :, None] * n + of_axis[None, :, None, :]).reshape(len(places) * len(lags), -1)
    return places.flatten().to(device)


def _axes(count: int) -> tuple[int, ...]:
    """Return the last axes. Of the very last `rfftn` keeps half: what is to be halved is moved there before."""
    return tuple(range(-count, 0))


def complete(half: Tensor, size: Sequence[int]) -> Tensor:
    """Complete a spectrum to the whole grid, from (O, size[0] // 2 + 1, *size[1:]) to (O, *size): V(-f) = V(f)."""
    conjugates = half[:, 1 : (size[0] + 1) // 2].flip(_axes(len(size)))
    if others := len(size) - 1:
        conjugates = conjugates.roll([1] * others, _axes(others))
    return torch.cat([half, conjugates], 1)


def preconditioner(weight: Tensor, size: Sequence[int], dilation: Sequence[int] | None = None) -> Tensor:
    """Return the spectrum ``V_o = (sum_i |FFT_N a_oi|^2)^(-1/2)`` that makes every output channel an isometry (Eq. 4).

    It is a constant for autograd, as in the paper. Where a frequency has (almost) no power, V is bounded by 10^4 times
    its value for a flat spectrum of the same energy, and by 3e30 (float64: 7e153) so as not to overflow,
    which is felt by weights below 1e-31; a kernel of zeros gets ones.

    Args:
        weight: kernels, (O, I, *k). For grouped convolutions I counts the channels of a group; the weight of a
            transposed convolution, (I, O, *k), is to be transposed.
        size: the grid N of the full, zero-padded output: H + k - 1 per axis for undilated kernels and images of size H.
        dilation: distance between the kernel's taps per axis; one each by default.

    Returns:
        (O, size[0] // 2 + 1, *size[1:]): of the first axis the frequencies up to half, the others follow by symmetry;
        float64 if the weight is, else float32.

    Raises:
        ValueError: if the weight is no such tensor of real numbers, or `size` or `dilation` don't have one positive
            number per spatial axis.
    """
    if weight.dim() < 3 or not weight.is_floating_point():
        raise ValueError(f"weight must be real numbers (O, I, *k), got {weight.dtype} of shape {tuple(weight.shape)}")
    axes = weight.dim() - 2
    dilation = [1] * axes if dilation is None else dilation
    for name, value in ("size", size), ("dilation", dilation):
        if len(value) != axes or min(value) < 1:
            raise ValueError(f"{name} must be {axes} positive numbers for this weight, got {tuple(value)}")
    flat = math.prod(weight.shape[2:]) == 1
    power, energy = power_spectrum(weight, [1] * axes if flat else size, dilation)
    energy = energy.view(-1, *[1] * axes)
    dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
    least = max((HEADROOM / torch.finfo(dtype).max) ** 2, torch.finfo(torch.float64).tiny)
    spectrum = torch.where(energy > 0, power.maximum(EPS * energy).clamp_min(least), 1.0).rsqrt().to(dtype)
    return spectrum.expand(-1, size[0] // 2 + 1, *size[1:])


def precondition(y: Tensor, spectrum: Tensor) -> Tensor:
    """Filter the full output of a convolution: ``IFFT(V · FFT y)`` (Eq. 4).

    Args:
        y: (..., O, *N); half precision is computed in float32.
        spectrum: what `preconditioner` returns for the grid N. Those of 2n and of 2n + 1 frequencies on the first axis
            have one shape, and cannot be told apart.

    Returns:
        A tensor of y's shape and dtype.

    Raises:
        ValueError: if y is not of real numbers, or the spectrum of other channels or of another grid than y.
    """
    if not y.is_floating_point():
        raise ValueError(f"y must be real numbers, got {y.dtype}")
    channels, first, *others = y.shape[-spectrum.dim() :]
    expected = channels, first // 2 + 1, *others
    if spectrum.shape != expected:
        raise ValueError(f"spectrum must be of shape {expected} for this y, got {tuple(spectrum.shape)}")
    if y.numel() == 0:
        return y  # an empty batch, which MKL refuses to transform
    axes = _axes(spectrum.dim() - 1)
    signals = y.to(torch.promote_types(y.dtype, torch.float32)).movedim(axes[0], -1)
    transform = torch.fft.rfftn(signals, dim=axes) * spectrum.movedim(1, -1)
    filtered: Tensor = torch.fft.irfftn(transform, s=signals.shape[axes[0] :], dim=axes)
    return filtered.movedim(-1, axes[0]).to(y.dtype)
