"""Optimizers and how their learning rates fall."""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from gan.schedules import Schedule

Optimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


class Saved(NamedTuple):
    """The parts of an optimizer's state dict that decide whether another optimizer can continue from it."""

    settings: dict[str, Any]
    state_names: set[str]

    @classmethod
    def of(cls, states: dict[str, Any]) -> "Saved":
        """Return the parts of an optimizer's state dict."""
        return cls(states["param_groups"][0], {name for state in states["state"].values() for name in state})


def adam(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Return Adam as in SNGAN's recipe for ResNets: learning rate 2e-4, betas (0, 0.9)."""
    return torch.optim.Adam(parameters, lr=2e-4, betas=(0.0, 0.9))


def make_optimizer(argument: str, factory: Optimizer, network: nn.Module) -> torch.optim.Optimizer:
    """Make a network's optimizer, fused where torch has a fused step and the configuration does not choose.

    Args:
        argument: Its name in the configuration, for error messages.
        factory: Makes the optimizer from parameters.
        network: The network that it updates.

    Raises:
        ValueError: if its settings are wrong. torch finds some mistakes in `step` only, so one is made on a single
            number.
    """
    try:
        _tried(factory, network)
        return _fuse(factory(network.parameters()))
    except Exception as error:  # optimizers raise all kinds, and the configuration is at fault
        raise ValueError(f"{argument}: {error}") from error


def settings_of(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """Return the configured settings of each parameter group: the constructors' arguments and the learning rate.

    Other entries of a group are state: Prodigy keeps its distance there, ScheduleFree its step.
    """
    kinds = [kind for kind in type(optimizer).__mro__ if issubclass(kind, torch.optim.Optimizer)]
    names = {"lr"}.union(*(inspect.signature(kind).parameters for kind in kinds)) - {"params"}
    return [{name: group[name] for name in group if name in names} for group in optimizer.param_groups]


def check_states(argument: str, factory: Optimizer, network: nn.Module, saved: Saved) -> None:
    """Check that a network's optimizer can continue from its state in a checkpoint, by a step on a single number.

    Args:
        argument: Its name in the configuration, for error messages.
        factory: Makes the optimizer from parameters.
        network: The network that it updates.
        saved: The state in the checkpoint.

    Raises:
        ValueError: if its settings need state that is not there, as Adam's `amsgrad` does.
    """
    optimizer = _tried(factory, network)
    for state in optimizer.state.values():
        for name in state.keys() - saved.state_names:
            del state[name]
    try:
        optimizer.step()
    except KeyError as error:
        asked = optimizer.param_groups[0].items()
        new = [(name, value) for name, value in asked if value and not saved.settings.get(name)]
        said = ", ".join(f"{name} was {saved.settings.get(name)}, is {value}" for name, value in new)
        raise ValueError(f"{argument}: {said}, but the checkpoint's states have no {error}") from None


def _tried(factory: Optimizer, network: nn.Module) -> torch.optim.Optimizer:
    """Return an optimizer after one step on a single number of the network's type and device."""
    number = nn.Parameter(next(network.parameters()).new_zeros(1))
    number.grad = torch.zeros_like(number)
    optimizer = _fuse(factory([number]))
    optimizer.step()
    return optimizer


def _fuse(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Update all parameters in one kernel. On a CPU torch defaults to a loop, up to three times slower."""
    for group in optimizer.param_groups:
        if all(group.get(choice, False) is None for choice in ("fused", "foreach")):
            group["fused"] = True
            for parameter in group["params"]:
                if "step" in (state := optimizer.state.get(parameter, {})):  # Adagrad's, made for a loop on the host
                    state["step"] = state["step"].to(parameter.device)
    return optimizer


@dataclass(frozen=True)
class LinearDecay:
    """Learning rates fall linearly from generator step `start` on, to zero at generator step `end`."""

    end: int
    start: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise ValueError(f"decay: start must be at least 0 and below end, got {self.start} and {self.end}")

    def check_horizon(self, max_steps: int) -> None:
        """Raise a ValueError if a training of `max_steps` would go on with learning rates of zero."""
        if self.end < max_steps:
            raise ValueError(
                f"model.decay.end: the learning rates are 0 from generator step {self.end} on, but "
                f"trainer.max_steps is {max_steps}"
            )

    def __call__(self, step: int) -> float:
        """Return the factor on the learning rates in generator step `step`, counted from 0."""
        return min(1.0, max(0.0, (self.end - step) / (self.end - self.start)))


@dataclass(frozen=True)
class Annealing:
    """Learning rates and Adam's second betas that follow schedules over the real images seen, as in R3GAN.

    Args:
        lr: Learning rate of both networks; None keeps the optimizers'.
        beta2: Second beta of both optimizers; None keeps theirs.
    """

    lr: Schedule | None = None
    beta2: Schedule | None = None

    def apply(self, optimizer: torch.optim.Optimizer, seen: int) -> None:
        """Set what an optimizer uses after that many images."""
        for group in optimizer.param_groups:
            if self.lr is not None:
                group["lr"] = self.lr(seen)
            if self.beta2 is not None:
                group["betas"] = (group["betas"][0], self.beta2(seen))
