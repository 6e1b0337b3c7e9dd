"""In which order an image's numbers lie in memory."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from convnorm.gradients import by_plain_operations, transformed

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def in_layout(y: Tensor, *examples: Tensor) -> Tensor:
    """Return y with its channels last in memory if those of one of the examples are, else contiguous."""
    channels_last = CHANNELS_LAST.get(y.dim()) if not transformed() else None  # vmap knows no such layout
    if channels_last and any(_is_in(channels_last, example) for example in examples):
        return y.contiguous(memory_format=channels_last)
    return y.contiguous()


def _is_in(layout: torch.memory_format, x: Tensor) -> bool:
    """Return whether x is meant to be in this layout: where one channel is in both, strides decide."""
    channels, pixels = x.stride(1), x.stride(-1)
    return x.is_contiguous(memory_format=layout) and (channels < pixels or channels == x.shape[1] == 1)


class _KeepLayout(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor], output: Tensor) -> None:
        channels_last = output.stride(1) < output.stride(3)
        ctx.layout = torch.channels_last if channels_last else torch.contiguous_format  # type: ignore[attr-defined]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad.contiguous(memory_format=ctx.layout)


def keep_layout(x: Tensor) -> Tensor:
    """Return images x, (B, C, H, W), as they are; their gradient comes back in their own layout.

    Where the gradient lies in another order than what was kept of the forward pass, an activation's backward pass
    takes 3 to 30 times as long on a CPU, more than it takes to put the gradient in order.
    """
    return x if by_plain_operations() else _KeepLayout.apply(x)
