"""Bytes that a run reads and writes: the tensors of every operation, each counted once an operation.

They depend on the code alone, not on the device's speed: divided by its bandwidth they are the least time of operations
that are not fused. Caches make it less, operations that read a tensor several times more.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.device import Run

COPIES_NOTHING = "_unsafe_view", "_reshape_alias"
KERNELS = {  # of ConvNorm in Triton, which torch's dispatcher does not see
    "transforms": ["transform"],
    "products": ["products", "kernels_to_points", "points_to_kernels"],
    "spectrum": ["spectrum"],
}


class Traffic(TorchDispatchMode):
    """Adds up the sizes of all tensors that operations take and return, in `bytes`."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and add what it moves."""
        made = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if not func.is_view and "empty" not in name and name not in COPIES_NOTHING:
            self.add(args, kwargs, made)
        return made

    def add(self, *values: Any) -> None:
        """Add the sizes of the tensors among some values."""
        self.bytes += sum(leaf.nbytes for leaf in tree_leaves(values) if isinstance(leaf, Tensor))


class _Counted:
    """A kernel of Triton that reports the arguments of its launches."""

    def __init__(self, kernel: Any, report: Callable[..., None]) -> None:
        self.kernel, self.report = kernel, report

    def __getitem__(self, grid: Any) -> Callable[..., None]:
        def launch(*arguments: Any, **options: Any) -> None:
            distinct = {id(each): each for each in arguments if isinstance(each, Tensor)}
            self.report(*distinct.values())
            self.kernel[grid](*arguments, **options)

        return launch


@contextmanager
def _counting_kernels(report: Callable[..., None]) -> Iterator[None]:
    from convnorm.fast.gpu import launch  # which imports Triton

    with ExitStack() as stack:
        for module, names in KERNELS.items():
            of = getattr(launch, module)
            for name in names:
                stack.enter_context(patch.object(of, name, _Counted(getattr(of, name), report)))
        yield


def moved_megabytes(run: Run, device: torch.device) -> float:
    """Return the MB that a run moves on a device, the kernels of ConvNorm in Triton included."""
    with Traffic() as traffic, ExitStack() as stack:
        if device.type == "cuda" and find_spec("triton"):
            stack.enter_context(_counting_kernels(traffic.add))
        run()
    return traffic.bytes / 1e6
