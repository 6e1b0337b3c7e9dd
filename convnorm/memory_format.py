"""Memory formats of images: contiguous or channels_last."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from convnorm.fast.gradients import batched, by_plain_operations, transformed

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def like(y: Tensor, *examples: Tensor) -> Tensor:
    """Return y in channels_last if one of the examples is in it, else contiguous."""
    channels_last = CHANNELS_LAST.get(y.dim()) if not transformed() else None  # vmap does not support it
    if channels_last and any(_is_in(channels_last, example) for example in examples):
        return y.contiguous(memory_format=channels_last)
    return y.contiguous()


def _is_in(memory_format: torch.memory_format, x: Tensor) -> bool:
    """Return whether x is in this format. Images of one channel are in both; their strides decide."""
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
        return grad if batched(grad) else grad.contiguous(memory_format=ctx.format)


def keep_memory_format(x: Tensor) -> Tensor:
    """Return x unchanged, and its gradient in x's memory format.

    On a CPU the backward pass of an activation function takes 3 to 30 times as long if its gradient has another memory
    format than its input, which costs more than a conversion. Use it after an activation, before a layer whose gradient
    may have another format, such as a flattened head.

    Args:
        x: images, (B, C, H, W).
    """
    return x if by_plain_operations() else _KeepMemoryFormat.apply(x)
