"""A split of a data set: images by index, each made to fit its frame when it is asked for."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gan.data.decode import Frame, decode
from gan.data.files import ImageFiles


class Source(ABC):
    """Images by index, as uint8 (channels, size, size).

    Attributes:
        frame: What the images are made to fit.
        labels: int64 (n,); zeros where there are no classes.
        encoded_bytes: Bytes that must be decoded to see all images once; 0 where they are pixels already.
    """

    def __init__(self, frame: Frame, labels: Tensor, encoded_bytes: int = 0) -> None:
        self.frame = frame
        self.labels = labels
        self.encoded_bytes = encoded_bytes

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def decoded_bytes(self) -> int:
        """Bytes of all images in memory."""
        return len(self) * self.frame.channels * self.frame.size**2

    @abstractmethod
    def __getitem__(self, index: int) -> Tensor:
        """Return an image, or raise a ValueError that names its file."""

    @abstractmethod
    def contents(self) -> Iterator[bytes]:
        """Yield what each image is made from."""

    @cached_property
    def content_hash(self) -> str:
        """The sha256 (hex) of what the images are made from and what they are made to fit."""
        digest = hashlib.sha256(repr((len(self), self.frame)).encode())
        for content in self.contents():
            digest.update(hashlib.sha256(content).digest())
        return digest.hexdigest()

    def load(self) -> Tensor:
        """Return all images: uint8 (n, channels, size, size)."""
        images = torch.empty(len(self), self.frame.channels, self.frame.size, self.frame.size, dtype=torch.uint8)
        for index in range(len(self)):
            images[index] = self[index]
        return images


class MemorySource(Source):
    """Images that fit already.

    Args:
        images: uint8 (n, channels, size, size).
        labels: int64 (n,).
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        super().__init__(Frame(images.shape[-1], images.shape[1]), labels)
        self.images = images

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]

    def contents(self) -> Iterator[bytes]:
        """Yield the pixels."""
        return (image.tobytes() for image in self.images.numpy())


class ArraySource(Source):
    """Images of an array.

    Args:
        pixels: uint8 (n, height, width) or (n, height, width, 3).
        labels: int64 (n,).
        frame: What the images are made to fit.
    """

    def __init__(self, pixels: NDArray[np.uint8], labels: Tensor, frame: Frame) -> None:
        super().__init__(frame, labels)
        self.pixels = pixels

    def __getitem__(self, index: int) -> Tensor:
        from PIL import Image

        return self.frame.fit(Image.fromarray(self.pixels[index]))

    def contents(self) -> Iterator[bytes]:
        """Yield the pixels before they are made to fit."""
        return (image.tobytes() for image in self.pixels)


class FileSource(Source):
    """Images of files.

    Args:
        files: Where to read them.
        labels: Labels by file name; the images come in this order.
        frame: What the images are made to fit.
    """

    def __init__(self, files: ImageFiles, labels: Mapping[str, int], frame: Frame) -> None:
        super().__init__(frame, torch.tensor(list(labels.values())), sum(files.sizes[name] for name in labels))
        self.files = files
        self.names = list(labels)

    def __getitem__(self, index: int) -> Tensor:
        name = self.names[index]
        with self._naming(name):
            return self.frame.fit(decode(self.files.read(name)))

    def contents(self) -> Iterator[bytes]:
        """Yield the files."""
        for name in self.names:
            with self._naming(name):
                content = self.files.read(name)
            yield content

    @contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            raise ValueError(f"{name!r} in {self.files.root!r} {error}") from None
