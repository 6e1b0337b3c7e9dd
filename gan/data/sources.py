"""A split of a data set: images by index, each made to fit its frame when it is asked for."""

import copy
import hashlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gan.data.decode import DamagedError, Frame, decode
from gan.data.files import ImageFiles
from gan.data.words import some

Damaged = Literal["error", "skip"]


class Source(ABC):
    """Images by index, as uint8 (channels, height, width).

    Attributes:
        frame: What the images are made to fit.
        labels: int64 (n,); zeros where there are no classes.
        encoded_bytes: Bytes that must be decoded to see all images once; 0 where they are pixels already.
        damaged: Names of images that others have taken the place of, and why, as far as they have been met.
        advice: What a message about damaged images ends with.
    """

    advice = ""

    def __init__(self, frame: Frame, labels: Tensor, encoded_bytes: int = 0) -> None:
        self.frame = frame
        self.labels = labels
        self.encoded_bytes = encoded_bytes
        self.damaged: dict[str, str] = {}
        self._said: set[str] = set()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def decoded_bytes(self) -> int:
        """Bytes of all images in memory."""
        return len(self) * self.frame.channels * self.frame.height * self.frame.width

    @abstractmethod
    def __getitem__(self, index: int) -> Tensor:
        """Return an image, or raise a ValueError that names its file."""

    @abstractmethod
    def contents(self) -> Iterator[bytes]:
        """Yield what each image is made from."""

    @abstractmethod
    def select(self, indices: Tensor) -> "Source":
        """Return the source of some of the images."""

    def at(self, seed: int, position: int) -> "Source":
        """Return the images as training sees them at a position of its order, see `Frame.at`."""
        if not self.frame.varies:
            return self
        other = copy.copy(self)
        other.frame = self.frame.at(seed, position)
        return other

    def relabelled(self, labels: Tensor) -> "Source":
        """Return the same images with other labels: int64 (n,)."""
        other = copy.copy(self)
        other.labels = labels
        return other

    @cached_property
    def content_hash(self) -> str:
        """The sha256 (hex) of what the images are made from and what they are made to fit."""
        digest = hashlib.sha256(repr((len(self), self.frame)).encode())
        for content in self.contents():
            digest.update(hashlib.sha256(content).digest())
        return digest.hexdigest()

    @property
    def fingerprint(self) -> str:
        """A sha256 (hex) that tells this set of images from another, without reading files."""
        return self.content_hash

    def load(self) -> Tensor:
        """Return all images: uint8 (n, channels, height, width).

        Raises:
            ValueError: If images are damaged; the message names them.
        """
        frame, faults = self.frame, []
        images = torch.empty(len(self), frame.channels, frame.height, frame.width, dtype=torch.uint8)
        for index in range(len(self)):
            try:
                images[index] = self[index]
            except DamagedError as error:
                faults.append(str(error))
        if faults:
            count = "" if len(faults) == 1 else f"{len(faults):,} images are damaged: "
            raise DamagedError(f"{count}{some(faults, 10)}{self.advice}")
        self.say_damaged(self.damaged)
        return images

    def say_damaged(self, found: Mapping[str, str]) -> None:
        """Name the images that others take the place of, once each: those found here, and in a worker process."""
        new = {name: reason for name, reason in found.items() if name not in self._said}
        self.damaged.update(new)
        self._said.update(new)
        if new:
            named = some((f"{name!r} {reason}" for name, reason in new.items()), 10)
            warnings.warn(f"damaged, others take their place ({len(self._said):,} so far): {named}", stacklevel=2)


class MemorySource(Source):
    """Images that fit already.

    Args:
        images: uint8 (n, channels, height, width).
        labels: int64 (n,).
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        super().__init__(Frame((images.shape[-2], images.shape[-1]), images.shape[1]), labels)
        self.images = images

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]

    def contents(self) -> Iterator[bytes]:
        """Yield the pixels."""
        return (image.tobytes() for image in self.images.numpy())

    def select(self, indices: Tensor) -> "MemorySource":
        return MemorySource(self.images[indices], self.labels[indices])


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

    def select(self, indices: Tensor) -> "ArraySource":
        return ArraySource(self.pixels[indices.numpy()], self.labels[indices], self.frame)


class FileSource(Source):
    """Images of files.

    Args:
        files: Where to read them.
        labels: Labels by file name; the images come in this order.
        frame: What the images are made to fit.
        if_damaged: "error", or "skip": the next image of the same class that can be read takes the place of a damaged
            one. Which one that is depends on the files alone.
        advice: What the error of a damaged file ends with.
    """

    def __init__(
        self,
        files: ImageFiles,
        labels: Mapping[str, int],
        frame: Frame,
        if_damaged: Damaged = "error",
        advice: str = "",
    ) -> None:
        numbers = torch.tensor(list(labels.values()), dtype=torch.int64)
        super().__init__(frame, numbers, sum(files.sizes[name] for name in labels))
        self.files = files
        self.names = list(labels)
        self.if_damaged = if_damaged
        self.advice = advice

    def __getitem__(self, index: int) -> Tensor:
        if self.if_damaged == "error":
            return self._decoded(index)
        for candidate in self._candidates(index):
            try:
                return self._decoded(candidate)
            except DamagedError as error:
                name = self.names[candidate]
                self.damaged[name] = str(error).removeprefix(self._prefix(name))
        raise ValueError(f"no image of class {int(self.labels[index])} in {self.files.root!r} can be read")

    def _candidates(self, index: int) -> Iterator[int]:
        """Yield the image, then those of its class that follow, in a circle; not what is known to be damaged."""
        if self.names[index] not in self.damaged:
            yield index
        same = (self.labels == self.labels[index]).nonzero().squeeze(1).tolist()
        place = same.index(index)
        yield from (other for other in [*same[place + 1 :], *same[:place]] if self.names[other] not in self.damaged)

    def _decoded(self, index: int) -> Tensor:
        name = self.names[index]
        with self._naming(name):
            return self.frame.fit(decode(self.files.read(name)))

    def contents(self) -> Iterator[bytes]:
        """Yield the files."""
        for name in self.names:
            try:
                with self._naming(name):
                    content = self.files.read(name)
            except DamagedError:
                if self.if_damaged == "error":
                    raise
                content = b""
            yield content

    def select(self, indices: Tensor) -> "FileSource":
        labels = {self.names[index]: int(self.labels[index]) for index in indices.tolist()}
        return FileSource(self.files, labels, self.frame, self.if_damaged, self.advice)

    @property
    def fingerprint(self) -> str:
        sizes = [(name, self.files.sizes[name]) for name in self.names]
        return hashlib.sha256(repr((self.frame, sizes)).encode()).hexdigest()

    def _prefix(self, name: str) -> str:
        return f"{name!r} in {self.files.root!r} "

    @contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        try:
            yield
        except DamagedError as error:
            raise DamagedError(f"{self._prefix(name)}{error}") from None
        except ValueError as error:
            raise ValueError(f"{self._prefix(name)}{error}") from None
