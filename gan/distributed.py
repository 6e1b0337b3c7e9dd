"""Work and sums that several processes share. A single process needs no process group."""

import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

_alone = False
Item = TypeVar("Item")


def process_group() -> tuple[int, int]:
    """Return this process' rank and the number of processes: (0, 1) without a process group."""
    if dist.is_available() and dist.is_initialized() and not _alone:
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


@contextmanager
def alone() -> Iterator[None]:
    """Share no work with other processes: here, `process_group` returns (0, 1)."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


def warn(message: str) -> None:
    """Warn, in the first process only."""
    if process_group()[0] == 0:
        warnings.warn(message, stacklevel=2)


def is_first_of_node() -> bool:
    """Return whether this process is the first one of its machine, which writes files."""
    return int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", 0))) == 0


def my_blocks(total: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield (start, length) of this process' blocks of `total` items.

    The blocks do not depend on the number of processes; block k goes to process k modulo that number. So a network
    sees the same batches, and rounds in the same way, in one process and in several.
    """
    rank, world_size = process_group()
    for start in range(rank * size, total, world_size * size):
        yield start, min(size, total - start)


def measure_together(items: Sequence[Item], measure: Callable[[Item], float], device: torch.device) -> list[float]:
    """Return what `measure` returns for each item. Each process measures its share; every process must call it.

    Args:
        items: The same in every process.
        measure: Returns the same in every process, bit for bit.
        device: Where the processes exchange tensors.

    Raises:
        ValueError: in every process, if `measure` raises one.
    """
    rank, processes = process_group()
    if processes == 1:
        return [measure(item) for item in items]
    own = torch.zeros(len(items), dtype=torch.float64, device="cpu")
    for i in range(rank, len(items), processes):
        try:
            own[i] = measure(items[i])
        except ValueError:  # the others wait for the sum
            own[i] = math.nan
    values = own.to(device)
    all_reduce(values)
    return [measure(item) if math.isnan(value) else value for item, value in zip(items, values.tolist(), strict=True)]


def all_reduce(*tensors: Tensor) -> None:
    """Replace each tensor by its sum over all processes. Every process must call it, with equal shapes."""
    if process_group()[1] > 1:
        for tensor in tensors:
            dist.all_reduce(tensor)


def any_process(flag: bool, device: torch.device) -> bool:
    """Return whether `flag` is true in any process. Every process must call it."""
    if process_group()[1] == 1:
        return flag
    number = torch.tensor(float(flag), device=device)
    all_reduce(number)
    return bool(number)


class _SumOverProcesses(torch.autograd.Function):
    """A sum over processes. It is its own adjoint: the gradient of each term is the sum of all processes' gradients."""

    @staticmethod
    def forward(ctx: Any, term: Tensor) -> Tensor:
        total = term.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return sum_over_processes(gradients[0])


def sum_over_processes(term: Tensor) -> Tensor:
    """Return the sum of all processes' tensors. It can be differentiated any number of times."""
    total: Tensor = _SumOverProcesses.apply(term)
    return total


def average_gradients(parameters: Iterable[nn.Parameter], values: Tensor) -> Tensor:
    """Replace each gradient by its mean over all processes, in one collective.

    Every process must have gradients for the same parameters. With one process nothing happens.

    Args:
        parameters: The parameters whose gradients are averaged.
        values: A vector to average along with them, at no extra collective.

    Returns:
        The mean of `values` over all processes.
    """
    if process_group()[1] == 1:
        return values
    gradients = [_as_in_memory(each.grad, each) for each in parameters if each.grad is not None]
    flat = torch.cat([*(gradient.flatten() for gradient in gradients), values])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    *means, mean_values = flat.split([*(gradient.numel() for gradient in gradients), values.numel()])
    means = [mean.view_as(gradient) for mean, gradient in zip(means, gradients, strict=True)]
    torch._foreach_copy_(gradients, means)
    return mean_values


def _as_in_memory(gradient: Tensor, parameter: Tensor) -> Tensor:
    """Return a view of a gradient whose axes are in the order of the parameter's strides.

    It is contiguous where gradient and parameter have the same memory format, so flattening it copies nothing, also in
    channels_last. The order is the parameter's because that is the same in every process.
    """
    return gradient.permute(sorted(range(parameter.dim()), key=parameter.stride, reverse=True))
