"""Training with several processes, each of which holds both networks and its slice of the global batch.

Lightning's DDP wraps the whole module in one gradient reducer. That fails when a step updates one network at a time,
or, with `find_unused_parameters`, averages the gradients of both networks in every update. Here nothing is wrapped:
after the backward pass of an update, one collective averages the gradients of the network that is updated.
"""

from itertools import chain

import torch
import torch.distributed as dist
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning import Trainer
from pytorch_lightning.strategies import DDPStrategy
from torch import nn


class GANStrategy(DDPStrategy):
    """Lightning's DDP without the wrapper. Lightning still starts the processes and assigns ranks and devices."""

    strategy_name = "gan"

    def configure_ddp(self) -> None:
        """Give all processes the first one's parameters and buffers.

        Raises:
            ValueError: if `trainer.sync_batchnorm` is set.
        """
        assert self.model is not None
        if any(isinstance(module, nn.SyncBatchNorm) for module in self.model.modules()):
            raise ValueError(
                "trainer.sync_batchnorm must be false, got true: batch norms are over all processes already"
            )
        with torch.no_grad():
            for tensor in chain(self.model.parameters(), self.model.buffers()):
                dist.broadcast(tensor, src=0)


def cluster_environment(trainer: Trainer) -> ClusterEnvironment | None:
    """Return the environment that started this process: torchrun, SLURM or Lightning; None if nothing did."""
    environment: ClusterEnvironment | None = getattr(trainer.strategy, "cluster_environment", None)
    if environment is None:  # a strategy for a single device does not know
        kinds: tuple[type[ClusterEnvironment], ...] = (SLURMEnvironment, TorchElasticEnvironment)
        environment = next((kind() for kind in kinds if kind.detect()), None)
    return environment
