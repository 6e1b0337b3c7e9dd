"""Which device to train on, and the way to it."""

import torch
from torch import Tensor


def chosen_accelerator(asked: str) -> str:
    """Return what `auto` is to mean: a CPU where Lightning would take an Apple GPU.

    None of this code has been run on one, and they have no float64. Asked for by name, they are tried.
    """
    return "cpu" if asked == "auto" and torch.backends.mps.is_available() else asked


def send(x: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor from the host without waiting for the device, which CUDA promises from pinned memory alone."""
    return (x.pin_memory() if device.type == "cuda" else x).to(device, non_blocking=True)
