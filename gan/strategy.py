"""Training with several processes, each holding both networks and its slice of the global batch.

Lightning's own DDP wraps the whole module in one reducer, which stops a step that updates one network at a time, or
(with `find_unused_parameters`) reduces the gradients of both networks in every update. Here nothing is wrapped: after
the backward pass of an update the gradients of the network in question are averaged in one collective.
"""

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from pytorch_lightning import Trainer
from pytorch_lightning.overrides.distributed import _sync_module_states
from pytorch_lightning.strategies import DDPStrategy, StrategyRegistry
from torch import Tensor, nn


class GANStrategy(DDPStrategy):
    """Lightning's DDP without the wrapper: processes, ranks and initial equality of the weights stay Lightning's."""

    strategy_name = "gan"

    def setup(self, trainer: Trainer) -> None:
        """Refuse to have batch norms converted: those of `gan.norms` are over all processes already.

        Raises:
            ValueError: if `trainer.sync_batchnorm` is set.
        """
        if self._layer_sync is not None:
            raise ValueError(
                "trainer.sync_batchnorm must be false, got true: batch norms are over all processes as they are"
            )
        super().setup(trainer)

    def configure_ddp(self) -> None:
        """Make all processes start from the first one's parameters and buffers."""
        assert self.model is not None
        _sync_module_states(self.model)


def use_as_default() -> None:
    """Make `strategy: auto` and `ddp` mean `GANStrategy` from now on, in this process."""
    StrategyRegistry.register("ddp", GANStrategy, "one network's gradients at a time", override=True)


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
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return passenger
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([*(gradient.flatten() for gradient in gradients), passenger])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    *means, mean_passenger = flat.split([*(gradient.numel() for gradient in gradients), passenger.numel()])
    means = [mean.view_as(gradient) for mean, gradient in zip(means, gradients, strict=True)]
    torch._foreach_copy_(gradients, means)
    return mean_passenger
