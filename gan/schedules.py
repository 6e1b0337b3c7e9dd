"""Values that change over a training, as functions of the number of images it has seen."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass


class Schedule(ABC):
    """A value for each point of a training. Images are real ones: those the discriminator was shown so far."""

    @abstractmethod
    def __call__(self, images: int) -> float:
        """Return the value after that many images."""


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from `start` to `end` over the first `images` images, then `end` (R3GAN, Huang et al., 2024).

    Args:
        start: The value before the first image.
        end: The value from image number `images` on.
        images: Length in images.
    """

    start: float
    end: float
    images: float

    def __post_init__(self) -> None:
        if not self.images > 0:
            raise ValueError(f"Cosine: images must be positive, got {self.images}")

    def __call__(self, images: int) -> float:
        share = min(1.0, images / self.images)
        return self.end + (self.start - self.end) * 0.5 * (1 + math.cos(math.pi * share))

    def __str__(self) -> str:
        return f"{self.start} to {self.end}"


def value_at(value: float | Schedule, images: int) -> float:
    """Return a constant, or the value of a schedule after that many images."""
    return value(images) if isinstance(value, Schedule) else value


def extremes(value: float | Schedule) -> tuple[float, float]:
    """Return the smallest and the largest value, for checks."""
    if isinstance(value, Cosine):
        return min(value.start, value.end), max(value.start, value.end)
    return (value_at(value, 0),) * 2
