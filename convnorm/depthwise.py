"""Depthwise convolutions with gradients that are fast on the CPU."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn.grad import conv2d_weight

from convnorm.geometry import CONVOLVE

FAST = 3  # oneDNN's gradient in 3x3 weights is fast: in bfloat16 that in 5x5 took 12 ms, four times 3x3 take 1.2


def filter_channels(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Filter each channel by itself, to the same size.

    Args:
        x: (..., C, *H).
        weight: (C, 1, *k), k odd.
        bias: (C,), added last.
    """
    kernel = weight.shape[2:]
    if x.device.type != "cpu" or x.dim() != 4 or len(kernel) != 2 or torch.compiler.is_compiling():
        return CONVOLVE[len(kernel) - 1](x, weight, bias, 1, [k // 2 for k in kernel], 1, len(weight))
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight, bias = x.to(dtype), weight.to(dtype), bias if bias is None else bias.to(dtype)
    with torch.autocast(x.device.type, enabled=False):
        return _Depthwise.apply(x, weight, bias)


class _Depthwise(torch.autograd.Function):
    """The convolution as it is; its gradient in the image is again one, that in the weight goes window by window.

    oneDNN's own gradients take several times as long, in channels_last.
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _convolve(x, weight, bias)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)  # type: ignore[arg-type]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        saved, needed = ctx.saved_tensors, ctx.needs_input_grad
        if torch.is_grad_enabled():  # a graph of the gradient is wanted, for a gradient penalty
            wanted = [tensor for tensor, need in zip(saved, needed, strict=True) if need]
            found = iter(torch.autograd.grad(_convolve(*saved), wanted, grad, create_graph=True))
            return tuple(next(found) if need else None for need in needed)
        x, weight, _ = saved
        return (
            _convolve(grad, weight.flip(2, 3), None) if needed[0] else None,
            _weight_gradient(x, weight.shape, grad) if needed[1] else None,
            grad.sum((0, 2, 3)) if needed[2] else None,
        )


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.conv2d(x, weight, bias, padding=[k // 2 for k in weight.shape[2:]], groups=len(weight))


def _weight_gradient(x: Tensor, shape: torch.Size, grad: Tensor) -> Tensor:
    """Return the gradient in the weight from windows of it that cover it, some taps twice."""
    weight = x.new_empty(shape)
    (height, width), (h, w) = grad.shape[2:], (min(k, FAST) for k in shape[2:])
    padded = F.pad(x, [shape[3] // 2, shape[3] // 2, shape[2] // 2, shape[2] // 2])
    for i in _starts(shape[2]):
        for j in _starts(shape[3]):
            image = padded[:, :, i : i + height + h - 1, j : j + width + w - 1]
            window = conv2d_weight(image, (len(weight), 1, h, w), grad, groups=len(weight))
            weight[:, :, i : i + h, j : j + w] = window
    return weight


def _starts(k: int) -> list[int]:
    return sorted({*range(0, k - FAST + 1, FAST), max(k - FAST, 0)})
