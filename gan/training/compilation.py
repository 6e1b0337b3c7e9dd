"""Compilation of networks, with a fallback to eager mode."""

import functools
from collections.abc import Callable
from typing import Any

from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, fx, nn
from torch._dynamo import lookup_backend


def compile_network(network: nn.Module) -> None:
    """Compile a network at its first call, for batches of one size as the training has them."""
    network.compile(backend=_compiled_or_not, dynamic=False)


@functools.cache
def _warn_once(text: str) -> None:  # a step has several graphs
    rank_zero_warn(text)


def _compiled_or_not(graph: fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
    """Compile a graph with inductor. If that fails, as without a C++ compiler, warn and run the graph as it is."""
    try:
        return lookup_backend("inductor")(graph, inputs)
    except Exception as error:  # a compiler can raise anything
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        _warn_once(f"model.compile: the networks run as they are, since they could not be compiled ({reason})")
        return graph.forward
