"""The order of the training images: a function of position, so that a run continues anywhere with nothing saved."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gan.randomness import Stream, rng

Indices = NDArray[np.int64]
Flips = NDArray[np.bool_]


@dataclass(frozen=True)
class Order:
    """The order of an endless stream of training images, and which of them are mirrored.

    Element i of the k-th batch of training step s stands at position (s * `batches_per_step` + k) *
    `batch_size` + i. Position p belongs to epoch p // `num_images`; every epoch is a new permutation of the images.
    Epochs have no edges: a batch may cross into the next one, and a set may be smaller than a batch.

    Attributes:
        num_images: Images in the set.
        batch_size: Real images of one discriminator update, all processes together.
        batches_per_step: Batches of `batch_size` images that one training step takes.
        seed: Seed of the run.
        flip: Whether images are mirrored left to right at random, each with probability one half.
        rank: This process.
        world_size: Number of processes; process r gets the r-th slice of every batch.

    Raises:
        ValueError: If `batch_size` does not divide into `world_size` equal slices.
    """

    num_images: int
    batch_size: int
    batches_per_step: int
    seed: int
    flip: bool
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if self.batch_size % self.world_size:
            raise ValueError(
                f"batch_size counts the images of all processes and must be divisible by their number, "
                f"got {self.batch_size} for {self.world_size} processes"
            )

    def batch(self, step: int) -> tuple[Indices, Flips]:
        """Return what this process reads in one training step.

        Args:
            step: The training step, from 0.

        Returns:
            Indices of images and whether each is mirrored, both of length `batches_per_step` * `batch_size` /
            `world_size`: this process's slices of the global batches, one after the other.
        """
        epochs, offsets = np.divmod(self.positions(step), self.num_images)
        indices = np.empty_like(offsets)
        flips = np.empty(offsets.shape, dtype=np.bool_)
        for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
            here = epochs == epoch
            permutation, mirrored = _epoch(self.seed, epoch, self.num_images)
            indices[here] = permutation[offsets[here]]
            flips[here] = mirrored[offsets[here]] & self.flip
        return indices, flips

    def positions(self, step: int) -> Indices:
        """Return where the images of `batch` stand in the endless stream."""
        local = self.batch_size // self.world_size
        updates = step * self.batches_per_step + np.arange(self.batches_per_step)
        within = self.rank * local + np.arange(local)
        return (updates[:, None] * self.batch_size + within).ravel()


@lru_cache(maxsize=4)  # a batch seldom sees more epochs than two
def _epoch(seed: int, epoch: int, num_images: int) -> tuple[Indices, Flips]:
    permutation = rng(seed, Stream.ORDER, epoch).permutation(num_images)
    mirrored = rng(seed, Stream.FLIP, epoch).random(num_images) < 0.5
    return permutation, mirrored
