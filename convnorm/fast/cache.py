"""What depends on sizes alone is made once, not in every pass."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

KEPT = 256  # of each kind in memory: a network has about ten, the largest of 100 kB for images of 32 pixels, MB for 224

Make = TypeVar("Make", bound=Callable[..., Any])


def cached(make: Make) -> Make:
    """Keep the tensors that a function makes of plain values for the next call, for compilers and exports too.

    Plain are numbers, data types, devices, ranges and tuples of them; compilers know no constant NamedTuples.
    """
    made: dict[tuple[Any, ...], Any] = {}

    @functools.wraps(make)
    def get(*values: Any) -> Any:
        if torch.compiler.is_dynamo_compiling():
            return get_for_graph(*values)[0]
        if (constants := made.get(values)) is None:
            # Whatever the first caller's mode, transform (of `torch.func`, whose tensors don't outlive it) and default
            with torch.inference_mode(False), torch._C._DisableFuncTorch(), torch.device("cpu"):
                constants = make(*values)
            tensors = [leaf for leaf in tree_leaves(constants) if isinstance(leaf, Tensor)]
            if any(type(tensor) is not Tensor for tensor in tensors):  # stand-ins of what traces: no numbers
                return constants
            for oldest in list(made)[: max(0, len(made) + 1 - KEPT)]:  # of a copy: other threads make and drop, too
                made.pop(oldest, None)
            made[values] = constants
        return constants

    def get_for_graph(*values: Any) -> tuple[Any]:
        # Parameters: their sizes are numbers for a compiler even where it was asked for symbols. In a tuple: of bare
        # tensors it refuses a second one.
        return (tree_map_only(Tensor, lambda tensor: nn.Parameter(tensor, requires_grad=False), get(*values)),)

    # As torch.compiler.assume_constant_result does, which imports the compiler: two seconds for who compiles nothing.
    get_for_graph._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return cast(Make, get)
