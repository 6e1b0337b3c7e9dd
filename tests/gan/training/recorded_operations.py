"""What a CUDA graph does, on the CPU: operations are recorded with the tensors that they read, and run again."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only


class Recorder(TorchDispatchMode):
    """Notes every operation with its arguments and results. Numbers are kept as they are, as in a CUDA graph."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, tuple[Any, ...], dict[str, Any], list[Tensor]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing")
        read = tree_map_only(Tensor, _alias, (args, kwargs or {}))
        results = func(*args, **(kwargs or {}))
        self.operations.append((func, *read, [_alias(tensor) for tensor in _tensors(results)]))
        return results

    def replay(self) -> None:
        """Run everything again; results go to where they were recorded."""
        with torch.no_grad():
            for func, args, kwargs, recorded in self.operations:
                for old, new in zip(recorded, _tensors(func(*args, **kwargs)), strict=True):
                    if old.data_ptr() != new.data_ptr():  # neither a view nor in place
                        old.copy_(new)


def capture(
    run: Callable[[], dict[str, Tensor]], state: Callable[[], list[Tensor]]
) -> tuple[dict[str, Tensor], Callable[[], None]]:
    """Record a function, as `gan.training.cuda_graphs.capture` does. What it did to the state is undone."""
    before = [tensor.clone() for tensor in state()]
    with Recorder() as recorder:
        returned = run()
    with torch.no_grad():
        for tensor, old in zip(state(), before, strict=True):
            tensor.copy_(old)
    for tensor in returned.values():
        tensor.fill_(torch.nan)  # a recording computes nothing
    return returned, recorder.replay


def _alias(tensor: Tensor) -> Tensor:
    """Return a tensor on the same memory, whose shape stays what it is."""
    return torch.ops.aten.alias(tensor)


def _tensors(results: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(results) if isinstance(leaf, Tensor)]
