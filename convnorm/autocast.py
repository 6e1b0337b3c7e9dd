"""torch's autocast for operations that it does not know."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

Gradients = TypeVar("Gradients")


def is_enabled(x: Tensor) -> bool:
    """Return whether autocast is on for x's device. The meta device has none."""
    return x.device.type != "meta" and torch.is_autocast_enabled(x.device.type)


def precision(x: Tensor) -> torch.dtype:
    """Return the dtype in which torch would convolve x: autocast's if it is on and x is at most float32, else x's."""
    if is_enabled(x) and x.is_floating_point() and x.dtype != torch.float64:
        return torch.get_autocast_dtype(x.device.type)
    return x.dtype


def in_autocast_precision(x: Tensor, run: Callable[[Tensor], Tensor]) -> Tensor:
    """Cast x to `precision`, then return ``run(x)`` with autocast off."""
    if not is_enabled(x):  # or an exported graph would have a subgraph per layer
        return run(x)
    x = x.to(precision(x))
    with torch.autocast(x.device.type, enabled=False):
        return run(x)


def without_autocast(backward: Callable[[Any, Tensor], Gradients]) -> Callable[[Any, Tensor], Gradients]:
    """Decorate a `torch.autograd.Function`'s backward pass to run with autocast off.

    It keeps its forward pass's precision when gradients are computed under autocast, which torch advises against but
    gradient penalties do.
    """

    @functools.wraps(backward)
    def run(ctx: Any, grad: Tensor) -> Gradients:
        if not is_enabled(grad):
            return backward(ctx, grad)
        with torch.autocast(grad.device.type, enabled=False):
            return backward(ctx, grad)

    return run
