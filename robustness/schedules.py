"""How the learning rate falls over a training."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass


class Schedule(ABC):
    """The factor on the learning rate as a function of the progress, the share of the training that is done."""

    @abstractmethod
    def __call__(self, progress: float) -> float:
        """Return the factor at a progress in [0, 1)."""


@dataclass(frozen=True)
class Drops(Schedule):
    """Multiplies the learning rate at some points, as the ConvNorm paper does.

    Attributes:
        at: The points, as shares of the training. The paper: 1/3 and 2/3 on CIFAR-10, 0.4 and 0.8 on CIFAR-100.
        factor: By what it is multiplied at each.
    """

    at: tuple[float, ...] = (1 / 3, 2 / 3)
    factor: float = 0.1

    def __post_init__(self) -> None:
        if not all(0 < point < 1 for point in self.at):
            raise ValueError(f"Drops: at must be shares of the training between 0 and 1, got {self.at}")

    def __call__(self, progress: float) -> float:
        return self.factor ** sum(progress >= point for point in self.at)


@dataclass(frozen=True)
class Cosine(Schedule):
    """Falls to zero along half a cosine (Loshchilov and Hutter, SGDR, ICLR 2017), after an optional linear rise.

    Attributes:
        warmup: The share of the training over which it rises from zero.
    """

    warmup: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.warmup < 1:
            raise ValueError(f"Cosine: warmup must be at least 0 and below 1, got {self.warmup}")

    def __call__(self, progress: float) -> float:
        if progress < self.warmup:
            return progress / self.warmup
        return 0.5 * (1 + math.cos(math.pi * (progress - self.warmup) / (1 - self.warmup)))
