"""What one update works on: real images, and random numbers that are a function of the position in the run."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from gan.randomness import Stream, integers, normal, rng, uniform


class Draws(NamedTuple):
    """The random numbers of an update of N generated images.

    Attributes:
        latents: z, standard normal (N, latent_dim).
        labels: Labels of the generated images (N,).
        augment: For the augmentation of real and of generated images, uniform in [0, 1): (N, 2, k).
        penalties: For the penalties, uniform in [0, 1): (N, k).
    """

    latents: Tensor
    labels: Tensor
    augment: Tensor
    penalties: Tensor


@dataclass(frozen=True)
class DrawSizes:
    """How many random numbers each image needs.

    Attributes:
        latent_dim: Length of z.
        num_classes: Number of labels, 0 for none.
        augment: Numbers of one augmentation.
        penalties: Numbers of all penalties together.
    """

    latent_dim: int
    num_classes: int
    augment: int
    penalties: int

    def draw(self, count: int, seed: int, step: int, update: int) -> Draws:
        """Draw for `count` images, on the CPU.

        Args:
            count: N, of all processes together.
            seed: Seed of the run.
            step: The generator step.
            update: Which update of the step.
        """
        noise, labels, augment, mix = (
            rng(seed, stream, step, update) for stream in (Stream.NOISE, Stream.LABELS, Stream.AUGMENT, Stream.MIX)
        )
        return Draws(
            normal(noise, count, self.latent_dim),
            integers(labels, max(1, self.num_classes), count),
            uniform(augment, count, 2, self.augment),
            uniform(mix, count, self.penalties),
        )


class Batch(NamedTuple):
    """One process' share of an update, on the device.

    Attributes:
        real: Images (N, C, H, W) in [-1, 1]. None in the generator's update unless the loss compares pairs.
        real_labels: Their labels (N,).
        draws: The random numbers.
    """

    real: Tensor
    real_labels: Tensor
    draws: Draws

    def split(self, parts: int) -> Iterator["Batch"]:
        """Yield equal parts of it: micro-batches."""
        tensors = self.real, self.real_labels, *self.draws
        for real, real_labels, *draws in zip(*(tensor.chunk(parts) for tensor in tensors), strict=True):
            yield Batch(real, real_labels, Draws(*draws))
