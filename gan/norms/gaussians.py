"""Mixtures of Gaussians with diagonal covariance, of the channel vectors of activations (N, C, pixels)."""

from typing import NamedTuple

import torch
from torch import Tensor

EPS = 1e-5  # added to variances


class Gaussians(NamedTuple):
    """K Gaussians: weights (K,), which sum to 1, means (K, C) and variances (K, C)."""

    weights: Tensor
    means: Tensor
    variances: Tensor

    def centre(self) -> Tensor:
        """Return the mean (C,) of the mixture."""
        return self.weights @ self.means

    def moved(self, by: Tensor) -> "Gaussians":
        """Return the mixture with its means moved by (C,)."""
        return Gaussians(self.weights, self.means + by, self.variances)

    def responsibilities(self, x: Tensor, squares: Tensor) -> Tensor:
        """Return each component's share (N, K, pixels) in the density at each vector.

        Args:
            x: Vectors (N, C, pixels), best centred: their squares and the means' are subtracted.
            squares: x².
        """
        precisions = 1 / (self.variances + EPS)
        scaled = self.means * precisions
        constants = (self.means * scaled - precisions.log()).sum(1) / 2 - self.weights.clamp_min(EPS).log()
        return (scaled @ x - precisions / 2 @ squares - constants[:, None]).softmax(1)


def fit(sample: Tensor, start: Gaussians, steps: int) -> Gaussians:
    """Fit a mixture to vectors (1, C, S) whose mean is 0, by steps of expectation maximization.

    Each component holds one more vector than its own, with the mean and variance of all: so one that lost its vectors
    widens, and finds some again.
    """
    squares = sample.square()
    overall = squares.mean((0, 2))
    mixture = start
    for _ in range(steps):
        shares = mixture.responsibilities(sample, squares)[0]
        count = shares.sum(1)[:, None]
        first, second = shares @ sample[0].T, shares @ squares[0].T
        means = first / (count + 1)
        variances = (second - 2 * means * first + means.square() * count + overall) / (count + 1)
        weights = (count[:, 0] + 1) / (sample.shape[2] + len(count))
        mixture = Gaussians(weights, means, variances.clamp_min(0))
    return mixture


def kmeans_plus_plus(sample: Tensor, choices: Tensor) -> Gaussians:
    """Return a mixture to start from: its means are vectors (1, C, S) far from each other, its variances those of all.

    Each mean is drawn with a probability proportional to its squared distance from the nearest one before, where every
    channel has variance 1 (Arthur and Vassilvitskii, "k-means++", SODA 2007).

    Args:
        sample: The vectors, whose mean is 0.
        choices: Uniform random numbers in [0, 1), (K,).
    """
    variances = sample.square().mean((0, 2))
    vectors = (sample[0] / (variances + EPS).sqrt()[:, None]).T
    below = torch.ones(len(vectors), len(vectors), dtype=vectors.dtype, device=vectors.device).tril()
    distances = vectors.new_ones(len(vectors))
    chosen: list[Tensor] = []
    for choice in choices.to(vectors.dtype):
        sums = below @ distances  # cumsum would not be deterministic on a GPU
        chosen.append(torch.searchsorted(sums, choice * sums[-1]).clamp_max(len(vectors) - 1))
        from_this = (vectors - vectors[chosen[-1]]).square().sum(1)
        distances = from_this if len(chosen) == 1 else torch.minimum(distances, from_this)
    k = len(chosen)
    weights = torch.full((k,), 1 / k, dtype=vectors.dtype, device=vectors.device)
    return Gaussians(weights, sample[0].T[torch.stack(chosen)], variances.expand(k, -1))
