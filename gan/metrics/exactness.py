"""Inference whose numbers do not depend on the precision settings of the training around it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import backends

_BACKENDS: tuple[Any, ...] = (backends.cuda, backends.cudnn, backends.mkldnn)  # their attributes are made at run time


@contextmanager
def exact_inference(device_type: str) -> Iterator[None]:
    """Compute without gradients, in IEEE float32 and with deterministic algorithms. Restores all settings at the end.

    Autocast and TF32 (which cuDNN's convolutions use by default) change the fourth digit of a feature; cuDNN's
    benchmark mode changes the last digits from run to run.
    """
    cuda, cudnn, mkldnn = _BACKENDS
    float32 = (cuda.matmul, cudnn.conv, cudnn.rnn, mkldnn.matmul, mkldnn.conv)
    precisions = [backend.fp32_precision for backend in float32]
    benchmark, deterministic = cudnn.benchmark, cudnn.deterministic
    try:
        for backend in float32:
            backend.fp32_precision = "ieee"
        cudnn.benchmark, cudnn.deterministic = False, True
        with torch.no_grad(), torch.autocast(device_type, enabled=False):
            yield
    finally:
        cudnn.benchmark, cudnn.deterministic = benchmark, deterministic
        for backend, precision in zip(float32, precisions, strict=True):
            backend.fp32_precision = precision
