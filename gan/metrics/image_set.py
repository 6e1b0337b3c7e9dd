"""Sets of images as scores are computed of them: a batch at a time, each process its share."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gan.checks import check_at_least
from gan.data.decode import Frame, decode
from gan.data.files import ImageFiles, open_files
from gan.data.loaders import stream, usable_cores
from gan.data.sources import ArraySource, FileSource, MemorySource, Source
from gan.distributed import my_blocks
from gan.images import ImageSize, height_and_width

if TYPE_CHECKING:
    from PIL import Image

Images = str | Path | Tensor | Source
DECODING_PROCESSES = 4  # at most, for files


@dataclass(frozen=True)
class ImageSet:
    """A set of images, read batch by batch.

    Attributes:
        num_images: Their number, over all processes.
        batch_size: Images in a batch; the last one may have fewer.
        read: Called with (index of the first image, n) of each batch; returns uint8 images (n, C, H, W) for each.
    """

    num_images: int
    batch_size: int
    read: Callable[[Iterable[tuple[int, int]]], Iterable[Tensor]]

    def batches(self) -> Iterator[tuple[int, Tensor]]:
        """Yield this process' batches: index of the first image, and uint8 images (n, C, H, W)."""
        mine = list(my_blocks(self.num_images, self.batch_size))
        return zip((start for start, _ in mine), self.read(mine), strict=True)


def image_set(source: Source, batch_size: int) -> ImageSet:
    """Return all images of a source as a set."""

    def read(batches: Iterable[tuple[int, int]]) -> Iterable[Tensor]:
        if isinstance(source, MemorySource):
            return (source.images[start : start + n] for start, n in batches)
        requests = ((np.arange(start, start + n), np.zeros(n, np.bool_)) for start, n in batches)
        workers = min(DECODING_PROCESSES, usable_cores()) if isinstance(source, FileSource) else 0
        return (images for images, _ in stream(source, requests, workers))

    return ImageSet(len(source), batch_size, read)


def open_images(images: Images, size: ImageSize | None = None, channels: int | None = None) -> Source:
    """Open a folder, a zip or a tensor of images.

    Args:
        images: A folder or zip, all of whose image files are taken, whatever its subfolders; uint8 images (N, 1 or 3,
            H, W); or a source, for example a split of a data set, which stays as it is.
        size: Height and width that images are made to fit (a number if they are equal): the middle of the same shape is
            cropped, then resized. None: images keep their size, and those of files must all have the same.
        channels: 1 (gray) or 3 (RGB) that images are converted to. None: a tensor keeps its own, files become RGB.

    Raises:
        OSError: There is no such folder or zip.
        ValueError: It holds no images, or they cannot be read, or the tensor holds something else.
    """
    if channels not in (None, 1, 3):
        raise ValueError(f"channels must be 1 (gray) or 3 (RGB), got {channels}")
    if size is not None:
        check_at_least(1, size=min(height_and_width(size)))
    if isinstance(images, Source):
        return images
    if isinstance(images, Tensor):
        return _tensor_source(images, size, channels)
    files = open_files(os.path.expanduser(images))
    return _file_source(files, _keep_size(files, channels or 3) if size is None else Frame(size, channels or 3))


def open_folder(root: str | Path, frame: Frame) -> Source:
    """Open all images of a folder or zip, made to fit a frame.

    Raises:
        OSError: There is no such folder or zip.
        ValueError: It holds no images, or they cannot be read.
    """
    return _file_source(open_files(os.path.expanduser(root)), frame)


def size_of(source: Source) -> tuple[int, int, int]:
    """Return channels, height and width of the images of a source that is not empty."""
    channels, height, width = source[0].shape
    return channels, height, width


@dataclass(frozen=True)
class _SameSize(Frame):
    """The size that all images of a set must have."""

    def fit(self, image: "Image.Image") -> Tensor:
        if image.size != (self.width, self.height):
            raise ValueError(
                f"has {image.width}x{image.height} pixels, the first image {self.width}x{self.height}: "
                "choose a size that all are made to fit"
            )
        return super().fit(image)


def _keep_size(files: ImageFiles, channels: int) -> Frame:
    name = next(iter(files.sizes))
    try:
        width, height = decode(files.read(name)).size
    except ValueError as error:
        raise ValueError(f"{name!r} in {files.root!r} {error}") from None
    return _SameSize((height, width), channels)


def _file_source(files: ImageFiles, frame: Frame) -> FileSource:
    return FileSource(files, dict.fromkeys(files.sizes, 0), frame)


def _tensor_source(images: Tensor, size: ImageSize | None, channels: int | None) -> Source:
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3) or not images.numel():
        kind = f"{str(images.dtype).removeprefix('torch.')} {tuple(images.shape)}"
        raise ValueError(f"a tensor of images must be uint8 (N, 1 or 3, H, W), got {kind}")
    labels = torch.zeros(len(images), dtype=torch.int64)
    channels = channels or images.shape[1]
    height, width = images.shape[2:]
    frame = Frame((height, width) if size is None else size, channels)
    if images.shape[1:] == (channels, frame.height, frame.width):
        return MemorySource(images.cpu(), labels)
    pixels = images.cpu().permute(0, 2, 3, 1).numpy()
    return ArraySource(pixels[..., 0] if images.shape[1] == 1 else pixels, labels, frame)
