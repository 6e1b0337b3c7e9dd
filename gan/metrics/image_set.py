"""Sets of images as an evaluation goes through them: a block at a time, each process its share."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gan.metrics.process import my_blocks

Blocks = Iterator[tuple[int, Tensor]]


@dataclass(frozen=True)
class ImageSet:
    """Images to go through.

    Attributes:
        total: Their number, over all processes.
        blocks: Starts this process' iteration: (number of the first, uint8 images (n, C, H, W)).
    """

    total: int
    blocks: Callable[[], Blocks]


def sampled(sample: Callable[[int, int], Tensor], total: int, batch_size: int) -> ImageSet:
    """Return the set of `total` images of which `sample(n, start)` makes n from number `start` on."""
    return ImageSet(total, lambda: ((start, sample(n, start)) for start, n in my_blocks(total, batch_size)))


def stored(batches: Callable[[], Iterable[Tensor]], total: int, batch_size: int) -> ImageSet:
    """Return the set of the `total` images that `batches` iterates over, in batches of any size."""
    return ImageSet(total, lambda: _split(batches(), total, batch_size))


def _split(batches: Iterable[Tensor], total: int, size: int) -> Blocks:
    mine = dict(my_blocks(total, size))
    start, waiting = 0, torch.empty(0)
    for batch in batches:
        waiting = torch.cat([waiting, batch]) if len(waiting) else batch
        while len(waiting) >= min(size, total - start) > 0:
            block, waiting = waiting[:size], waiting[size:]
            if start in mine:
                yield start, block
            start += len(block)
