"""Work and sums that several processes share. A single process needs no process group."""

import os
from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def process_group() -> tuple[int, int]:
    """Return this process' rank and the number of processes."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
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
            dist.all_reduce(tensor)


def any_process(flag: bool, device: torch.device) -> bool:
    """Return whether `flag` is true in any process, so that all go the same way."""
    if process_group()[1] == 1:
        return flag
    number = torch.tensor(float(flag), device=device)
    all_reduce(number)
    return bool(number)


class _SumOverProcesses(torch.autograd.Function):
    """The sum is its own adjoint: what flows back into each process' term is the sum of what all do with the sum."""

    @staticmethod
    def forward(ctx: Any, term: Tensor) -> Tensor:
        total = term.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return sum_over_processes(gradients[0])


def sum_over_processes(term: Tensor) -> Tensor:
    """Return the sum of every process' tensor, differentiable any number of times."""
    total: Tensor = _SumOverProcesses.apply(term)
    return total


def average_gradients(parameters: Iterable[nn.Parameter], passenger: Tensor) -> Tensor:
    """Replace each gradient by its mean over all processes; with one process, do nothing.

    Every process must have gradients for the same parameters.

    Args:
        parameters: Those whose gradients are averaged.
        passenger: A vector that travels along: it costs no collective of its own.

    Returns:
        The mean of `passenger` over all processes.
    """
    if process_group()[1] == 1:
        return passenger
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([*(gradient.flatten() for gradient in gradients), passenger])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    *means, mean_passenger = flat.split([*(gradient.numel() for gradient in gradients), passenger.numel()])
    means = [mean.view_as(gradient) for mean, gradient in zip(means, gradients, strict=True)]
    torch._foreach_copy_(gradients, means)
    return mean_passenger
