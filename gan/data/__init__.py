"""Data sets. They are imported on first use: reading images (`gan.data.sources`) needs no Lightning."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gan.data.digits import Digits
    from gan.data.folder import Folder
    from gan.data.image_data import ImageData
    from gan.data.published import CIFAR10, CIFAR100, MNIST, STL10, CelebA, FashionMNIST

__all__ = ["CIFAR10", "CIFAR100", "MNIST", "STL10", "CelebA", "Digits", "FashionMNIST", "Folder", "ImageData"]


def __getattr__(name: str) -> Any:
    """Import all data sets at once: the command line finds them among the subclasses of `ImageData`."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    for module in "image_data", "digits", "folder", "published":
        found = import_module(f"{__name__}.{module}")
        globals().update({each: getattr(found, each) for each in __all__ if hasattr(found, each)})
    return globals()[name]
