"""The endless stream of samples: what number i is made from depends on the seed and i alone."""

import torch
from torch import Tensor

from gan.networks import Generator
from gan.randomness import Stream, integers, normal, rng

SAMPLE_BLOCK = 64  # samples are drawn in blocks of this many: part of every result, like the streams of randomness


def sample_inputs(
    generator: Generator, n: int, *, seed: int, start: int = 0, labels: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return what samples number `start` to `start + n` are made from: z (n, latent_dim) and labels (n,), on the CPU.

    Raises:
        ValueError: if n is below 1, there is not one of the given labels a sample, or one is not a class.
    """
    if n < 1:
        raise ValueError(f"the number of samples must be at least 1, got {n}")
    classes = max(1, generator.num_classes)
    first = start // SAMPLE_BLOCK
    blocks = range(first, (start + n - 1) // SAMPLE_BLOCK + 1)
    z = torch.cat([normal(rng(seed, Stream.SAMPLES, block), SAMPLE_BLOCK, generator.latent_dim) for block in blocks])
    y = torch.cat([integers(rng(seed, Stream.SAMPLE_LABELS, block), classes, SAMPLE_BLOCK) for block in blocks])
    wanted = slice(start - first * SAMPLE_BLOCK, start - first * SAMPLE_BLOCK + n)
    if labels is not None:
        return z[wanted], _checked(labels, n, generator.num_classes)
    return z[wanted], y[wanted]


def _checked(labels: Tensor, n: int, num_classes: int) -> Tensor:
    if labels.shape != (n,):
        raise ValueError(f"labels must have the shape ({n},), got {tuple(labels.shape)}")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(f"labels must be in [0, {num_classes}), got {int(labels.min())} to {int(labels.max())}")
    return labels
