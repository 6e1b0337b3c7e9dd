"""The part of the training images that is held back for validation."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gan.data.sources import Source
from gan.data.subset import Subset
from gan.randomness import Stream


@dataclass(frozen=True)
class Holdout:
    """Divides the training images into a part to learn from and a part for validation, without common images.

    Attributes:
        fraction: The share of each class that is held back.
        seed: Which images those are.
    """

    fraction: float
    seed: int

    def __post_init__(self) -> None:
        if not 0 < self.fraction < 1:
            raise ValueError(f"validation must be between 0 and 1, got {self.fraction}")

    def __str__(self) -> str:
        """Return which images they are, in words."""
        return f"{self.fraction} of each class, seed {self.seed}"

    def kept(self, source: Source) -> Source:
        """Return the images to learn from."""
        kept = torch.ones(len(source), dtype=torch.bool)
        kept[self._chosen(source)] = False
        return source.select(kept.nonzero().squeeze(1))

    def held_back(self, source: Source) -> Source:
        """Return the images for validation."""
        return source.select(self._chosen(source))

    def _chosen(self, source: Source) -> Tensor:
        chosen = Subset(fraction=self.fraction, seed=self.seed, stream=Stream.VALIDATION).choose(source.labels)
        assert chosen is not None
        if len(chosen) == len(source):
            raise ValueError(f"validation {self.fraction} of {len(source)} images leaves none to learn from")
        return chosen
