"""Training with several processes, each holding both networks and its slice of the global batch.

Lightning's own DDP wraps the whole module in one reducer, which stops a step that updates one network at a time, or
(with `find_unused_parameters`) reduces the gradients of both networks in every update. Here nothing is wrapped: after
the backward pass of an update the gradients of the network in question are averaged in one collective.
"""

from pytorch_lightning import Trainer
from pytorch_lightning.overrides.distributed import _sync_module_states
from pytorch_lightning.strategies import DDPStrategy, StrategyRegistry


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
