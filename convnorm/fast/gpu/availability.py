"""Where the form in Triton is offered. This file imports Triton when first needed, no sooner."""

import functools
import importlib.util
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from convnorm.autocast import precision
from convnorm.fast.gradients import by_plain_operations

DEVICE = "cuda"
LARGEST = 256  # positions of an axis: more points than that are more programs than CUDA launches on an axis
LEAST_CAPABILITY = (8, 0)  # tensor cores with TF32 and bfloat16


def offered(x: Tensor, size: Sequence[int]) -> bool:
    """Return whether the kernels run for images x on a grid.

    Images are bfloat16, by autocast or their own dtype, or float32 where torch lets convolutions use TF32, as it does
    by default: `torch.backends.cudnn.conv.fp32_precision` is "tf32".
    """
    if x.device.type != DEVICE or torch.version.hip or by_plain_operations() or torch._C._is_tracing():
        return False
    if type(x) not in (Tensor, nn.Parameter) or not x.numel() or max(size) > LARGEST:
        return False
    dtype = precision(x)
    convolutions: Any = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    tf32 = dtype == torch.float32 and convolutions.fp32_precision == "tf32"
    return (tf32 or dtype == torch.bfloat16) and usable(x.device)


@functools.cache
def usable(device: torch.device) -> bool:
    """Return whether Triton compiles and runs on this device, and warn once if it should but does not."""
    if torch.cuda.get_device_capability(device) < LEAST_CAPABILITY or importlib.util.find_spec("triton") is None:
        return False
    try:
        from convnorm.fast.gpu import launch

        with torch.cuda.device(device), torch.no_grad():
            launch.to_points(torch.ones(1, 1, 1, 1, device=device), (1, 1), (range(1), range(1)), "tf32")
    except Exception as error:  # such as no C compiler for Triton's launchers, or a version that does not fit torch's
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        warnings.warn(f"Triton does not work on {device} ({reason}); ConvNorm takes its slower forms", stacklevel=2)
        return False
    return True
