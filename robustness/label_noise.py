"""Wrong labels in the training set."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gan.randomness import Stream, rng

CIFAR10_PAIRS = {9: 1, 2: 0, 3: 5, 5: 3, 4: 7}  # truck automobile, bird airplane, cat dog, dog cat, deer horse

# The superclass of each class of CIFAR-100, both in alphabetical order (Krizhevsky, 2009)
CIFAR100_SUPERCLASSES = (
    *(4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7),
    *(6, 13, 15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10),
    *(16, 4, 17, 4, 2, 0, 17, 4, 18, 17, 10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16),
    *(12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13),
)


Labels = NDArray[np.int64]


class LabelNoise:
    """Makes some labels wrong, the same ones for the same seed.

    Args:
        fraction: The share of the labels that are drawn anew.
    """

    def __init__(self, fraction: float) -> None:
        if not 0 <= fraction <= 1:
            raise ValueError(f"{type(self).__name__}: fraction must be between 0 and 1, got {fraction}")
        self.fraction = fraction

    def __call__(self, labels: Tensor, num_classes: int, seed: int = 0) -> Tensor:
        """Return the labels (n,) with noise; the given ones stay as they are."""
        noisy = self.noisy(labels.numpy(), num_classes, rng(seed, Stream.LABEL_NOISE))
        return torch.from_numpy(noisy)

    def noisy(self, labels: Labels, num_classes: int, random: np.random.Generator) -> Labels:
        """Return a changed copy of the labels."""
        raise NotImplementedError


class Symmetric(LabelNoise):
    """Draws labels uniformly.

    Args:
        fraction: The share of the labels that are drawn anew, exact to one label.
        include_true: Draw from all classes, as the ConvNorm paper's repository does: with ten of them 40 % drawn anew
            are 36 % wrong. Without, all that are drawn are wrong.
    """

    def __init__(self, fraction: float, include_true: bool = True) -> None:
        super().__init__(fraction)
        self.include_true = include_true

    def noisy(self, labels: Labels, num_classes: int, random: np.random.Generator) -> Labels:
        chosen = random.permutation(len(labels))[: round(self.fraction * len(labels))]
        noisy = labels.copy()
        if self.include_true:
            noisy[chosen] = random.integers(0, num_classes, len(chosen))
        else:
            noisy[chosen] = (labels[chosen] + random.integers(1, num_classes, len(chosen))) % num_classes
        return noisy


class Pairs(LabelNoise):
    """Takes one class for another that looks like it.

    Args:
        fraction: The share of the labels of each class in `pairs` that become wrong, exact to one label.
        pairs: Class by class, what it is taken for; None: those usual for CIFAR-10, truck for automobile, bird for
            airplane, cat for dog, dog for cat, deer for horse.
    """

    def __init__(self, fraction: float, pairs: dict[int, int] | None = None) -> None:
        super().__init__(fraction)
        self.pairs = CIFAR10_PAIRS if pairs is None else pairs

    def noisy(self, labels: Labels, num_classes: int, random: np.random.Generator) -> Labels:
        if unknown := {*self.pairs, *self.pairs.values()} - set(range(num_classes)):
            raise ValueError(f"{type(self).__name__}: the data have {num_classes} classes, none is {min(unknown)}")
        noisy = labels.copy()
        for true, taken in self.pairs.items():
            members = random.permutation(np.flatnonzero(labels == true))
            noisy[members[: round(self.fraction * len(members))]] = taken
        return noisy


class CIFAR100Pairs(Pairs):
    """Takes each class of CIFAR-100 for the next one of its superclass, and the last one for the first.

    Args:
        fraction: The share of the labels of each class that become wrong, exact to one label.
    """

    def __init__(self, fraction: float) -> None:
        members: dict[int, list[int]] = {}
        for number, superclass in enumerate(CIFAR100_SUPERCLASSES):
            members.setdefault(superclass, []).append(number)
        groups = members.values()
        super().__init__(
            fraction, {true: group[(i + 1) % len(group)] for group in groups for i, true in enumerate(group)}
        )
