"""Randomness as a function of position.

Every random number of a run is drawn from a generator that is made anew from *where* in the run it is needed: the seed,
what it is for, and the position (a generator step, an epoch, the number of a sample). Nothing about randomness has to
be saved: a run that continues at step k draws what it would have drawn, and n processes draw for the global batch and
keep their slice of it.
"""

from enum import IntEnum

import numpy as np
import torch
from torch import Tensor


class Stream(IntEnum):
    """What a random number is for. The values are part of every result ever made: never reuse or renumber one."""

    ORDER = 0  # the permutation of the data; position: (epoch,)
    FLIP = 1  # horizontal flips; position: (epoch,)
    NOISE = 2  # z; position: (generator step, which update of the step)
    LABELS = 3  # y for the generator; position as NOISE
    MIX = 4  # interpolation weights of the gradient penalties; position as NOISE
    SAMPLES = 5  # z of samples for evaluation; position: (block of samples,)
    SAMPLE_LABELS = 6  # y of such samples; position as SAMPLES
    NETWORKS = 7  # what networks draw by themselves, as dropout does; position: (generator step, process)


MAX_SEED = 2**32 - 1


def check_seed(name: str, seed: int) -> None:
    """Refuse a seed that would not be one of a single 32-bit word: larger ones stand for positions of smaller ones.

    Raises:
        ValueError: if it is below 0 or above `MAX_SEED`.
    """
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"{name} must be between 0 and {MAX_SEED}, got {seed}")


def rng(seed: int, stream: Stream, *position: int) -> np.random.Generator:
    """Return the generator of one position; equal arguments give equal numbers, different ones independent streams.

    NumPy's `SeedSequence` hashes the tuple. Always drawn on the CPU, the numbers are the same for every device.
    """
    return np.random.default_rng((seed, int(stream), *position))


def seed_torch(device: torch.device, seed: int, stream: Stream, *position: int) -> None:
    """Let torch's own generators, the host's and a device's, go on from a position: dropout draws from them.

    Not `torch.manual_seed`, which is for all devices: where CUDA is not in use it takes a millisecond.
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
