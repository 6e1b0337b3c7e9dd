from gan.data.digits import Digits
from gan.data.folder import Folder
from gan.data.image_data import ImageData
from gan.data.published import CIFAR10, CIFAR100, MNIST, STL10, CelebA, FashionMNIST

__all__ = ["CIFAR10", "CIFAR100", "MNIST", "STL10", "CelebA", "Digits", "FashionMNIST", "Folder", "ImageData"]
