"""Precision, recall, density and coverage: where generated and real images lie in each other's neighbourhoods.

The manifold of a set of images is the union of balls around their features, each as large as the distance to the k-th
nearest other one. Precision and recall: Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing
Generative Models", 2019. Density and coverage: Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative
Models", 2020.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from gan.checks import check_at_least
from gan.distributed import all_reduce, my_blocks
from gan.metrics.score import Score
from gan.metrics.statistics import FeatureBank, FeatureBatch, State

ROUNDING = 64  # how many roundings of a squared norm a squared distance may be off; 4 to 19 were seen in 4,096 features
RIM = 1e-6  # distances that differ by less, relative to them, are equal: those of copies are computed in two ways
BLOCK = 500  # rows of a matrix of distances at a time, so that memory grows with the number of images, not its square


def nearest_distance(queries: Tensor, points: Tensor, k: int) -> Tensor:
    """Return the distance (N,), in float64, from each query (N, D) to the k-th nearest of the points (M, D)."""
    return _by_blocks(queries, points, lambda distances: distances.kthvalue(k, dim=1).values)


def num_containing_balls(queries: Tensor, centers: Tensor, radii: Tensor, closed: bool) -> Tensor:
    """Return in how many of the balls around the centers (M, D), with radii (M,), each query (N, D) lies: (N,).

    Whether the balls are closed matters where one set holds copies of images of the other: they lie on rims.
    """
    return _by_blocks(queries, centers, lambda distances: lies_within(distances, radii, closed).sum(1))


def lies_within(distances: Tensor, radii: Tensor, closed: bool) -> Tensor:
    """Return whether balls of these radii, closed or open, reach as far as these distances."""
    return distances <= radii * (1 + RIM) if closed else distances < radii * (1 - RIM)


def _by_blocks(queries: Tensor, points: Tensor, reduce: Callable[[Tensor], Tensor]) -> Tensor:
    """Return what `reduce` makes of the distances (n, M) of n queries: (N,), each process its share of them.

    Distances are taken in float64, from the points' mean: tight clusters that are far apart would drown in the
    rounding of float32. Those of equal rows are zero, as are all below a ten-millionth of the way to the mean, which
    cannot be told from them.
    """
    mean = points.double().mean(0)
    points = points - mean
    norms, reduced = points.square().sum(1), points.new_zeros(len(queries))
    for start, length in my_blocks(len(queries), BLOCK):
        block = queries[start : start + length] - mean
        own_norms = block.square().sum(1, keepdim=True)
        squares = (own_norms + norms).addmm_(block, points.T, alpha=-2)
        squares.masked_fill_(squares < ROUNDING * torch.finfo(squares.dtype).eps * own_norms, 0)
        reduced[start : start + length] = reduce(squares.sqrt_()).to(reduced)
    all_reduce(reduced)
    return reduced


def ball_radii(features: Tensor, neighbors: int) -> Tensor:
    """Return the distance (N,) from each image to its k-th nearest other one; the nearest of all is itself."""
    return nearest_distance(features, features, neighbors + 1)


def reference_radii(reference: State, neighbors: int) -> Tensor:
    """Return those of the reference's images, and keep them beside its features: it is the same at every evaluation."""
    name = f"radii of {neighbors} neighbors"
    if name not in reference:
        reference[name] = ball_radii(reference["features"], neighbors)
    return reference[name]


class _ManifoldScore(Score):
    """Base of the scores here.

    Args:
        neighbors: The k of the k-th nearest neighbour.
    """

    statistics = FeatureBank()

    def __init__(self, neighbors: int) -> None:
        check_at_least(1, neighbors=neighbors)
        self.neighbors = neighbors

    def check(self, example: FeatureBatch, num_reference: int) -> None:
        """Raise if an image has fewer neighbours than are asked for."""
        images = min(example.total, num_reference)
        if images <= self.neighbors:
            raise ValueError(
                f"{type(self).__name__}: neighbors must be below the number of generated and of reference images, "
                f"{images}, got {self.neighbors}"
            )


class PrecisionRecall(_ManifoldScore):
    """`precision_<network>` and `recall_<network>`; the paper's network is VGG-16. Higher is better.

    Precision is the share of generated images on the real images' manifold, recall that of real images on the generated
    ones'; both are in [0, 1]. The balls are closed, as in the authors' code.

    Args:
        neighbors: Balls reach as far as the k-th nearest neighbour; 3 in the paper.
    """

    def __init__(self, neighbors: int = 3) -> None:
        super().__init__(neighbors)

    def compute(self, generated: State, reference: State, network: str) -> dict[str, float]:
        """Return both by name."""
        fake, real = generated["features"], reference["features"]
        precision = num_containing_balls(fake, real, reference_radii(reference, self.neighbors), closed=True) > 0
        recall = num_containing_balls(real, fake, ball_radii(fake, self.neighbors), closed=True) > 0
        named = {"precision": precision, "recall": recall}
        return {f"{name}_{network}": float(inside.double().mean()) for name, inside in named.items()}


class DensityCoverage(_ManifoldScore):
    """`density_<network>` and `coverage_<network>`; the paper's network is VGG-16. Higher is better.

    Density is how many of the real images' balls a generated image lies in, divided by k (1 if the distributions are
    equal; more is possible); coverage is the share of those balls that hold a generated image, in [0, 1]. The balls
    are open, as in the authors' code, so those of images that are there more than k times are empty.

    Args:
        neighbors: Balls reach as far as the k-th nearest neighbour; 5 in the paper.
    """

    def __init__(self, neighbors: int = 5) -> None:
        super().__init__(neighbors)

    def compute(self, generated: State, reference: State, network: str) -> dict[str, float]:
        """Return both by name."""
        fake, real = generated["features"], reference["features"]
        radii = reference_radii(reference, self.neighbors)
        density = num_containing_balls(fake, real, radii, closed=False).double().mean() / self.neighbors
        coverage = lies_within(nearest_distance(real, fake, 1), radii, closed=False).double().mean()
        return {f"density_{network}": float(density), f"coverage_{network}": float(coverage)}
