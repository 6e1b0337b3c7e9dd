"""What torch's autocast does to a convolution, for operations of our own."""

import torch
from torch import Tensor


def is_enabled(x: Tensor) -> bool:
    """Return whether autocast is on for x's device; a meta device knows none."""
    return x.device.type != "meta" and torch.is_autocast_enabled(x.device.type)


def precision(x: Tensor) -> torch.dtype:
    """Return the data type in which a convolution of x is computed here: autocast's, of floats up to float32."""
    if is_enabled(x) and x.is_floating_point() and x.dtype != torch.float64:
        return torch.get_autocast_dtype(x.device.type)
    return x.dtype
