"""The Frechet distance between Gaussians fitted to the features of two sets of images.

Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", 2017, equation 6:
with the features of the paper's Inception it is the FID.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from gan.distributed import warn
from gan.metrics.score import PAPER, Score
from gan.metrics.statistics import FeatureBatch, State, Statistics


@dataclass(frozen=True)
class Gaussian(Statistics):
    """Number of images, sum of their features and sum of the features' outer products, in float64."""

    uses_index = False

    def zeros(self, like: FeatureBatch) -> State:
        """Return `count` (), `sum` (D,) and `outer` (D, D)."""
        D = like.features.shape[1]
        shapes: dict[str, tuple[int, ...]] = {"count": (), "sum": (D,), "outer": (D, D)}
        return {name: like.features.new_zeros(shape, dtype=torch.float64) for name, shape in shapes.items()}

    def add(self, state: State, batch: FeatureBatch) -> None:
        """Add a batch of features (N, D)."""
        features = batch.features.double()
        state["count"] += len(features)
        state["sum"] += features.sum(0)
        state["outer"].addmm_(features.T, features)


def mean_and_covariance(state: State) -> tuple[Tensor, Tensor]:
    """Return the mean (D,) and the unbiased covariance (D, D) of a `Gaussian` state with at least two images."""
    count = state["count"]
    mean = state["sum"] / count
    return mean, (state["outer"] - count * torch.outer(mean, mean)) / (count - 1)


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
        rank: An upper bound of the rank of C1 C2, if known: the covariance of n images has a rank of at most n - 1.
            Eigenvalues beyond it are rounding errors and left out.
    """
    values, vectors = torch.linalg.eigh(covariance1)
    root1 = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    eigenvalues = torch.linalg.eigvalsh(root1 @ covariance2 @ root1).clamp(min=0)
    if rank is not None:
        eigenvalues = eigenvalues[max(0, len(eigenvalues) - rank) :]  # they ascend
    trace = covariance1.trace() + covariance2.trace() - 2 * eigenvalues.sqrt().sum()
    return float((mean1 - mean2).square().sum() + trace)


class Frechet(Score):
    """`fid` with the paper's Inception, `fd_<network>` with any other network. Lower is better; 0 is the minimum."""

    statistics = Gaussian()

    def check(self, example: FeatureBatch, num_reference: int) -> None:
        """Warn if there are no more images than features: the distance is then far too large.

        Raises:
            ValueError: There are fewer than two images on one side.
        """
        images, width = min(example.total, num_reference), example.features.shape[1]
        if images < 2:
            raise ValueError(
                f"Frechet needs at least 2 images on either side, got {example.total} to be scored "
                f"and {num_reference} of the reference"
            )
        if images <= width:
            warn(
                f"a Frechet distance from {images} images and {width} features is far too large; compare it only with "
                "others from as many images"
            )

    def compute(self, generated: State, reference: State, network: str) -> dict[str, float]:
        """Return the distance by name."""
        rank = int(min(generated["count"], reference["count"])) - 1
        distance = frechet_distance(*mean_and_covariance(generated), *mean_and_covariance(reference), rank)
        return {"fid" if network == PAPER else f"fd_{network}": distance}
