"""The published images of CIFAR-10-C, or CIFAR-100-C: one .npy file for each corruption, and one of labels."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gan.data.decode import Frame
from gan.data.sources import ArraySource
from robustness.corruptions.base import SEVERITIES

LABELS = "labels.npy"


class PublishedImages:
    """The files of a folder, as they are published (Hendrycks and Dietterich, ICLR 2019).

    Each file holds the test set at severity 1, then at 2, and so on.

    Args:
        folder: The folder. It may lack some of the corruptions.

    Attributes:
        names: The corruptions that are there.
        labels: int64 (n,), of the images of one severity.

    Raises:
        ValueError: if there are none, or their shapes are not those of the published files.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder).expanduser()
        if not (self.folder / LABELS).is_file():
            raise ValueError(f"cifar10_c must be a folder with {LABELS} and .npy files of corruptions, got {folder}")
        labels = np.load(self.folder / LABELS)
        self.labels: Tensor = torch.from_numpy(labels[: len(labels) // len(SEVERITIES)]).long()
        self._files = {
            path.stem: np.load(path, mmap_mode="r") for path in sorted(self.folder.glob("*.npy")) if path.name != LABELS
        }
        self.names = list(self._files)
        if not self.names:
            raise ValueError(f"cifar10_c {folder} holds no corruption, only {LABELS}")
        expected = len(labels), 32, 32, 3
        for name, images in self._files.items():
            if images.shape != expected or images.dtype != np.uint8:
                raise ValueError(f"{folder}/{name}.npy must be uint8 {expected}, got {images.dtype} {images.shape}")

    def source(self, name: str, severity: int) -> ArraySource:
        """Return the images of one corruption and severity."""
        count = len(self.labels)
        pixels = self._files[name][(severity - 1) * count : severity * count]
        return ArraySource(pixels, self.labels, Frame(32, 3))
