"""Base class of corruptions."""

import re
from collections.abc import Sequence
from typing import Any, ClassVar
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gan.randomness import Stream, rng

Pixels = NDArray[np.float64]  # (N, channels, height, width) in [0, 1]
Random = np.random.Generator
SEVERITIES = range(1, 6)


class Corruption:
    """Damages images at five severities, those of CIFAR-10-C (Hendrycks and Dietterich, ICLR 2019).

    A subclass says what the published `strengths` are, what is drawn at random for one image, and what becomes of a
    batch. Widths and shifts are in pixels of 32x32 images; on larger images the same strength does less.

    Attributes:
        strengths: The parameters of severity 1 to 5.
        is_extra: Whether it is one of the four that do not count in the benchmark's means.
    """

    strengths: ClassVar[tuple[Any, ...]]
    is_extra: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """The name of its file in CIFAR-10-C: "gaussian_noise"."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()

    @property
    def group(self) -> str:
        """What it belongs to: "noise", "blur", "weather" or "digital"; empty if it is an extra one."""
        return "" if self.is_extra else type(self).__module__.rpartition(".")[2]

    def __call__(self, images: Tensor, severity: int, indices: Sequence[int], seed: int = 0) -> Tensor:
        """Return the corrupted images. What is random depends on seed, corruption, severity and index alone.

        Args:
            images: uint8 (N, channels, size, size).
            severity: 1 to 5.
            indices: The number of each image in its set.
            seed: Of all that is random.

        Returns:
            uint8, in the shape of `images`.

        Raises:
            ValueError: if there is no such severity, or the corruption needs colors and the images are gray.
        """
        if severity not in SEVERITIES:
            raise ValueError(f"severity must be 1 to 5, got {severity}")
        strength = self.strengths[severity - 1]
        pixels = images.numpy().astype(np.float64) / 255
        position = Stream.CORRUPTION, crc32(self.name.encode()), severity
        drawn = [self.draw(rng(seed, *position, i), x, strength) for i, x in zip(indices, pixels, strict=True)]
        noise = [np.stack(each) for each in zip(*drawn, strict=True)]
        corrupted = self.apply(pixels, strength, *noise).clip(0, 1)
        return torch.from_numpy(as_uint8(corrupted))

    def draw(self, random: Random, image: Pixels, strength: Any) -> tuple[Any, ...]:
        """Return all that is random about one image (channels, height, width), as arrays or numbers."""
        return ()

    def apply(self, x: Pixels, strength: Any, *noise: Any) -> Pixels:
        """Corrupt a batch, with what was drawn for its images, stacked. Values outside of [0, 1] are clipped."""
        raise NotImplementedError


def as_uint8(x: Pixels) -> NDArray[np.uint8]:
    """Cut [0, 1] to whole numbers of 0 to 255, as the published code does; what is whole but for rounding stays."""
    return np.floor(x * 255 + 1e-6).astype(np.uint8)


def gray(x: Pixels) -> Pixels:
    """Return the luma (N, 1, height, width) of gray or RGB images."""
    if x.shape[1] == 1:
        return x
    return np.tensordot(x, [0.299, 0.587, 0.114], axes=([1], [0]))[:, None]
