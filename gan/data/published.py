"""Published data sets: downloaded by torchvision, or read from a zip or folder of images that holds the same."""

import os
import textwrap
from abc import abstractmethod
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from pytorch_lightning.trainer.states import TrainerFn

from gan.data import class_names
from gan.data.decode import Frame
from gan.data.files import FolderFiles
from gan.data.image_data import ImageData
from gan.data.sources import ArraySource, FileSource, Source
from gan.data.subset import Subset
from gan.data.tree import ImageTree
from gan.images import ImageSize


class Published(ImageData):
    """A data set that torchvision can download.

    Args:
        root: Folder that torchvision downloads to; or, unless its own files are there, a zip, or a folder with a
            subfolder `train`, of images laid out as train/<class>/*.png and test/<class>/*.png, as `gan.data.Folder`
            reads them.
        page: Where the set is described.
        batch_size: See `ImageData`.
        flip: See `ImageData`.
        frame: See `ImageData`.
        classes: Names of the classes; empty if there are none.
        num_workers: See `ImageData`.
        subset: See `ImageData`.

    Raises:
        FileNotFoundError: If `root` names a zip that does not exist.
        ValueError: If the images of `root` have other classes.
    """

    folder: ClassVar[str]  # of torchvision's own files, in the root

    def __init__(
        self,
        root: str,
        page: str,
        batch_size: int,
        flip: bool,
        frame: Frame,
        classes: tuple[str, ...],
        num_workers: int = 0,
        subset: Subset = Subset(),  # noqa: B008 (frozen)
    ) -> None:
        name, num_classes = type(self).__name__.lower(), len(classes)
        super().__init__(batch_size, flip, frame, num_classes, name, num_workers, classes=classes, subset=subset)
        self.root = root = os.path.expanduser(root)
        self.page = page
        self.tree = ImageTree(root) if self._holds_images(root) else None
        if self.tree is None:
            return
        self.splits, self.passed_over = self.tree.splits, self.tree.passed_over
        if num_classes and len(self.tree.classes) != num_classes:
            raise ValueError(
                f"root {root!r} holds {len(self.tree.classes)} classes, {type(self).__name__} has {num_classes}; "
                "gan.data.Folder reads any images"
            )
        if num_classes:
            self.classes = self.tree.classes

    def _holds_images(self, root: str) -> bool:
        train, own = os.path.join(root, "train"), os.path.join(root, self.folder)
        is_zip = os.path.isfile(root) or root.lower().endswith(".zip")
        return is_zip or (os.path.isdir(train) and not os.path.isdir(own))

    @abstractmethod
    def read(self, split: str, download: bool) -> Source:
        """Return a split from torchvision's own files in `root`."""

    def prepare_data(self) -> None:
        """Download the set if it is not there, but not to draw samples."""
        predicts = self.trainer is not None and self.trainer.state.fn == TrainerFn.PREDICTING
        if self.tree is None and not predicts:
            self._read("test", download=True)  # brings all splits, and is the cheaper one to read in vain

    def open(self, split: str) -> Source:
        """Return the images and labels of a split.

        Raises:
            FileNotFoundError: If the set is not there.
        """
        return self._read(split, download=False) if self.tree is None else self.tree.source(split, self.frame)

    def _read(self, split: str, download: bool) -> Source:
        try:
            return self.read(split, download)
        except Exception as error:  # torchvision's datasets, and gdown, raise nearly anything
            failed = "could not be downloaded to" if download else "is not in"
            reason = textwrap.shorten(str(error) or type(error).__name__, 200)
            raise FileNotFoundError(
                f"{type(self).__name__} {failed} root {self.root!r} ({reason}); put the files from {self.page} there, "
                "or let root be a zip or folder with train/<class>/*.png"
            ) from None


class CIFAR10(Published):
    """CIFAR-10 (Krizhevsky 2009): 50,000 and 10,000 photographs of ten classes, 32x32.

    Args:
        root: Folder to download to; or a zip or folder of images (train/<class>/*.png), as `gan.data.Folder` reads.
        batch_size: Real images of one discriminator update, all processes together.
        flip: Mirror images left to right at random; on, as photographs are as likely either way.
        num_images: Train with so many of the images, the same share of each class; None: all.
        fraction: Train with this share of the images, of each class; None: all.
        subset_seed: Which images those are.
    """

    folder = "cifar-10-batches-py"

    def __init__(
        self,
        root: str = "data",
        batch_size: int = 64,
        flip: bool = True,
        num_images: int | None = None,
        fraction: float | None = None,
        subset_seed: int = 0,
    ) -> None:
        page = "https://www.cs.toronto.edu/~kriz/cifar.html"
        subset = Subset(num_images, fraction, subset_seed)
        super().__init__(root, page, batch_size, flip, Frame(32, 3), classes=class_names.CIFAR10, subset=subset)

    def read(self, split: str, download: bool) -> ArraySource:
        """Return a split from torchvision's files."""
        from torchvision.datasets import CIFAR10

        dataset = CIFAR10(self.root, train=split == "train", download=download)
        return ArraySource(dataset.data, _int64(dataset.targets), self.frame)


class CIFAR100(Published):
    """CIFAR-100 (Krizhevsky 2009): 50,000 and 10,000 photographs of a hundred classes, 32x32.

    Args:
        root: Folder to download to; or a zip or folder of images (train/<class>/*.png), as `gan.data.Folder` reads.
        batch_size: Real images of one discriminator update, all processes together.
        flip: Mirror images left to right at random; on, as photographs are as likely either way.
        num_images: Train with so many of the images, the same share of each class; None: all.
        fraction: Train with this share of the images, of each class; None: all.
        subset_seed: Which images those are.
    """

    folder = "cifar-100-python"

    def __init__(
        self,
        root: str = "data",
        batch_size: int = 64,
        flip: bool = True,
        num_images: int | None = None,
        fraction: float | None = None,
        subset_seed: int = 0,
    ) -> None:
        page = "https://www.cs.toronto.edu/~kriz/cifar.html"
        subset = Subset(num_images, fraction, subset_seed)
        super().__init__(root, page, batch_size, flip, Frame(32, 3), classes=class_names.CIFAR100, subset=subset)

    def read(self, split: str, download: bool) -> ArraySource:
        """Return a split from torchvision's files."""
        from torchvision.datasets import CIFAR100

        dataset = CIFAR100(self.root, train=split == "train", download=download)
        return ArraySource(dataset.data, _int64(dataset.targets), self.frame)


class STL10(Published):
    """STL-10 (Coates et al. 2011): photographs, 96x96; 100,000 without labels, 5,000 of ten classes, 8,000 to test.

    The training split is the unlabeled images, as SNGAN (Miyato et al. 2018) was trained, at 48x48; they show more than
    the ten classes. To train a classifier, take the labeled ones.

    Args:
        root: Folder to download to; or a zip or folder of images (train/*.png), as `gan.data.Folder` reads.
        image_size: Height and width (a number, or [height, width]) that images are resized to.
        batch_size: Real images of one discriminator update, all processes together.
        flip: Mirror images left to right at random; on, as photographs are as likely either way.
        num_workers: Worker processes that resize, if the set is too large for memory (at 64 pixels and more).
        labeled: Train with the 5,000 labeled images instead, and know the classes of the test images.
        num_images: Train with so many of the images, the same share of each class; None: all.
        fraction: Train with this share of the images, of each class; None: all.
        subset_seed: Which images those are.
    """

    folder = "stl10_binary"

    def __init__(
        self,
        root: str = "data",
        image_size: ImageSize = 48,
        batch_size: int = 64,
        flip: bool = True,
        num_workers: int = 4,
        labeled: bool = False,
        num_images: int | None = None,
        fraction: float | None = None,
        subset_seed: int = 0,
    ) -> None:
        page = "https://cs.stanford.edu/~acoates/stl10"
        subset = Subset(num_images, fraction, subset_seed)
        self.labeled = labeled
        classes = class_names.STL10 if labeled else ()
        super().__init__(
            root, page, batch_size, flip, Frame(image_size, 3), classes=classes, num_workers=num_workers, subset=subset
        )

    def read(self, split: str, download: bool) -> ArraySource:
        """Return a split from torchvision's files."""
        from torchvision.datasets import STL10

        file = "unlabeled" if split == "train" and not self.labeled else split
        dataset = STL10(self.root, split=file, download=download)
        pixels = dataset.data.transpose(0, 2, 3, 1)  # (n, 3, 96, 96) -> (n, 96, 96, 3)
        labels = _int64(dataset.labels) if self.labeled else torch.zeros(len(pixels), dtype=torch.int64)
        return ArraySource(pixels, labels, self.frame)


class MNIST(Published):
    """MNIST (LeCun et al. 1998): 60,000 and 10,000 handwritten digits, gray, 28x28 in a black margin of two pixels.

    The margin makes 32x32 of them and leaves their pixels as they are, which resizing would blur.

    Args:
        root: Folder to download to; or a zip or folder of images (train/<class>/*.png), as `gan.data.Folder` reads.
        image_size: Height and width; above 32, the padded images are resized.
        batch_size: Real images of one discriminator update, all processes together.
        flip: Mirror images left to right at random; off, as a mirrored digit is none.
        num_images: Train with so many of the images, the same share of each class; None: all.
        fraction: Train with this share of the images, of each class; None: all.
        subset_seed: Which images those are.
    """

    folder = "MNIST/raw"

    def __init__(
        self,
        root: str = "data",
        image_size: int = 32,
        batch_size: int = 64,
        flip: bool = False,
        num_images: int | None = None,
        fraction: float | None = None,
        subset_seed: int = 0,
    ) -> None:
        page = "https://ossci-datasets.s3.amazonaws.com/mnist/"
        subset = Subset(num_images, fraction, subset_seed)
        super().__init__(
            root,
            page,
            batch_size,
            flip,
            Frame(image_size, 1, canvas=min(image_size, 32)),
            classes=class_names.DIGITS,
            subset=subset,
        )

    def read(self, split: str, download: bool) -> ArraySource:
        """Return a split from torchvision's files."""
        from torchvision.datasets import MNIST

        dataset = MNIST(self.root, train=split == "train", download=download)
        return ArraySource(dataset.data.numpy(), dataset.targets, self.frame)


class FashionMNIST(Published):
    """Fashion-MNIST (Xiao et al. 2017): 60,000 and 10,000 clothes, gray, 28x28 in a black margin of two pixels.

    The margin makes 32x32 of them and leaves their pixels as they are, which resizing would blur.

    Args:
        root: Folder to download to; or a zip or folder of images (train/<class>/*.png), as `gan.data.Folder` reads.
        image_size: Height and width; above 32, the padded images are resized.
        batch_size: Real images of one discriminator update, all processes together.
        flip: Mirror images left to right at random; off, as the shoes all point to the left.
        num_images: Train with so many of the images, the same share of each class; None: all.
        fraction: Train with this share of the images, of each class; None: all.
        subset_seed: Which images those are.
    """

    folder = "FashionMNIST/raw"

    def __init__(
        self,
        root: str = "data",
        image_size: int = 32,
        batch_size: int = 64,
        flip: bool = False,
        num_images: int | None = None,
        fraction: float | None = None,
        subset_seed: int = 0,
    ) -> None:
        page = "https://github.com/zalandoresearch/fashion-mnist"
        subset = Subset(num_images, fraction, subset_seed)
        super().__init__(
            root,
            page,
            batch_size,
            flip,
            Frame(image_size, 1, canvas=min(image_size, 32)),
            classes=class_names.CLOTHES,
            subset=subset,
        )

    def read(self, split: str, download: bool) -> ArraySource:
        """Return a split from torchvision's files."""
        from torchvision.datasets import FashionMNIST

        dataset = FashionMNIST(self.root, train=split == "train", download=download)
        return ArraySource(dataset.data.numpy(), dataset.targets, self.frame)


class CelebA(Published):
    """CelebA (Liu et al. 2015), aligned: 162,770 and 19,962 faces, 178x218, cropped to their middle square.

    Args:
        root: Folder to download to; or a zip or folder of images (train/*.png), as `gan.data.Folder` reads.
        image_size: Height and width (a number, or [height, width]) that the 178x178 middles are resized to.
        batch_size: Real images of one discriminator update, all processes together.
        flip: Mirror images left to right at random; on, as photographs are as likely either way.
        num_workers: Worker processes that decode.
        num_images: Train with so many of the images, the same share of each class; None: all.
        fraction: Train with this share of the images, of each class; None: all.
        subset_seed: Which images those are.
    """

    folder = "celeba"

    def __init__(
        self,
        root: str = "data",
        image_size: ImageSize = 64,
        batch_size: int = 64,
        flip: bool = True,
        num_workers: int = 4,
        num_images: int | None = None,
        fraction: float | None = None,
        subset_seed: int = 0,
    ) -> None:
        page = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
        subset = Subset(num_images, fraction, subset_seed)
        super().__init__(
            root, page, batch_size, flip, Frame(image_size, 3), classes=(), num_workers=num_workers, subset=subset
        )

    def read(self, split: str, download: bool) -> FileSource:
        """Return a split from torchvision's files."""
        from torchvision.datasets import CelebA

        names = CelebA(self.root, split=split, download=download).filename
        files = FolderFiles(os.path.join(self.root, CelebA.base_folder, "img_align_celeba"))
        if missing := set(names) - files.sizes.keys():
            raise FileNotFoundError(f"{len(missing)} images are missing from {files.root!r}, as {min(missing)!r}")
        return FileSource(files, dict.fromkeys(names, 0), self.frame)


def _int64(labels: ArrayLike) -> torch.Tensor:
    return torch.from_numpy(np.asarray(labels, dtype=np.int64))
