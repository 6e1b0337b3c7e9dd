"""A feature network whose features are known by hand, a small data set, and statistics of given features."""

import numpy as np
import torch
from torch import Tensor, nn

from gan.data import ImageData
from gan.data.decode import Frame
from gan.data.sources import ArraySource
from gan.metrics.statistics import FeatureBatch, State, Statistics


class Corners(nn.Module):
    """The pixel in the upper left corner, in each channel, as features; the logits are known too."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = images[:, :, 0, 0].float() * self.scale
        return features, torch.stack([features.sum(1) / 100, torch.zeros(len(images))], 1)


class Noise(ImageData):
    """Random gray images of 8x8, in two splits of different sizes."""

    def __init__(self, images: int = 50, seed: int = 0, size: int = 32) -> None:
        super().__init__(batch_size=4, flip=False, frame=Frame(size, 1), num_classes=0, name="noise")
        self.images, self.seed = images, seed

    def open(self, split: str) -> ArraySource:
        count = self.images if split == "train" else self.images // 2
        pixels = np.random.default_rng(self.seed).integers(0, 256, (count, self.image_size, self.image_size), np.uint8)
        return ArraySource(pixels, torch.zeros(count, dtype=torch.int64), self.frame)


def statistics_of(kind: Statistics, features: Tensor, logits: Tensor | None = None, batch_size: int = 7) -> State:
    """Return the statistics of features (N, D) and logits (N, K), added in batches."""
    total = len(features)
    sums = kind.zeros(FeatureBatch(features[:1], None if logits is None else logits[:1], 0, total))
    for start in range(0, total, batch_size):
        rows = slice(start, start + batch_size)
        kind.add(sums, FeatureBatch(features[rows], None if logits is None else logits[rows], start, total))
    return sums
