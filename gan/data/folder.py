"""One's own images: a folder or a zip."""

import os
from pathlib import Path

from gan.data.decode import Frame
from gan.data.files import open_files
from gan.data.image_data import ImageData
from gan.data.layout import read_layout
from gan.data.sources import FileSource


class ImageTree:
    """The splits and classes of a folder or zip of images; reads the listing only.

    Args:
        root: The folder or zip.

    Attributes:
        splits: Names of the splits.
        classes: Names of the classes, sorted; empty if there are fewer than two.

    Raises:
        FileNotFoundError: If there is no such root.
        ValueError: If it cannot be read, is not safe to read, or holds no images.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._files = open_files(root)
        try:
            layout = read_layout(self._files.sizes)
        except ValueError as error:
            raise ValueError(f"root {root!r}: {error}") from None
        self._labels = layout.splits
        self.splits = tuple(layout.splits)
        self.classes = layout.classes

    def source(self, split: str, frame: Frame) -> FileSource:
        """Return the images of a split."""
        return FileSource(self._files, self._labels[split], frame)


class Folder(ImageData):
    """Any folder or zip of images, each made square by cropping its middle, then resized.

    Subfolders are classes if there are at least two and they hold all images of the training split; top folders train,
    val and test are splits (see `gan.data.layout`). Formats and pixel types (see `gan.data.decode`) may be mixed.

    Args:
        root: The folder or zip.
        image_size: Height and width that images are made to fit.
        channels: 1 (gray) or 3 (RGB).
        batch_size: Real images of one discriminator update, all processes together.
        flip: Mirror images left to right at random; on, as photographs are as likely either way. Turn it off for text,
            or whatever has a handedness.
        num_workers: Worker processes that decode, if the set is too large for memory.
    """

    def __init__(
        self,
        root: str,
        image_size: int = 64,
        channels: int = 3,
        batch_size: int = 64,
        flip: bool = True,
        num_workers: int = 4,
    ) -> None:
        self.tree = ImageTree(os.path.expanduser(root))
        name = Path(root).resolve().name.removesuffix(".zip")
        super().__init__(batch_size, flip, Frame(image_size, channels), len(self.tree.classes), name, num_workers)
        self.splits = self.tree.splits

    def open(self, split: str) -> FileSource:
        """Return the images of a split."""
        return self.tree.source(split, self.frame)
