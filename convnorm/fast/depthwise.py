"""Depthwise convolutions with gradients that are fast on the CPU."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn.grad import conv2d_weight

from convnorm.autocast import is_enabled, precision, without_autocast
from convnorm.fast.gradients import backward_by_plain_operations, by_plain_operations, plain_gradients
from convnorm.layers import CONVOLVE

# Widest kernel whose weight gradient is fast in oneDNN, if the image's height is padded before. In bfloat16 a 5x3
# kernel took 1 ms, a 3x5 kernel 33; for images four pixels high 5x3 took 0.3 ms, but 28 with oneDNN's own padding.
MAX_WIDTH = 3


def filter_channels(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Filter each channel by its own kernel, with "same" padding and autocast as in torch's convolutions.

    Args:
        x: (..., C, *H).
        weight: (C, 1, *k), k odd.
        bias: (C,), added last.
    """
    kernel = weight.shape[2:]
    if is_enabled(x):
        dtype = precision(x)
        x, weight, bias = x.to(dtype), weight.to(dtype), bias if bias is None else bias.to(dtype)
    if x.device.type != "cpu" or x.dim() != 4 or len(kernel) != 2 or by_plain_operations():
        return CONVOLVE[len(kernel)](x, weight, bias, 1, [k // 2 for k in kernel], 1, len(weight))
    with torch.autocast(x.device.type, enabled=False):
        return _Depthwise.apply(x, weight, bias)


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution with faster gradients than oneDNN's, which take several times as long in channels_last.

    The image's gradient is a convolution with the flipped kernel, the weight's is computed a few columns at a time.
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _convolve(x, weight, bias)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)  # type: ignore[arg-type]

    @staticmethod
    @without_autocast
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        saved, needed = ctx.saved_tensors, ctx.needs_input_grad
        if backward_by_plain_operations(grad):
            return plain_gradients(_convolve, saved, needed, grad)
        x, weight, _ = saved
        return (
            _convolve(grad, weight.flip(2, 3), None) if needed[0] else None,
            _weight_gradient(x, weight, grad) if needed[1] else None,
            grad.sum((0, 2, 3)) if needed[2] else None,
        )


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.conv2d(x, weight, bias, padding=[k // 2 for k in weight.shape[2:]], groups=len(weight))


def _weight_gradient(x: Tensor, weight: Tensor, grad: Tensor) -> Tensor:
    """Return the weight's gradient in its memory format, at most `MAX_WIDTH` columns of taps at a time."""
    channels, _, height, width = weight.shape
    padding = [height // 2, width // 2]
    if max(height, width) <= MAX_WIDTH or x.shape[3] <= padding[1]:  # fast, or some columns see only padding
        return conv2d_weight(x, weight.shape, grad, padding=padding, groups=channels)
    gradient, columns = torch.empty_like(weight), min(width, MAX_WIDTH)  # DDP copies gradients of another format
    for left in sorted({*range(0, width - columns + 1, columns), width - columns}):
        before = padding[1] - left  # negative: F.pad crops what these columns do not see
        image = F.pad(x, [before, columns - 1 - before, padding[0], padding[0]])
        part = conv2d_weight(image, (channels, 1, height, columns), grad, groups=channels)
        gradient[..., left : left + columns] = part
    return gradient
