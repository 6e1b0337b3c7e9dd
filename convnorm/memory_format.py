"""Memory formats: in which order the numbers of an image lie in memory."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from convnorm.fast.gradients import by_plain_operations, transformed

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def like(y: Tensor, *examples: Tensor) -> Tensor:
    """Return y in channels_last if one of the examples is, else contiguous."""
    channels_last = CHANNELS_LAST.get(y.dim()) if not transformed() else None  # vmap does not know this format
    if channels_last and any(_is_in(channels_last, example) for example in examples):
        return y.contiguous(memory_format=channels_last)
    return y.contiguous()


def _is_in(memory_format: torch.memory_format, x: Tensor) -> bool:
    """Return whether x is meant to be in this format. An image of one channel is in both: strides decide."""
    channels, pixels = x.stride(1), x.stride(-1)
    return x.is_contiguous(memory_format=memory_format) and (channels < pixels or channels == x.shape[1] == 1)


class _KeepMemoryFormat(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor], output: Tensor) -> None:
        channels_last = output.stride(1) < output.stride(3)
        ctx.format = torch.channels_last if channels_last else torch.contiguous_format  # type: ignore[attr-defined]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad.contiguous(memory_format=ctx.format)


def keep_memory_format(x: Tensor) -> Tensor:
    """Return x unchanged and bring its gradient into x's own memory format.

    On a CPU the backward pass of an activation takes 3 to 30 times as long if its gradient is in another format than
    the activations it kept, longer than converting the gradient. Put it between a layer that may return gradients in
    another format (a flattened head, an FFT) and the activation before it.

    Args:
        x: images, (B, C, H, W).
    """
    return x if by_plain_operations() else _KeepMemoryFormat.apply(x)
