"""Exact singular values and operator norms of convolutions, to measure what a normalization does."""

import copy
import math
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from convnorm.functional import all_frequencies, transfer_matrices
from convnorm.grid import full_grid
from convnorm.layers import CONVOLUTIONS, Convolution, by_output_channel, is_hooked, padded_size
from convnorm.modules import ConvNorm

ALARMING = 1e-4  # warn above this relative residual of Lanczos' method, which bounds the error
STEPS = 200  # at most; 20 to 60 reach the tolerance on layers of trained and untrained networks
STEPS_BETWEEN_LOOKS = 8  # on other devices than the CPU, where a look makes the host wait


@torch.no_grad()
def singular_values(layer: nn.Module, size: Sequence[int]) -> Tensor:
    """Return the singular values of a convolution as a circular operator: those of its transfer matrices.

    The operator has stride 1, on the grid N = H + k - 1 of the layer's full output, where it is exact for zero-padded
    images (Sedghi, Gupta and Long, "The Singular Values of Convolutional Layers", 2019). Other padding modes pad the
    image first, to H + 2p. For a `ConvNorm` this is the preconditioned convolution without the depthwise filter.

    Args:
        layer: a convolution, plain or transposed, possibly parametrized, or a `ConvNorm`.
        size: spatial size H of the input images.

    Returns:
        Float64, (*N, min(O, I)), in descending order at each frequency; groups · min(O / groups, I / groups) values for
        a grouped layer.

    Raises:
        TypeError: if `layer` is none of these, or a hook sets its weight or bias.
        ValueError: if `size` does not have one positive number per spatial axis, or the weight is not finite.
    """
    layer = _frozen(layer, torch.float64)
    convolution = _convolution(layer)
    _check_size(convolution, size)
    kernels = by_output_channel(convolution, convolution.weight)  # (O, I / groups, *k)
    grid = full_grid(convolution, padded_size(convolution, size)).size
    transfer = transfer_matrices(kernels, grid, convolution.dilation)
    if isinstance(layer, ConvNorm):
        transfer = transfer * layer.preconditioner(kernels, grid).unsqueeze(1)
    _finite_maximum(transfer)
    blocks = transfer.reshape(convolution.groups, -1, *transfer.shape[1:]).movedim((0, 1, 2), (-3, -2, -1))
    values = torch.linalg.svdvals(blocks).flatten(-2)  # of (*N/2, groups, O / groups, I / groups)
    return all_frequencies(values.movedim(-1, 0), grid).movedim(0, -1).sort(dim=-1, descending=True).values


def operator_norm(layer: nn.Module, size: Sequence[int] = ()) -> float:
    """Return the largest singular value of a layer as it is applied: with padding, stride and depthwise filter.

    For a convolution this runs Lanczos' method on the linear map from one image to the output without bias, to a
    relative error of 1e-6. After 200 steps it stops, and warns if the error may exceed 1e-4. On a GPU set
    `torch.backends.cudnn.conv.fp32_precision = "ieee"`: TF32, cuDNN's default, is less accurate. The layer, its mode
    and the global random state do not change.

    Args:
        layer: a `Linear` or a convolution, plain or transposed, possibly parametrized, or a `ConvNorm` (which uses its
            moving average in evaluation mode only).
        size: spatial size H of the input images; empty for a `Linear`.

    Raises:
        TypeError: if `layer` is none of these, or a hook sets its weight or bias.
        ValueError: if `size` does not have one positive number per spatial axis, or the weights are not finite.
    """
    with torch.inference_mode(False):  # Lanczos needs gradients
        return _operator_norm(_frozen(layer, torch.float32), size)


def _operator_norm(layer: nn.Module, size: Sequence[int]) -> float:
    if isinstance(layer, nn.Linear):
        _finite_maximum(layer.weight)
        return float(torch.linalg.matrix_norm(layer.weight, ord=2))
    convolution = _convolution(layer)
    _check_size(convolution, size)
    if isinstance(convolution.bias, nn.Parameter):
        convolution.bias = None  # it would hide small weights
    random = torch.Generator().manual_seed(0)
    start = torch.randn(1, convolution.in_channels, *size, generator=random, device="cpu")
    return _norm_by_lanczos(layer, start.to(convolution.weight))


def _norm_by_lanczos(layer: nn.Module, start: Tensor) -> float:
    with torch.enable_grad(), torch.autocast(start.device.type, enabled=False):
        image = torch.zeros_like(start, requires_grad=True)
        offset = layer(image)

        @torch.no_grad()
        def act(x: Tensor) -> Tensor:
            return layer(x) - offset

        scale = _finite_maximum(act(start))
        if scale == 0:
            return 0.0

        def gram(x: Tensor) -> Tensor:  # divided by the scale, so that no square overflows or vanishes
            return torch.autograd.grad(offset, image, act(x / scale) / scale, retain_graph=True)[0]

        looks = 1 if start.device.type == "cpu" else STEPS_BETWEEN_LOOKS
        return scale * math.sqrt(_largest_eigenvalue(gram, start, looks))


def _largest_eigenvalue(
    gram: Callable[[Tensor], Tensor], start: Tensor, every: int = 1, tolerance: float = 1e-6
) -> float:
    """Run Lanczos' method, reorthogonalized, on a positive semidefinite map until the residual is within tolerance.

    The residual is looked at every so many steps.
    """
    vectors = [start / start.norm()]
    diagonal: list[Tensor] = []
    off_diagonal: list[Tensor] = []
    value = residual = 0.0
    last = min(STEPS, start.numel())
    for step in range(1, last + 1):
        image = gram(vectors[-1])
        diagonal.append((image * vectors[-1]).sum())
        negligible = tolerance * image.norm()
        basis = torch.stack(vectors).flatten(1)
        for _ in range(2):
            image = image - (basis.T @ (basis @ image.flatten())).view_as(image)
        off_diagonal.append(image.norm())
        if step % every == 0 or step == last:
            value, residual = _largest_ritz_value(diagonal, off_diagonal)
            if residual <= tolerance * value:
                return value
        left = off_diagonal[-1]  # if nothing is left but rounding, the steps to the next look add zeros
        vectors.append(image / left.where(left > negligible, torch.inf))
    if start.numel() > STEPS and residual > ALARMING * value:
        reached = f"its relative residual is {residual / value:.1e} instead of {tolerance:.0e}"
        warnings.warn(f"operator_norm stopped after {STEPS} steps: {reached}", stacklevel=5)
    return value


def _largest_ritz_value(diagonal: list[Tensor], off_diagonal: list[Tensor]) -> tuple[float, float]:
    """Return the largest eigenvalue of the tridiagonal matrix, and its residual in the whole space."""
    numbers = torch.stack([*diagonal, *off_diagonal]).cpu().double()  # the one place that waits for a device
    main, beside = numbers.chunk(2)
    values, ritz = torch.linalg.eigh(torch.diag(main) + torch.diag(beside[:-1], -1))
    return max(float(values[-1]), 0.0), float(beside[-1] * ritz[-1, -1].abs())


def _frozen(layer: nn.Module, least: torch.dtype) -> nn.Module:
    """Return a copy of at least the given precision, in evaluation mode, so that reading it updates nothing."""
    if any(is_hooked(module) for module in layer.modules()):
        raise TypeError(
            f"layer must be free of the hooks of torch.nn.utils.spectral_norm, weight_norm and prune, got {layer}: use "
            "torch.nn.utils.parametrizations or parametrize"
        )
    frozen = copy.deepcopy(layer).requires_grad_(False)
    if isinstance(frozen, ConvNorm) and frozen.training:
        frozen.momentum = None  # in training it uses the current preconditioner, not the average
    frozen.eval()
    for parameter in frozen.parameters():
        return frozen.to(torch.promote_types(parameter.dtype, least))
    return frozen


def _check_size(layer: Convolution, size: Sequence[int]) -> None:
    axes = len(layer.kernel_size)
    if not isinstance(size, Sequence) or len(size) != axes or min(size) < 1:
        raise ValueError(f"size must be {axes} positive numbers for this layer, got {size!r}")


def _finite_maximum(values: Tensor) -> float:
    """Return the largest absolute value, or raise if one is not finite."""
    largest = float(values.abs().max())
    if not math.isfinite(largest):
        raise ValueError(f"the layer's weights must be finite, and so must its output; found {largest}")
    return largest


def _convolution(layer: nn.Module) -> Convolution:
    convolution = layer.layer if isinstance(layer, ConvNorm) else layer
    if not isinstance(convolution, CONVOLUTIONS):
        raise TypeError(f"layer must be a convolution or a ConvNorm, got {type(layer).__name__}")
    return convolution
