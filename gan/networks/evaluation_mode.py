"""Networks in evaluation mode, for a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from torch import nn

Network = TypeVar("Network", bound=nn.Module)


@contextmanager
def evaluating(network: Network) -> Iterator[Network]:
    """Have a network in evaluation mode, then each of its modules in the mode it was in: a frozen part stays in it."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield network
    finally:
        for module in training:
            module.training = True  # not by train(), which is for all that is below it too
