"""The inputs of samples: an endless stream in which sample i depends on the seed and i alone."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gan.networks import Generator
from gan.randomness import Stream, check_seed, integers, normal, rng

Labels = Tensor | Sequence[int]
SAMPLE_BLOCK = 64  # samples are drawn in blocks of this size; changing it changes all samples
MIN_TRUNCATION = 0.01  # below, the thousands of draws that it takes would be felt
_WHOLE = torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64


def sample_inputs(
    generator: Generator,
    n: int,
    *,
    seed: int,
    start: int = 0,
    labels: Labels | None = None,
    truncation: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the inputs of samples `start` to `start + n`: z (n, latent_dim) and labels (n,), on the CPU.

    Args:
        generator: The generator.
        n: Number of samples.
        seed: Seed of the stream.
        start: Index of the first sample.
        labels: Their labels; None draws them uniformly.
        truncation: Entries of z outside [-truncation, truncation] are drawn again until they are inside (the truncation
            trick of Brock et al., BigGAN, ICLR 2019); None keeps all.

    Raises:
        ValueError: if n is below 1, start below 0, seed out of range, truncation not positive, the number of labels is
            not n, or a label is not a class.
    """
    if n < 1:
        raise ValueError(f"the number of samples must be at least 1, got {n}")
    check_seed("seed", seed)
    if start < 0:
        raise ValueError(f"start must be at least 0, got {start}")
    classes = max(1, generator.num_classes)
    first = start // SAMPLE_BLOCK
    blocks = range(first, (start + n - 1) // SAMPLE_BLOCK + 1)
    z = torch.cat([_latents(seed, block, generator.latent_dim, truncation) for block in blocks])
    y = torch.cat([integers(rng(seed, Stream.SAMPLE_LABELS, block), classes, SAMPLE_BLOCK) for block in blocks])
    wanted = slice(start - first * SAMPLE_BLOCK, start - first * SAMPLE_BLOCK + n)
    if labels is not None:
        return z[wanted], _checked(labels, n, generator.num_classes)
    return z[wanted], y[wanted]


def _latents(seed: int, block: int, latent_dim: int, truncation: float | None) -> Tensor:
    """Return the latent vectors of a block. With a truncation, an entry takes its first draw that is small enough."""
    z = normal(rng(seed, Stream.SAMPLES, block), SAMPLE_BLOCK, latent_dim)
    if truncation is None:
        return z
    if not truncation >= MIN_TRUNCATION:
        raise ValueError(f"truncation must be at least {MIN_TRUNCATION}, got {truncation}")
    attempt = 0
    while (beyond := z.abs() > truncation).any():
        z = torch.where(beyond, normal(rng(seed, Stream.TRUNCATION, block, attempt), SAMPLE_BLOCK, latent_dim), z)
        attempt += 1
    return z


def _checked(given: Labels, n: int, num_classes: int) -> Tensor:
    try:
        labels = torch.as_tensor(given)
        if labels.dtype not in _WHOLE:
            raise TypeError
    except (ValueError, TypeError, RuntimeError):  # not numbers
        raise ValueError(f"labels must be whole numbers, got {given!r}") from None
    if labels.shape != (n,):
        raise ValueError(f"labels must have the shape ({n},), got {tuple(labels.shape)}")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(f"labels must be in [0, {num_classes}), got {int(labels.min())} to {int(labels.max())}")
    return labels.long()
