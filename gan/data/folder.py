"""One's own images: a folder or a zip."""

import os
from pathlib import Path

from gan.data.decode import Frame
from gan.data.image_data import ImageData
from gan.data.sources import Damaged, FileSource
from gan.data.subset import Subset
from gan.data.tree import ImageTree, Labels
from gan.images import ImageSize


class Folder(ImageData):
    """Any folder or zip of images, each cropped to the middle part of the wanted shape, then resized.

    Labels are those of StyleGAN's `dataset.json`, if there is one; else subfolders are classes if there are at least
    two and they hold all images of the training split. Folders called train, val, test and the like are splits (see
    `gan.data.layout`). Formats and pixel types (see `gan.data.decode`) may be mixed.

    Args:
        root: The folder or zip.
        image_size: Height and width that images are made to fit: a number, or [height, width].
        channels: 1 (gray) or 3 (RGB).
        batch_size: Real images of one discriminator update, all processes together.
        flip: Mirror images left to right at random; on, as photographs are as likely either way. Turn it off for text,
            or whatever has a handedness.
        num_workers: Worker processes that decode, if the set is too large for memory.
        labels: "auto": as above; "folders": subfolders are classes, whatever they look like; "none": no labels.
        train_folder: The folder in the root that holds the training images, where names do not tell; "." for all.
        test_folder: The folder in the root that holds the test images, if `train_folder` is given.
        damaged: What to do about images that cannot be read: "error", or "skip": name them, and take another image of
            the same class in their place.
        num_images: Train with so many of the images, the same share of each class; None: all.
        fraction: Train with this share of the images, of each class; None: all.
        subset_seed: Which images those are.
    """

    def __init__(
        self,
        root: str,
        image_size: ImageSize = 64,
        channels: int = 3,
        batch_size: int = 64,
        flip: bool = True,
        num_workers: int = 4,
        labels: Labels = "auto",
        train_folder: str | None = None,
        test_folder: str | None = None,
        damaged: Damaged = "error",
        num_images: int | None = None,
        fraction: float | None = None,
        subset_seed: int = 0,
    ) -> None:
        subset = Subset(num_images, fraction, subset_seed)
        self.tree = tree = ImageTree(os.path.expanduser(root), labels, train_folder, test_folder)
        name = Path(root).resolve().name.removesuffix(".zip")
        frame = Frame(image_size, channels)
        super().__init__(
            batch_size, flip, frame, len(tree.classes), name, num_workers, classes=tree.classes, subset=subset
        )
        self.splits = tree.splits
        self.passed_over = tree.passed_over
        self.damaged = damaged

    def open(self, split: str) -> FileSource:
        """Return the images of a split."""
        source = self.tree.source(split, self.frame, self.damaged)
        source.advice = "" if self.damaged == "skip" else "; --data.damaged skip takes others in their place"
        return source
