"""What torch's autocast does to a convolution, for operations of our own."""

import torch
from torch import Tensor


def precision(x: Tensor) -> torch.dtype:
    """Return the data type in which a convolution of x is computed here: autocast's, which leaves float64 alone."""
    kind = x.device.type
    if torch.is_autocast_enabled(kind) and x.dtype != torch.float64:
        return torch.get_autocast_dtype(kind)
    return x.dtype
