"""Sums over the features of a set of images, from which scores are computed.

The state of a statistic is a dict of tensors. It is zero for no images and adds up over batches, and over processes by
an all-reduce. So images stream through, and no process waits for another before the end.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

State = dict[str, Tensor]


@dataclass(frozen=True)
class FeatureBatch:
    """The output of a feature network for consecutive images of a set.

    Attributes:
        features: (N, D) float32.
        logits: (N, K) float32, None if the network has none.
        start: Index of the batch's first image in the set.
        total: Number of images in the set.
    """

    features: Tensor
    logits: Tensor | None
    start: int
    total: int


class Statistics(ABC):
    """Statistics of a set's features. Immutable and compared by value: scores that need the same ones share them.

    Subclasses are frozen dataclasses; their `repr` is part of the key under which reference statistics are cached.
    """

    uses_index: bool = True
    """Whether the state depends on an image's index and on the number of images, besides features and logits."""

    @abstractmethod
    def zeros(self, like: FeatureBatch) -> State:
        """Return the state for no images. Of `like`, only total, widths and device are used."""

    @abstractmethod
    def add(self, state: State, batch: FeatureBatch) -> None:
        """Add a batch to a state, in place."""


States = dict[Statistics, State]


@dataclass(frozen=True)
class FeatureBank(Statistics):
    """The features of all images, or of `max_images` evenly spaced ones (a set may be sorted by class).

    For scores that compare single images. It adds up like the others: rows that another process fills are zero in this
    one. At the limit, 2048 features are 400 MB.
    """

    max_images: int = 50_000

    def size(self, total: int) -> int:
        """Return how many of `total` images are kept."""
        return min(total, self.max_images)

    def zeros(self, like: FeatureBatch) -> State:
        """Return `features` (n, D) in float32."""
        return {"features": like.features.new_zeros(self.size(like.total), like.features.shape[1])}

    def add(self, state: State, batch: FeatureBatch) -> None:
        """Write the rows of a batch: row j is image floor(j * total / n)."""
        n, end = len(state["features"]), batch.start + len(batch.features)
        first, last = (-(-image * n // batch.total) for image in (batch.start, end))  # rounded up
        images = torch.arange(first, last) * batch.total // n - batch.start
        state["features"][first:last] = batch.features[images.to(batch.features.device)]
