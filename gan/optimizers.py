"""Optimizers and how their learning rates fall."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import nn

Optimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


def adam(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Return Adam as in SNGAN's recipe for ResNets: learning rate 2e-4, betas (0, 0.9)."""
    return torch.optim.Adam(parameters, lr=2e-4, betas=(0.0, 0.9))


@dataclass(frozen=True)
class LinearDecay:
    """Learning rates fall linearly from generator step `start` on, to zero at generator step `end`."""

    end: int
    start: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise ValueError(f"decay: start must be at least 0 and below end, got {self.start} and {self.end}")

    def __call__(self, step: int) -> float:
        """Return the factor on the learning rates in generator step `step`, counted from 0."""
        return min(1.0, max(0.0, (self.end - step) / (self.end - self.start)))
