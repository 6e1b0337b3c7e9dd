"""Training with some of the images."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gan.randomness import Stream, check_seed, rng


@dataclass(frozen=True)
class Subset:
    """Some of the training images: the same share of each class, drawn by a seed of its own.

    All classes give the same share of their images, up to whole images. A larger subset of the same seed holds a
    smaller one's images, but where rounding decides.

    Attributes:
        num_images: Number of images; None: as `fraction` says.
        fraction: Share of the images, in (0, 1]; None: all, unless `num_images` says otherwise.
        seed: Which images: the run's seed has no say.
        stream: For what they are drawn.

    Raises:
        ValueError: If both are given, or one is out of range.
    """

    num_images: int | None = None
    fraction: float | None = None
    seed: int = 0
    stream: Stream = Stream.SUBSET

    def __post_init__(self) -> None:
        check_seed("subset_seed", self.seed)
        if self.num_images is not None and self.fraction is not None:
            raise ValueError(f"num_images {self.num_images} and fraction {self.fraction} exclude each other: give one")
        if self.num_images is not None and self.num_images < 1:
            raise ValueError(f"num_images must be at least 1, got {self.num_images}")
        if self.fraction is not None and not 0 < self.fraction <= 1:
            raise ValueError(f"fraction must be above 0 and at most 1, got {self.fraction}")

    @property
    def takes_all(self) -> bool:
        """Whether no image is left out, since neither a number nor a share was given."""
        return self.num_images is None and self.fraction is None

    def choose(self, labels: Tensor) -> Tensor | None:
        """Return the indices of the chosen images, in ascending order; None: all are.

        Args:
            labels: int64 (n,), of all images.

        Raises:
            ValueError: If there are fewer images than wanted.
        """
        total, wanted = len(labels), self.num_images
        if wanted is None:
            if self.fraction is None:
                return None
            wanted = max(1, round(self.fraction * total))
        if wanted > total:
            raise ValueError(f"num_images must be at most {total}, the number of training images, got {wanted}")
        classes, counts = np.unique(labels.numpy(), return_counts=True)
        chosen = []
        for label, share in zip(classes.tolist(), _shares(counts, wanted), strict=True):
            members = (labels == label).nonzero().squeeze(1)
            order = rng(self.seed, self.stream, label).permutation(len(members))
            chosen.append(members[torch.from_numpy(order[:share])])
        return torch.cat(chosen).sort().values


def _shares(counts: np.ndarray, wanted: int) -> list[int]:
    """Return how many images each class gives: its exact share rounded down, and the largest remainders one more."""
    whole, remainders = np.divmod(counts * wanted, counts.sum())
    more = np.argsort(-remainders, kind="stable")[: wanted - whole.sum()]
    whole[more] += 1
    return whole.tolist()
