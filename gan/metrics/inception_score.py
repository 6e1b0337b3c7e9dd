"""The inception score: exp of the mutual information between an image and its predicted class.

Salimans et al., "Improved Techniques for Training GANs", 2016, section 4: exp(E_x KL(p(y|x) || p(y))), computed on
disjoint splits of the images; mean and standard deviation over the splits are reported.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gan.checks import check_at_least
from gan.metrics.score import PAPER, Score
from gan.metrics.statistics import FeatureBatch, State, Statistics

SHUFFLE_SEED = 2020  # torch-fidelity's: equal images in equal order give an equal number


@lru_cache(maxsize=4)
def split_of_image(total: int, splits: int) -> Tensor:
    """Return the split (total,) of each image: images are shuffled (a set may be sorted by class), then cut evenly."""
    bounds = [i * total // splits for i in range(splits + 1)]
    split = np.empty(total, dtype=np.int64)
    split[np.random.RandomState(SHUFFLE_SEED).permutation(total)] = np.repeat(np.arange(splits), np.diff(bounds))
    return torch.from_numpy(split)


@dataclass(frozen=True)
class ClassMarginals(Statistics):
    """For each split: number of images, sum of their class probabilities, sum of their negative entropies."""

    splits: int

    def zeros(self, like: FeatureBatch) -> State:
        """Return `count` (S,), `probabilities` (S, K) and `negentropies` (S,), in float64."""
        assert like.logits is not None
        S, K = self.splits, like.logits.shape[1]
        shapes: dict[str, tuple[int, ...]] = {"count": (S,), "probabilities": (S, K), "negentropies": (S,)}
        return {name: like.logits.new_zeros(shape, dtype=torch.float64) for name, shape in shapes.items()}

    def add(self, state: State, batch: FeatureBatch) -> None:
        """Add a batch of logits (N, K)."""
        assert batch.logits is not None
        logits = batch.logits.double()
        p, log_p = logits.softmax(1), logits.log_softmax(1)
        split = split_of_image(batch.total, self.splits)[batch.start : batch.start + len(p)]
        # (S, N), for products: `index_add_` state in no certain order on a GPU
        belongs = F.one_hot(split, self.splits).T.to(p)
        state["count"] += belongs.sum(1)
        state["probabilities"] += belongs @ p
        state["negentropies"] += belongs @ (p * log_p).sum(1)


def inception_scores(state: State) -> Tensor:
    """Return the score (S,) of each split: a mean KL divergence is a mean negative entropy plus the mean's entropy."""
    q = state["probabilities"] / state["count"][:, None]
    return (state["negentropies"] / state["count"] - torch.special.xlogy(q, q).sum(1)).exp()


class InceptionScore(Score):
    """`is` and `is_std` with the paper's Inception, `is_<network>` and `is_<network>_std` with any other network.

    Higher is better; between 1 and the number of classes.

    Args:
        splits: Number of parts that the images are divided into.
    """

    uses_reference = False
    uses_logits = True

    def __init__(self, splits: int = 10) -> None:
        check_at_least(1, splits=splits)
        self.splits = splits

    def check(self, example: FeatureBatch, num_reference: int) -> None:
        """Raise if a split would have a single image, whose score is always 1."""
        if example.total < 2 * self.splits:
            raise ValueError(
                f"InceptionScore: splits must be at most half the number of generated images, {example.total}, "
                f"got {self.splits}"
            )

    @property
    def statistics(self) -> ClassMarginals:
        """The class marginals of each split."""
        return ClassMarginals(self.splits)

    def compute(self, generated: State, reference: State, network: str) -> dict[str, float]:
        """Return the mean and the (population) standard deviation over the splits."""
        scores = inception_scores(generated)
        name = "is" if network == PAPER else f"is_{network}"
        return {name: float(scores.mean()), f"{name}_std": float(scores.std(correction=0))}
