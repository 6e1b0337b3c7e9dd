"""Convolutional Normalization, the whole method (Liu et al., "Convolutional Normalization", NeurIPS 2021).

A zero-padded convolution is circular on the grid of its full output: at every frequency w of the discrete Fourier
transform it multiplies the I input channels by one O x I transfer matrix. ConvNorm divides each row of each of these
matrices by its norm, then crops and subsamples by the layer's padding and stride (Eq. 4)::

    V_o(w) = (sum_i |FFT a_oi(w)|^2)^(-1/2)        y = crop(IFFT(V * FFT(a * x)))

The preconditioner V is a constant for autograd, which differentiates everything else.

`normalized_convolution` at the end of this file puts the steps together. This is the reference for the fast forms in
`convnorm.fast`, and what runs where none of them applies. Shapes: batch B, channels O and I, kernel size k, image size
H and grid size N; a star marks one to three spatial axes, such as (B, I, *H).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from convnorm.grid import Grid, full_grid
from convnorm.layers import CONVOLVE, CONVOLVE_TRANSPOSED, Convolution, by_output_channel, check_kernels

# Smallest power of a frequency relative to the mean power: at a spectral zero V is 10^4 times its value for a flat
# spectrum instead of infinite. Well above rounding errors in float64, well below what trained kernels have.
EPS = 1e-8
HEADROOM = 1e8  # V stays this factor below overflow, so that it can be summed


def transfer_matrices(kernels: Tensor, size: Sequence[int], dilation: Sequence[int]) -> Tensor:
    """Return the kernels' discrete Fourier transforms on the grid, complex128 (O, I, N_1 // 2 + 1, *N_2...).

    The other half of the first axis follows from ``FFT(-w) = conj(FFT(w))``. Kernels larger than the grid wrap around.
    """
    transfer = kernels.to(torch.complex128)
    for axis, (n, d) in enumerate(zip(size, dilation, strict=True), start=2):
        frequencies = torch.arange(n // 2 + 1 if axis == 2 else n, device=kernels.device)
        phase = torch.outer(frequencies, torch.arange(kernels.shape[axis], device=kernels.device) * d) % n
        dft = torch.polar(torch.ones_like(phase, dtype=torch.float64), phase.double() * (-2 * torch.pi / n))
        transfer = torch.tensordot(transfer, dft, dims=([axis], [1])).movedim(-1, axis)
    return transfer


def inverse_root(power: Tensor, kernels: Tensor) -> Tensor:
    """Return V for the power ``sum_i |FFT a_oi|^2``, (O, *N), bounded where a frequency has (almost) no power.

    V is at most 10^4 times its value for a flat spectrum of the same energy, and at most 3e30 (float64: 7e153), a limit
    that only kernels with weights below 1e-31 reach. A kernel of zeros gets ones. The result is float64 for float64
    kernels, else float32.
    """
    energy = torch.linalg.vector_norm(kernels.detach().double().flatten(1), dim=1).square()
    energy = energy.view(-1, *[1] * (power.dim() - 1))
    dtype = torch.float64 if kernels.dtype == torch.float64 else torch.float32
    bounded = power.maximum(EPS * energy).clamp_min(least_power(dtype))
    return torch.where(energy > 0, bounded, 1.0).rsqrt().to(dtype)


def least_power(dtype: torch.dtype) -> float:
    """Return the smallest power whose V is far enough from overflow in `dtype`."""
    return max((HEADROOM / torch.finfo(dtype).max) ** 2, torch.finfo(torch.float64).tiny)


def preconditioner(kernels: Tensor, size: Sequence[int], dilation: Sequence[int] | None = None) -> Tensor:
    """Return V, which gives every row of every transfer matrix norm one (Eq. 4). It has no gradient, as in the paper.

    Args:
        kernels: one row per output channel, (O, I, *k). With groups, I counts the channels of one group; transpose the
            weight of a transposed convolution, (I, O, *k), first.
        size: grid size N per axis, that of the full output: H + k - 1 without dilation.
        dilation: spacing of the kernel's taps per axis. Default: 1.

    Returns:
        (O, N_1 // 2 + 1, *N_2...), the non-negative frequencies of the first axis (`all_frequencies` adds the rest);
        bounded as `inverse_root` says.

    Raises:
        ValueError: if `kernels` is not a real tensor of that shape, or `size` or `dilation` is not one positive number
            per spatial axis.
    """
    dilation = [1] * len(size) if dilation is None else dilation
    check_kernels(kernels, size, dilation)
    return inverse_root(transfer_matrices(kernels.detach(), size, dilation).abs().square().sum(1), kernels)


def all_frequencies(half: Tensor, size: Sequence[int]) -> Tensor:
    """Extend V from (O, N_1 // 2 + 1, *N_2...) to the whole grid, (O, *N), by ``V(-w) = V(w)``."""
    mirrored = half[:, 1 : (size[0] + 1) // 2].flip(_last_axes(len(size)))
    if others := len(size) - 1:
        mirrored = mirrored.roll([1] * others, _last_axes(others))
    return torch.cat([half, mirrored], 1)


def precondition(y: Tensor, v: Tensor) -> Tensor:
    """Return ``IFFT(V * FFT y)`` for a full output y.

    Args:
        y: (..., O, *N). Half precision is computed in float32.
        v: result of `preconditioner` for the grid N. Grids of 2n and of 2n + 1 frequencies on the first axis have a V
            of the same shape and cannot be told apart.

    Returns:
        A tensor of y's shape and dtype.

    Raises:
        ValueError: if y is not real, or `v` belongs to other channels or another grid.
    """
    if not y.is_floating_point():
        raise ValueError(f"y must be real, got {y.dtype}")
    channels, first, *others = y.shape[-v.dim() :]
    expected = channels, first // 2 + 1, *others
    if v.shape != expected:
        raise ValueError(f"the preconditioner must be of shape {expected} for this y, got {tuple(v.shape)}")
    if y.numel() == 0:  # MKL refuses to transform an empty batch
        return y
    axes = _last_axes(v.dim() - 1)
    # rfftn halves the last axis; V has half of the first.
    signals = y.to(torch.promote_types(y.dtype, torch.float32)).movedim(axes[0], -1)
    transform = torch.fft.rfftn(signals, dim=axes) * v.movedim(1, -1)
    filtered: Tensor = torch.fft.irfftn(transform, s=signals.shape[axes[0] :], dim=axes)
    return filtered.movedim(-1, axes[0]).to(y.dtype)


def _last_axes(count: int) -> tuple[int, ...]:
    return tuple(range(-count, 0))


def full_output(layer: Convolution, x: Tensor, kernels: Tensor, grid: Grid) -> Tensor:
    """Return the output at every position of the grid: stride 1, or no crop of a transposed convolution."""
    weight, axes = by_output_channel(layer, kernels).to(x.dtype), kernels.dim() - 2
    if layer.transposed:
        return CONVOLVE_TRANSPOSED[axes](x, weight, None, layer.stride, 0, grid.padding, layer.groups, layer.dilation)
    return CONVOLVE[axes](x, weight, None, 1, grid.padding, layer.dilation, layer.groups)


def convolve(layer: Convolution, x: Tensor, kernels: Tensor, v: Tensor, grid: Grid) -> Tensor:
    """Return the preconditioned, cropped and strided output of x without bias, (..., O, *H') in x's dtype.

    Everything runs in the precision of the kernels: V amplifies whatever was rounded before it. cuDNN rounds the
    factors of a float32 convolution to TF32, unless `torch.backends.cudnn.conv.fp32_precision` is "ieee". The norm of
    the error in output channel o is then at most ``2^-10 max(V_o) sum_i ||a_oi||_1 ||x_i||_2``.
    """
    y = precondition(full_output(layer, x.to(kernels.dtype), kernels, grid), v)
    crop: list[Any] = [slice(axis.start, axis.stop, axis.step) for axis in grid.crop]
    return y[tuple([..., *crop])].to(x.dtype)


def normalized_convolution(layer: Convolution, x: Tensor) -> Tensor:
    """Return what `ConvNorm` computes before its affine filter and bias, for images (..., I, *H) padded with zeros."""
    kernels = by_output_channel(layer, layer.weight)
    grid = full_grid(layer, x.shape[-(kernels.dim() - 2) :])
    v = preconditioner(kernels, grid.size, layer.dilation)
    return convolve(layer, x, kernels, v, grid)
