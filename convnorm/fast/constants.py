"""A cache for the constant matrices, which depend on sizes alone."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

# Entries per function. A network needs about ten; the largest have 100 kB for images of 32 pixels, MB for 224.
MAX_ENTRIES = 256

Make = TypeVar("Make", bound=Callable[..., Any])


def cached(make: Make) -> Make:
    """Cache the tensors that a function returns. Compiled and exported graphs hold them as constants.

    The arguments must be numbers, data types, devices, ranges or tuples of these: compilers take no NamedTuple as a
    constant.
    """
    made: dict[tuple[Any, ...], Any] = {}

    @functools.wraps(make)
    def get(*values: Any) -> Any:
        if torch.compiler.is_dynamo_compiling():
            return get_for_graph(*values)[0]
        if (constants := made.get(values)) is None:
            # The result must not depend on the first caller's inference mode, default device or `torch.func` transform,
            # whose tensors are invalid after it.
            with torch.inference_mode(False), torch._C._DisableFuncTorch(), torch.device("cpu"):
                constants = make(*values)
            tensors = [leaf for leaf in tree_leaves(constants) if isinstance(leaf, Tensor)]
            if any(type(tensor) is not Tensor for tensor in tensors):  # a tracer's fake tensors have no values
                return constants
            # Other threads may change the dict meanwhile, so iterate over a copy.
            for oldest in list(made)[: max(0, len(made) + 1 - MAX_ENTRIES)]:
                made.pop(oldest, None)
            made[values] = constants
        return constants

    def get_for_graph(*values: Any) -> tuple[Any]:
        # As parameters, because their sizes stay numbers when a compiler was asked for symbolic sizes. In a tuple,
        # because the compiler refuses a second bare tensor.
        return (tree_map_only(Tensor, lambda tensor: nn.Parameter(tensor, requires_grad=False), get(*values)),)

    # What torch.compiler.assume_constant_result does, without importing the compiler, which takes two seconds.
    get_for_graph._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return cast(Make, get)
