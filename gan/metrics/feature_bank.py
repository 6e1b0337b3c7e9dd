"""Features kept one by one, for the scores that compare images instead of their distributions' moments."""

from dataclasses import dataclass

import torch

from gan.metrics.statistics import Batch, Statistics, Sums


@dataclass(frozen=True)
class FeatureBank(Statistics):
    """The features of all images, or of `max_images` evenly spaced ones (a set may be sorted by class).

    A sum like the others: rows that another process fills are zero in this one. At the limit, 2048 features are 400 MB.
    """

    max_images: int = 50_000

    def size(self, total: int) -> int:
        """Return how many of `total` images are kept."""
        return min(total, self.max_images)

    def zeros(self, like: Batch) -> Sums:
        """Return `features` (n, D) in float32."""
        return {"features": like.features.new_zeros(self.size(like.total), like.features.shape[1])}

    def add(self, sums: Sums, batch: Batch) -> None:
        """Write the rows of a batch: row j is image floor(j * total / n)."""
        n, end = len(sums["features"]), batch.start + len(batch.features)
        first, last = (-(-image * n // batch.total) for image in (batch.start, end))  # rounded up
        images = torch.arange(first, last) * batch.total // n - batch.start
        sums["features"][first:last] = batch.features[images.to(batch.features.device)]
