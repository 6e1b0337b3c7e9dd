"""In which order an image's numbers lie in memory."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def in_layout(y: Tensor, *examples: Tensor) -> Tensor:
    """Return y with its channels last in memory if those of one of the examples are, else contiguous."""
    channels_last = CHANNELS_LAST.get(y.dim())
    if channels_last and any(_is_in(channels_last, example) for example in examples):
        return y.contiguous(memory_format=channels_last)
    return y.contiguous()


def _is_in(layout: torch.memory_format, x: Tensor) -> bool:
    return x.is_contiguous(memory_format=layout) and not x.is_contiguous()


class _KeepLayout(torch.autograd.Function):
    """Asks for strides and moves axes, as `torch.func.vmap` knows no memory formats."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.channels_last = output.stride(1) < output.stride(3)  # type: ignore[attr-defined]

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return tangent.view_as(tangent)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad.movedim(1, 3).contiguous().movedim(3, 1) if ctx.channels_last else grad.contiguous()


def keep_layout(x: Tensor) -> Tensor:
    """Return images x, (B, C, H, W), as they are; their gradient comes back in their own layout.

    Where the gradient lies in another order than what was kept of the forward pass, an activation's backward pass
    takes 3 to 30 times as long on a CPU, more than it takes to put the gradient in order.
    """
    return x if torch.compiler.is_compiling() else _KeepLayout.apply(x)
