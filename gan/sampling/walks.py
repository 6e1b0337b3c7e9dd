"""Ways through the latent space.

A way from a to b is a quarter circle, cos(t) a + sin(t) b: normally distributed wherever one stops, as latent vectors
are. A straight way would lead through shorter vectors than the generator ever saw.
"""

import math

import torch
from torch import Tensor

from gan.images import to_uint8
from gan.latents import SAMPLE_BLOCK
from gan.trained import Trained


def interpolations(z: Tensor, columns: int) -> Tensor:
    """Return the ways from each latent vector to the next.

    Args:
        z: Latent vectors (rows + 1, latent_dim).
        columns: Stops of a way, both ends included.

    Returns:
        Latent vectors (rows, columns, latent_dim): row r leads from z[r] to z[r + 1].
    """
    return _way(z[:-1], z[1:], torch.linspace(0, math.pi / 2, columns, dtype=torch.float64))


def closed_walk(z: Tensor, frames: int) -> Tensor:
    """Return a walk past some latent vectors and back to the first.

    Args:
        z: Latent vectors (keys, ..., latent_dim), at least two.
        frames: Steps of the whole walk, at least one a key. The last leads back to the first, and is not repeated.

    Returns:
        Latent vectors (frames, ..., latent_dim).
    """
    position = torch.arange(frames, dtype=torch.float64) * len(z) / frames
    key = position.floor().long()
    t = ((position - key) * math.pi / 2).view(-1, *[1] * (z.dim() - 1))
    return t.cos() * z[key] + t.sin() * z[(key + 1) % len(z)]


def images_of(module: Trained, z: Tensor, labels: Tensor) -> Tensor:
    """Return uint8 images (N, C, H, W) of latent vectors (N, latent_dim) and labels (N,), on the CPU.

    The generator always sees whole blocks of `SAMPLE_BLOCK`: in a batch of another size the last bits would differ,
    and with them a pixel now and then.
    """
    images = []
    for start in range(0, len(z), SAMPLE_BLOCK):
        wanted = torch.arange(start, start + SAMPLE_BLOCK).clamp(max=len(z) - 1)
        count = min(SAMPLE_BLOCK, len(z) - start)
        images.append(to_uint8(module.generate(z[wanted], labels[wanted]))[:count].cpu())
    return torch.cat(images)


def _way(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    t = t[:, None]
    return t.cos() * a[:, None] + t.sin() * b[:, None]
