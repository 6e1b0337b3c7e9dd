"""Sets of images as an evaluation goes through them: a block at a time, each process its share."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from gan.data import Folder, ImageData
from gan.distributed import my_blocks

Blocks = Iterator[tuple[int, Tensor]]


@dataclass(frozen=True)
class ImageSet:
    """Images to go through.

    Attributes:
        total: Their number, over all processes.
        batch_size: The number of images in a block; the last one may have fewer.
        blocks: Starts this process' iteration: (number of the first, uint8 images (n, C, H, W)).
    """

    total: int
    batch_size: int
    blocks: Callable[[], Blocks]


def sampled(sample: Callable[[int, int], Tensor], total: int, batch_size: int) -> ImageSet:
    """Return the set of `total` images of which `sample(n, start)` makes n from number `start` on."""

    def blocks() -> Blocks:
        return ((start, sample(n, start)) for start, n in my_blocks(total, batch_size))

    return ImageSet(total, batch_size, blocks)


def stored(read: Callable[[Iterable[tuple[int, int]]], Iterable[Tensor]], total: int, batch_size: int) -> ImageSet:
    """Return the set of `total` images of which `read` gets, for each (number of the first, n), those n."""

    def blocks() -> Blocks:
        mine = list(my_blocks(total, batch_size))
        return zip((start for start, _ in mine), read(mine), strict=True)

    return ImageSet(total, batch_size, blocks)


def joined(sets: Sequence[ImageSet]) -> ImageSet:
    """Return the set of all images of several sets of equal batch size, one set after the other."""

    def blocks() -> Blocks:
        offset = 0
        for part in sets:
            yield from ((offset + start, images) for start, images in part.blocks())
            offset += part.total

    return ImageSet(sum(part.total for part in sets), sets[0].batch_size, blocks)


def split_of(data: ImageData, split: str, batch_size: int) -> ImageSet:
    """Return the images of a split."""
    return stored(partial(data.reference, split), data.num_images(split), batch_size)


def images_of(root: str, like: ImageData, batch_size: int) -> ImageSet:
    """Return all images of a folder or zip, made to fit as those of `like` are.

    Raises:
        ValueError: If they are not there, or cannot be read.
    """
    try:
        folder = Folder(root, like.image_size, like.channels, flip=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"images: {error}") from None
    folder.frame = like.frame  # with its canvas, if it has one: small images get margins then, and keep their pixels
    return joined([split_of(folder, split, batch_size) for split in folder.splits])
