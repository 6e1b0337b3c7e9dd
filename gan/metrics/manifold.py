"""Precision, recall, density and coverage: which images lie in the neighbourhoods of the other set's images.

The manifold of a set of images is the union of balls around their features, each as large as the distance to the k-th
nearest other one. Precision and recall: Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing
Generative Models", 2019. Density and coverage: Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative
Models", 2020.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from gan.checks import check_at_least
from gan.distributed import all_reduce, my_blocks
from gan.metrics.score import Score
from gan.metrics.statistics import FeatureBank, FeatureBatch, State

ROUNDING = 64  # error of a squared distance, in roundings of the squared norm; up to 19 were seen with 4,096 features
RIM = 1e-6  # relative difference below which distances are equal: those of copies are computed in two ways
BLOCK = 500  # rows of the distance matrix at a time: memory grows with the number of images, not its square


def nearest_distance(queries: Tensor, points: Tensor, k: int) -> Tensor:
    """Return the distance (N,), in float64, from each query (N, D) to the k-th nearest of the points (M, D)."""
    return _by_blocks(queries, points, lambda distances: distances.kthvalue(k, dim=1).values)


def num_containing_balls(queries: Tensor, centers: Tensor, radii: Tensor, closed: bool) -> Tensor:
    """Return the number (N,) of balls with centers (M, D) and radii (M,) that contain each query (N, D).

    `closed` matters if one set holds copies of the other's images: they lie exactly on the boundary of balls.
    """
    return _by_blocks(queries, centers, lambda distances: lies_within(distances, radii, closed).sum(1))


def lies_within(distances: Tensor, radii: Tensor, closed: bool) -> Tensor:
    """Return whether points at these distances from the centers lie in balls of these radii, closed or open."""
    return distances <= radii * (1 + RIM) if closed else distances < radii * (1 - RIM)


def _by_blocks(queries: Tensor, points: Tensor, reduce: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply `reduce` to blocks of distances (n, M) and return its results (N,); each process computes its share.

    Distances are computed in float64 and relative to the mean of the points: rounding to float32 would hide tight
    clusters that are far apart. Distances of equal rows are set to zero, and so are all distances below a ten-millionth
    of the distance to the mean, which cannot be distinguished from them.
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
    """Return the distance (N,) from each image to its k-th nearest neighbour, other than itself."""
    return nearest_distance(features, features, neighbors + 1)


class _ManifoldScore(Score):
    """Base class of the scores of this file.

    Args:
        neighbors: The k of the k-th nearest neighbour.
    """

    statistics = FeatureBank()

    def __init__(self, neighbors: int) -> None:
        check_at_least(1, neighbors=neighbors)
        self.neighbors = neighbors

    @property
    def derived(self) -> Mapping[str, Callable[[State], Tensor]]:
        """The radii of the reference images' balls: minutes of a CPU for 50,000 images."""
        return {self._radii: lambda reference: ball_radii(reference["features"], self.neighbors)}

    def reference_radii(self, reference: State) -> Tensor:
        """Return the radii (M,) of the reference images. They are kept in the state, for the next evaluation."""
        if self._radii not in reference:
            reference[self._radii] = self.derived[self._radii](reference)
        return reference[self._radii]

    @property
    def _radii(self) -> str:
        return f"radii of {self.neighbors} neighbors"

    def check(self, example: FeatureBatch, num_reference: int) -> None:
        """Raise if an image has too few neighbours."""
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
        neighbors: The k of the k-th nearest neighbour, to which balls reach; 3 in the paper.
    """

    def __init__(self, neighbors: int = 3) -> None:
        super().__init__(neighbors)

    def compute(self, generated: State, reference: State, network: str) -> dict[str, float]:
        """Return both by name."""
        fake, real = generated["features"], reference["features"]
        precision = num_containing_balls(fake, real, self.reference_radii(reference), closed=True) > 0
        recall = num_containing_balls(real, fake, ball_radii(fake, self.neighbors), closed=True) > 0
        named = {"precision": precision, "recall": recall}
        return {f"{name}_{network}": float(inside.double().mean()) for name, inside in named.items()}


class DensityCoverage(_ManifoldScore):
    """`density_<network>` and `coverage_<network>`; the paper's network is VGG-16. Higher is better.

    Density is the mean number of real images' balls that contain a generated image, divided by k (1 for equal
    distributions; larger values are possible). Coverage is the share of those balls that contain a generated image, in
    [0, 1]. The balls are open, as in the authors' code, so the ball of an image with k or more copies is empty.

    Args:
        neighbors: The k of the k-th nearest neighbour, to which balls reach; 5 in the paper.
    """

    def __init__(self, neighbors: int = 5) -> None:
        super().__init__(neighbors)

    def compute(self, generated: State, reference: State, network: str) -> dict[str, float]:
        """Return both by name."""
        fake, real = generated["features"], reference["features"]
        radii = self.reference_radii(reference)
        density = num_containing_balls(fake, real, radii, closed=False).double().mean() / self.neighbors
        coverage = lies_within(nearest_distance(real, fake, 1), radii, closed=False).double().mean()
        return {f"density_{network}": float(density), f"coverage_{network}": float(coverage)}
