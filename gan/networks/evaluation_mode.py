"""Temporary evaluation mode."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from torch import nn

Network = TypeVar("Network", bound=nn.Module)


@contextmanager
def evaluating(network: Network) -> Iterator[Network]:
    """Put a network into evaluation mode, then each of its modules back into its previous mode."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield network
    finally:
        for module in training:
            module.training = True  # train() would change its children too
