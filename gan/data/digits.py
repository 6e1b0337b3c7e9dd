"""The data set that needs no download."""

import numpy as np
import torch

from gan.data.decode import Frame
from gan.data.image_data import ImageData
from gan.data.sources import ArraySource
from gan.data.subset import Subset


class Digits(ImageData):
    """The 1,797 handwritten digits that come with scikit-learn (Alpaydin & Kaynak 1998, UCI), gray, ten classes.

    They are 8x8 with values 0 to 16, scaled to 0 to 255 and enlarged to 32x32 by the bicubic filter. The values count
    the ink in 4x4 blocks of 32x32 scans: the filter gives back smooth strokes, where repeating pixels would make the
    generator learn blocks. There is one split: they are too few to hold some back from training.

    Args:
        batch_size: Real images of one discriminator update, all processes together.
        flip: Mirror images left to right at random; off, as a mirrored digit is none.
        num_images: Train with so many of the images, the same share of each class; None: all.
        fraction: Train with this share of the images, of each class; None: all.
        subset_seed: Which images those are.
    """

    splits = ("train",)

    def __init__(
        self,
        batch_size: int = 64,
        flip: bool = False,
        num_images: int | None = None,
        fraction: float | None = None,
        subset_seed: int = 0,
    ) -> None:
        subset = Subset(num_images, fraction, subset_seed)
        super().__init__(batch_size, flip, Frame(size=32, channels=1), num_classes=10, name="digits", subset=subset)

    def open(self, split: str) -> ArraySource:
        """Return all digits."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
        return ArraySource(pixels, torch.from_numpy(digits.target).long(), self.frame)
