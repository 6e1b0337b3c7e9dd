"""Networks in training, each with an optimizer of its own."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import nn

from gan.training.optimizers import LinearDecay, Optimizer, Saved, check_states, make_optimizer, settings_of


class OptimizedModule(LightningModule, ABC):
    """A module that is trained by manual optimization, with one optimizer for each of its networks.

    Attributes:
        decay: How the learning rates fall; None keeps them constant.
    """

    decay: LinearDecay | None

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self._loaded_kinds: list[str] | None = None
        self._loaded_states: list[Saved] = []

    @abstractmethod
    def trained_networks(self) -> Mapping[str, tuple[nn.Module, Optimizer]]:
        """Return the networks in training by name, each with what makes its optimizer."""

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Make one optimizer for each network in training."""
        optimizers = [make_optimizer(*configured) for configured in self._configured_optimizers()]
        self._optimizer_settings = [settings_of(each) for each in optimizers]
        return optimizers

    def optimizer_of(self, network: str) -> LightningOptimizer:
        """Return the optimizer of a network in training."""
        optimizers = self.optimizers()
        found = optimizers if isinstance(optimizers, list) else [optimizers]
        optimizer = dict(zip(self.trained_networks(), found, strict=True))[network]
        assert isinstance(optimizer, LightningOptimizer)
        return optimizer

    def set_learning_rates(self) -> None:
        """Set the learning rates of the current step."""
        factor = self.learning_rate_factor()
        for group, settings in self._groups_and_settings():
            group["lr"] = settings["lr"] * factor

    def learning_rate_factor(self) -> float:
        """Return what the learning rates are multiplied by in the current step."""
        return 1.0 if self.decay is None else self.decay(self.trainer.global_step)

    def learning_rates(self) -> dict[str, float]:
        """Return the learning rate of each network's optimizer in the latest update."""
        rates = [float(optimizer.param_groups[0]["lr"]) for optimizer in self.trainer.optimizers]
        return dict(zip(self.trained_networks(), rates, strict=True))

    def reapply_settings(self) -> None:
        """Set what is configured, after a checkpoint was restored."""
        for group, settings in self._groups_and_settings():
            group.update(settings)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the kinds of the optimizers."""
        checkpoint["optimizer_kinds"] = self._optimizer_kinds()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what `check_loaded_optimizers` compares with the configuration."""
        self._loaded_kinds = checkpoint.get("optimizer_kinds")
        self._loaded_states = [Saved.of(states) for states in checkpoint.get("optimizer_states", [])]

    def check_loaded_optimizers(self) -> None:
        """Check that the configured optimizers can continue from the states in the loaded checkpoint, if there is one.

        Raises:
            ValueError: if they cannot.
        """
        if self._loaded_kinds not in (None, kinds := self._optimizer_kinds()):
            saved, asked = ", ".join(self._loaded_kinds), ", ".join(kinds)
            raise ValueError(f"the checkpoint holds the states of {saved}, but the configuration asks for {asked}")
        for saved_states, configured in zip(self._loaded_states, self._configured_optimizers(), strict=False):
            check_states(*configured, saved_states)

    def _configured_optimizers(self) -> Iterator[tuple[str, Optimizer, nn.Module]]:
        for name, (network, factory) in self.trained_networks().items():
            yield f"{name}_optimizer", factory, network

    def _groups_and_settings(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        for optimizer, settings in zip(self.trainer.optimizers, self._optimizer_settings, strict=True):
            yield from zip(optimizer.param_groups, settings, strict=True)

    def _optimizer_kinds(self) -> list[str]:
        return [f"{type(each).__module__}.{type(each).__qualname__}" for each in self.trainer.optimizers]
