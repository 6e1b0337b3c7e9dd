"""One's own images: a folder or a zip."""

import os
from pathlib import Path
from typing import Literal

from gan.data.decode import Frame
from gan.data.files import open_files
from gan.data.image_data import ImageData
from gan.data.labels import label_by_table, read_table
from gan.data.layout import Layout, find_classes, find_splits, folders_of, label_by_folder
from gan.data.sources import Damaged, FileSource
from gan.data.subset import Subset
from gan.images import ImageSize

Labels = Literal["auto", "folders", "none"]


class ImageTree:
    """The splits and classes of a folder or zip of images; reads the listing, and `dataset.json` if there is one.

    Args:
        root: The folder or zip.
        labels: See `Folder`.
        train_folder: See `Folder`.
        test_folder: See `Folder`.

    Attributes:
        root: The folder or zip.
        splits: Names of the splits.
        classes: Names of the classes in the order of their labels; empty if there are fewer than two.
        labels_from: Where the labels come from: "dataset.json", "folders", or "none".
        passed_over: The number of files that are no images, by suffix.

    Raises:
        FileNotFoundError: If there is no such root.
        ValueError: If it cannot be read, is not safe to read, holds no images, or leaves open what its folders mean.
    """

    def __init__(
        self, root: str, labels: Labels = "auto", train_folder: str | None = None, test_folder: str | None = None
    ) -> None:
        self.root = root
        self.files = open_files(root)
        self.passed_over = self.files.passed_over
        try:
            layout = self._layout(labels, train_folder, test_folder)
        except ValueError as error:
            raise ValueError(f"root {root!r}: {error}") from None
        self.labels = layout.splits
        self.splits = tuple(layout.splits)
        self.classes = layout.classes

    def source(self, split: str, frame: Frame, if_damaged: Damaged = "error") -> FileSource:
        """Return the images of a split."""
        return FileSource(self.files, self.labels[split], frame, if_damaged)

    def _layout(self, labels: Labels, train_folder: str | None, test_folder: str | None) -> Layout:
        splits = find_splits(self.files.sizes, train_folder, test_folder)
        self.labels_from = labels if labels != "auto" else "dataset.json" if self.files.label_files else "folders"
        if self.labels_from == "dataset.json":
            layout = label_by_table(splits, dict(map(self._table, self.files.label_files)))
        else:
            classes = () if labels == "none" else find_classes(splits, certain=labels == "folders")
            layout = label_by_folder(splits, classes)
        if not layout.classes:
            self.labels_from = "none"
        return layout

    def _table(self, name: str):  # type: ignore[no-untyped-def]
        try:
            return folders_of(name), read_table(self.files.read(name))
        except ValueError as error:
            raise ValueError(f"{name!r} {error}") from None


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
