"""Randomness as a function of position.

Every random number of a run is drawn from a new generator that is seeded with its purpose and its position in the run:
a generator step, an epoch, the index of a sample. So no random state has to be saved. A run that is resumed at step k
draws the same numbers as one that was never interrupted, and n processes draw for the global batch and keep their
slices.
"""

from enum import IntEnum

import numpy as np
import torch
from torch import Tensor


class Stream(IntEnum):
    """The purpose of a random number. The values are part of all results: never reuse or renumber one."""

    ORDER = 0  # the permutation of the data; position: (epoch,)
    FLIP = 1  # horizontal flips; position: (epoch,)
    NOISE = 2  # z; position: (generator step, which update of the step)
    LABELS = 3  # y for the generator; position as NOISE
    MIX = 4  # what penalties draw, as WGAN-GP's interpolation weights; position as NOISE
    SAMPLES = 5  # z of samples for evaluation; position: (block of samples,)
    SAMPLE_LABELS = 6  # y of such samples; position as SAMPLES
    NETWORKS = 7  # torch's own generators, used by dropout; position: (generator step, process)
    AUGMENT = 8  # augmentation of what the discriminator sees; position as NOISE
    TRUNCATION = 9  # z of samples, drawn again where it was beyond the truncation; position: (block of samples, try)
    SUBSET = 10  # the images of a subset of the training data; position: (class,)
    MIXTURE = 11  # where mixture norm looks for its components, and starts them; position: ()
    # Of the package `robustness`
    CORRUPTION = 100  # what damages images; position: (which corruption, severity, number of the image)
    ATTACK = 101  # where an attack starts; position: (restart, number of the image)
    LABEL_NOISE = 102  # which training labels are wrong; position: ()
    VALIDATION = 103  # the images held back from training; position: (class,)
    CROP = 104  # where training images are cropped; position: (training step,)
    TESTED = 105  # the images of a split that are corrupted or attacked; position: (class,)
    RESIZED_CROP = 106  # the part of an image that training sees; position: (position in the order of the images,)


MAX_SEED = 2**32 - 1


def check_seed(name: str, seed: int) -> None:
    """Check that a seed fits into 32 bits. A larger one would coincide with a position of a smaller one.

    Raises:
        ValueError: if it is below 0 or above `MAX_SEED`.
    """
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"{name} must be between 0 and {MAX_SEED}, got {seed}")


def rng(seed: int, stream: Stream, *position: int) -> np.random.Generator:
    """Return the generator of one position. Different arguments give independent streams (NumPy's `SeedSequence`).

    Numbers are always drawn on the CPU, so they are the same for every device.
    """
    return np.random.default_rng((seed, int(stream), *position))


def seed_torch(device: torch.device, seed: int, stream: Stream, *position: int) -> None:
    """Seed torch's own generators of the host and of one device, from which dropout draws.

    `torch.manual_seed` seeds all devices and takes a millisecond where CUDA is not in use.
    """
    number = int(rng(seed, stream, *position).integers(2**63))
    torch.default_generator.manual_seed(number)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(number)


def normal(generator: np.random.Generator, *shape: int) -> Tensor:
    """Return float32 standard normal numbers of the given shape, on the CPU."""
    return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))


def integers(generator: np.random.Generator, high: int, *shape: int) -> Tensor:
    """Return int64 numbers in [0, high), on the CPU."""
    return torch.from_numpy(generator.integers(0, high, shape))


def uniform(generator: np.random.Generator, *shape: int) -> Tensor:
    """Return float32 numbers in [0, 1), on the CPU."""
    return torch.from_numpy(generator.random(shape, dtype=np.float32))


def as_normal(uniforms: Tensor) -> Tensor:
    """Map uniform numbers in [0, 1), in multiples of 2^-24, to standard normal ones."""
    return torch.special.ndtri(uniforms.clamp(min=2**-25))
