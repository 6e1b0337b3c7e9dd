"""The Frechet distance between Gaussians fitted to the features of two sets of images.

Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", 2017, equation 6:
with the features of the paper's Inception it is the FID.
"""

from dataclasses import dataclass

import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from gan.metrics.score import PAPER, Score
from gan.metrics.statistics import Batch, Statistics, Sums


@dataclass(frozen=True)
class Gaussian(Statistics):
    """The number of images, the sum of their features and the sum of the features' outer products, in float64."""

    def zeros(self, like: Batch) -> Sums:
        """Return `count` (), `sum` (D,) and `outer` (D, D)."""
        D = like.features.shape[1]
        shapes: dict[str, tuple[int, ...]] = {"count": (), "sum": (D,), "outer": (D, D)}
        return {name: like.features.new_zeros(shape, dtype=torch.float64) for name, shape in shapes.items()}

    def add(self, sums: Sums, batch: Batch) -> None:
        """Add a batch of features (N, D)."""
        features = batch.features.double()
        sums["count"] += len(features)
        sums["sum"] += features.sum(0)
        sums["outer"].addmm_(features.T, features)


def mean_and_covariance(sums: Sums) -> tuple[Tensor, Tensor]:
    """Return the mean (D,) and the unbiased covariance (D, D) of at least two images' `Gaussian` sums."""
    count = sums["count"]
    mean = sums["sum"] / count
    return mean, (sums["outer"] - count * torch.outer(mean, mean)) / (count - 1)


def frechet_distance(
    mean1: Tensor, covariance1: Tensor, mean2: Tensor, covariance2: Tensor, rank: int | None = None
) -> float:
    """Return |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)).

    C1 C2 is similar to the symmetric C1^(1/2) C2 C1^(1/2), so two symmetric eigendecompositions give the trace of its
    root, several times faster than the square root of a general matrix and without imaginary parts.

    Args:
        mean1: Mean (D,) in float64.
        covariance1: Covariance (D, D) in float64.
        mean2: As `mean1`, of the other distribution.
        covariance2: As `covariance1`, of the other distribution.
        rank: An upper bound of the rank of C1 C2 that is known, if any: n images give a covariance of rank n - 1 at
            most. The roots of the eigenvalues beyond it would be the roots of rounding errors.
    """
    values, vectors = torch.linalg.eigh(covariance1)
    root1 = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    eigenvalues = torch.linalg.eigvalsh(root1 @ covariance2 @ root1).clamp(min=0)
    if rank is not None:
        eigenvalues = eigenvalues[max(0, len(eigenvalues) - rank) :]  # they ascend
    trace = covariance1.trace() + covariance2.trace() - 2 * eigenvalues.sqrt().sum()
    return float((mean1 - mean2).square().sum() + trace)


class Frechet(Score):
    """`fid` with the paper's Inception, `fd_<network>` with any other network. Lower is better, 0 is the best."""

    statistics = Gaussian()

    def check(self, example: Batch, num_reference: int) -> None:
        """Warn of a distance that says more about the number of images than about the images.

        Raises:
            ValueError: One image has no covariance.
        """
        images, width = min(example.total, num_reference), example.features.shape[1]
        if images < 2:
            raise ValueError(
                f"Frechet needs at least 2 images on either side, got {example.total} to be scored "
                f"and {num_reference} of the reference"
            )
        if images <= width:
            rank_zero_warn(
                f"a Frechet distance from {images} images and {width} features is far too large; compare it only with "
                "others from as many images"
            )

    def compute(self, generated: Sums, reference: Sums, network: str) -> dict[str, float]:
        """Return the distance by name."""
        rank = int(min(generated["count"], reference["count"])) - 1
        distance = frechet_distance(*mean_and_covariance(generated), *mean_and_covariance(reference), rank)
        return {"fid" if network == PAPER else f"fd_{network}": distance}
