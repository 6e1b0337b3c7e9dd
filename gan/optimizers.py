"""Optimizers and how their learning rates fall."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import nn

Optimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


def adam(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Return Adam as in SNGAN's recipe for ResNets: learning rate 2e-4, betas (0, 0.9)."""
    return torch.optim.Adam(parameters, lr=2e-4, betas=(0.0, 0.9))


def make_optimizer(argument: str, factory: Optimizer, network: nn.Module) -> torch.optim.Optimizer:
    """Make a network's optimizer, with torch's fused step where it has one and the configuration does not choose.

    Args:
        argument: Its name in the configuration, for the message of an error.
        factory: Makes it from parameters.
        network: Whose parameters it steps.

    Raises:
        ValueError: if its settings are wrong. It is tried on one number: torch finds some mistakes when it steps.
    """
    number = nn.Parameter(next(network.parameters()).new_zeros(1))
    number.grad = torch.zeros_like(number)
    try:
        _fuse(factory([number])).step()
        return _fuse(factory(network.parameters()))
    except Exception as error:  # of whatever kind: it is for what was configured
        raise ValueError(f"{argument}: {error}") from error


def _fuse(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Step all parameters in one kernel: on a CPU torch would choose a loop of many, up to three times as slow."""
    for group in optimizer.param_groups:
        if all(group.get(choice, False) is None for choice in ("fused", "foreach")):
            group["fused"] = True
    return optimizer


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
