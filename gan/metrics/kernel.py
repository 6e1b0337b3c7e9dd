"""The kernel distance: the squared maximum mean discrepancy between the features of two sets of images.

Bińkowski et al., "Demystifying MMD GANs", 2018: the unbiased estimate with the kernel (x·y / D + 1)^3, averaged over
random subsets. With the features of the papers' Inception it is the KID.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from gan.checks import check_at_least
from gan.distributed import all_reduce, process_group
from gan.metrics.score import PAPER, Score
from gan.metrics.statistics import FeatureBank, FeatureBatch, State

SUBSET_SEED = 2020  # torch-fidelity's: equal features give an equal number


def polynomial_kernel(x: Tensor, y: Tensor) -> Tensor:
    """Return (x·y / D + 1)^3 (N, M) of features (N, D) and (M, D)."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def squared_mmd(x: Tensor, y: Tensor) -> Tensor:
    """Return the unbiased estimate (equation 4) from features (N, D) and (M, D), a scalar; it may be negative."""
    N, M = len(x), len(y)
    xx, yy, xy = polynomial_kernel(x, x), polynomial_kernel(y, y), polynomial_kernel(x, y)
    within = (xx.sum() - xx.trace()) / (N * (N - 1)) + (yy.sum() - yy.trace()) / (M * (M - 1))
    return within - 2 * xy.mean()


def subset_pairs(n: int, m: int, subsets: int, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield `subsets` pairs of `size` random indices below n and below m, without repetition within a subset."""
    generator = np.random.RandomState(SUBSET_SEED)
    for _ in range(subsets):
        x = generator.choice(n, size, replace=False)
        yield torch.from_numpy(x), torch.from_numpy(generator.choice(m, size, replace=False))


class KernelDistance(Score):
    """`kid` and `kid_std` with the papers' Inception, `kd_<network>` and `kd_<network>_std` with any other network.

    Lower is better; around 0 for equal distributions and any number of images.

    Args:
        subsets: Number of random subsets.
        subset_size: Number of images in a subset.
    """

    statistics = FeatureBank()

    def __init__(self, subsets: int = 100, subset_size: int = 1_000) -> None:
        check_at_least(1, subsets=subsets)
        check_at_least(2, subset_size=subset_size)
        self.subsets = subsets
        self.subset_size = subset_size

    def check(self, example: FeatureBatch, num_reference: int) -> None:
        """Raise if there are fewer images than in a subset."""
        images = min(self.statistics.size(example.total), num_reference)
        if images < self.subset_size:
            raise ValueError(
                "KernelDistance: subset_size must be at most the number of generated and of reference images, "
                f"{images}, got {self.subset_size}"
            )

    def compute(self, generated: State, reference: State, network: str) -> dict[str, float]:
        """Return the mean and the (population) standard deviation over the subsets."""
        x, y = generated["features"], reference["features"]
        distances = x.new_zeros(self.subsets, dtype=torch.float64)
        rank, world_size = process_group()
        for subset, (i, j) in enumerate(subset_pairs(len(x), len(y), self.subsets, self.subset_size)):
            if subset % world_size == rank:
                distances[subset] = squared_mmd(x[i.to(x.device)].double(), y[j.to(y.device)].double())
        all_reduce(distances)
        name = "kid" if network == PAPER else f"kd_{network}"
        return {name: float(distances.mean()), f"{name}_std": float(distances.std(correction=0))}
