"""The images of a folder or zip, with their splits and labels."""

from typing import Literal

from gan.data.decode import Frame
from gan.data.files import open_files
from gan.data.labels import label_by_table, read_table
from gan.data.layout import Layout, find_classes, find_splits, folders_of, label_by_folder
from gan.data.sources import Damaged, FileSource

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
