"""The processes that share the work of an evaluation; a single one needs no process group."""

import os
from collections.abc import Iterator

import torch
from torch import Tensor, distributed


def process_group() -> tuple[int, int]:
    """Return this process' rank and the number of processes."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def is_first_of_node() -> bool:
    """Return whether this process is the one of its machine that writes files."""
    return int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", 0))) == 0


def my_blocks(total: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield (start, length) of this process' blocks of `total` things.

    They are cut into blocks of equal size but the last, whatever the number of processes, and block k goes to process k
    modulo that number: a network sees the same batches, hence rounds in the same way, in 1 process and in n.
    """
    rank, world_size = process_group()
    for start in range(rank * size, total, world_size * size):
        yield start, min(size, total - start)


def all_reduce(*tensors: Tensor) -> None:
    """Replace each tensor by its sum over all processes; every process has to call it with the same shapes."""
    if process_group()[1] > 1:
        for tensor in tensors:
            distributed.all_reduce(tensor)


def any_process(flag: bool, device: torch.device) -> bool:
    """Return whether `flag` is true in any process, so that all go the same way."""
    if process_group()[1] == 1:
        return flag
    number = torch.tensor(float(flag), device=device)
    all_reduce(number)
    return bool(number)
