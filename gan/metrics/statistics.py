"""What is remembered of a set of images: sums over their features, from which scores are computed.

Every statistic is a dict of tensors that is zero for no images and *adds up*: over batches, and over processes by an
all-reduce. So images stream through, and no process waits for another before the end.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

Sums = dict[str, Tensor]


@dataclass(frozen=True)
class Batch:
    """What a feature network returned for consecutive images of a set.

    Attributes:
        features: (N, D) float32.
        logits: (N, K) float32, None if the network has none.
        start: The number of the batch's first image in the set.
        total: How many images the set has.
    """

    features: Tensor
    logits: Tensor | None
    start: int
    total: int


class Statistics(ABC):
    """A kind of statistic. Immutable and compared by value: scores that need the same one share it.

    Subclasses are frozen dataclasses; their `repr` is part of the key under which reference statistics are cached.
    """

    @abstractmethod
    def zeros(self, like: Batch) -> Sums:
        """Return the statistic of none of the images of a set; of `like` only total, widths and device matter."""

    @abstractmethod
    def add(self, sums: Sums, batch: Batch) -> None:
        """Add a batch in place to what `zeros` returned."""


Collected = dict[Statistics, Sums]
