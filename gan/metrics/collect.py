"""One pass over a set of images: features, and all statistics of them at once, shared among the processes."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, distributed, nn

from gan.metrics.statistics import Batch, Statistics, Sums, all_reduce

Collected = dict[Statistics, Sums]
Blocks = Iterable[tuple[int, Tensor]]


def process_group() -> tuple[int, int]:
    """Return this process' rank and the number of processes."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def any_process(flag: bool, device: torch.device) -> bool:
    """Return whether `flag` is true in any process, so that all take the same way."""
    flags = {"flag": torch.tensor(float(flag), device=device)}
    all_reduce(flags)
    return bool(flags["flag"])


def my_blocks(total: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield (start, length) of this process' blocks of a set of images.

    The set is cut into blocks of equal size but the last, whatever the number of processes, and block k goes to process
    k modulo that number: a feature network sees the same batches, hence rounds in the same way, in 1 process and in n.
    """
    rank, world_size = process_group()
    for start in range(rank * size, total, world_size * size):
        yield start, min(size, total - start)


def split_blocks(batches: Iterable[Tensor], total: int, size: int) -> Iterator[tuple[int, Tensor]]:
    """Yield (start, images) of this process' blocks of all images, which come in batches of any size."""
    mine = dict(my_blocks(total, size))
    start, waiting = 0, torch.empty(0)
    for batch in batches:
        waiting = torch.cat([waiting, batch]) if len(waiting) else batch
        while len(waiting) >= min(size, total - start) > 0:
            block, waiting = waiting[:size], waiting[size:]
            if start in mine:
                yield start, block
            start += len(block)


def collect(
    network: nn.Module,
    statistics: Iterable[Statistics],
    example: Batch,
    blocks: Blocks,
    progress: Callable[[int], None],
) -> Collected:
    """Return the statistics of a whole set of images, in every process, each having looked at its share.

    Args:
        network: The feature network, on the device it shall run on.
        statistics: Which statistics.
        example: What the network returns; also tells how many images the set has.
        blocks: (start, uint8 images (n, C, H, W)) of this process' share, see `my_blocks`.
        progress: Called with the number of images done, over all processes (taken to be equally fast).
    """
    device = example.features.device
    collected = {statistic: statistic.zeros(example) for statistic in set(statistics)}
    done, world_size = 0, process_group()[1]
    for start, images in blocks:
        features, logits = network(images.to(device))
        batch = Batch(features, logits, start, example.total)
        for statistic, sums in collected.items():
            statistic.add(sums, batch)
        done += len(images)
        progress(min(example.total, done * world_size))
    for statistic in sorted(collected, key=repr):  # the same order in every process
        all_reduce(collected[statistic])
    return collected
