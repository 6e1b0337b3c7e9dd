"""In which order an image's numbers lie in memory."""

import torch
from torch import Tensor

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def in_layout(y: Tensor, *examples: Tensor) -> Tensor:
    """Return y with its channels last in memory if those of one of the examples are, else contiguous."""
    channels_last = CHANNELS_LAST.get(y.dim())
    if channels_last and any(_is_in(channels_last, example) for example in examples):
        return y.contiguous(memory_format=channels_last)
    return y.contiguous()


def _is_in(layout: torch.memory_format, x: Tensor) -> bool:
    return x.is_contiguous(memory_format=layout) and not x.is_contiguous()
