"""What torch's autocast does to a convolution, for operations of our own."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

Gradients = TypeVar("Gradients")


def is_enabled(x: Tensor) -> bool:
    """Return whether autocast is on for x's device; a meta device knows none."""
    return x.device.type != "meta" and torch.is_autocast_enabled(x.device.type)


def precision(x: Tensor) -> torch.dtype:
    """Return the data type in which a convolution of x is computed here: autocast's, of floats up to float32."""
    if is_enabled(x) and x.is_floating_point() and x.dtype != torch.float64:
        return torch.get_autocast_dtype(x.device.type)
    return x.dtype


def in_autocast_precision(x: Tensor, run: Callable[[Tensor], Tensor]) -> Tensor:
    """Run on x in the precision that autocast asks for, and with autocast off."""
    if not is_enabled(x):  # else an exported graph would have a part for every layer
        return run(x)
    x = x.to(precision(x))
    with torch.autocast(x.device.type, enabled=False):
        return run(x)


def without_autocast(backward: Callable[[Any, Tensor], Gradients]) -> Callable[[Any, Tensor], Gradients]:
    """Let a backward pass keep the precisions of its forward pass where it is called with autocast on.

    torch advises against that, but gradient penalties do it.
    """

    @functools.wraps(backward)
    def run(ctx: Any, grad: Tensor) -> Gradients:
        if not is_enabled(grad):
            return backward(ctx, grad)
        with torch.autocast(grad.device.type, enabled=False):
            return backward(ctx, grad)

    return run
