"""What every training here has in common: its clock, optimizers, records and checks."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from pytorch_lightning import Callback
from torch import Tensor, nn

from gan.data.sources import Source
from gan.randomness import check_seed
from gan.runs.description import changes
from gan.runs.logger import RunLogger
from gan.training.health import Health
from gan.training.images import ImagesModule
from gan.training.lightning_options import check_lightning_options
from gan.training.limits import check_limits, check_processes, limit_by_steps_alone
from gan.training.optimized import OptimizedModule
from gan.training.optimizers import LinearDecay
from gan.training.publishing import PublishingModule


class TrainingModule(OptimizedModule, ImagesModule, PublishingModule):
    """Base of the modules that are trained by manual optimization, with one `training_step` per count of the clock.

    `trainer.global_step` counts training steps, however many updates each of them makes, and so does everything else.

    Args:
        seed: Of everything random.
        decay: How the learning rates fall; None keeps them constant.

    Attributes:
        health: Checks that losses and weights stay finite, and whether a process asked to stop.
        facts_key: Where a checkpoint says how its networks were built.

    Raises:
        ValueError: if the seed is out of range.
    """

    facts_key: ClassVar[str]

    def __init__(self, seed: int, decay: LinearDecay | None) -> None:
        super().__init__()
        check_seed("seed", seed)
        self.seed = seed
        self.decay = decay
        self.health = Health()
        self._loaded_step = 0

    # What a subclass says of itself

    @property
    @abstractmethod
    def introduction(self) -> str:
        """What is trained, in one line."""

    @property
    @abstractmethod
    def uses_labels(self) -> bool:
        """Whether the labels of the images have a part in the training."""

    @abstractmethod
    def example_inputs(self) -> Mapping[str, tuple[nn.Module, tuple[Tensor, ...]]]:
        """Return each network by name, with arguments of the shapes that its `forward` takes, for one image."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Return, as plain data, how the networks were built."""

    def training_part(self, source: Source) -> Source:
        """Return what the module learns from of the split "train": all of it, unless a subclass holds some back."""
        return source

    def advice(self, images: int, passes: float) -> str | None:
        """Return what to consider before training in so many passes over so many images; None: nothing."""
        return None

    @property
    def weights_dtype(self) -> torch.dtype:
        """Data type of the weights, and so of what enters the networks."""
        assert isinstance(self.dtype, torch.dtype)
        return self.dtype

    @property
    def step(self) -> int:
        """The training step that the weights are from: in `test` that of the checkpoint."""
        return max(int(self.trainer.global_step), self._loaded_step)

    @property
    def stop_requested(self) -> bool:
        """Whether this process was asked to stop."""
        return self.health.stop_requested

    # Lightning's hooks

    def setup(self, stage: str) -> None:
        """Convert to the trainer's data type before a checkpoint is loaded; Lightning does so too late."""
        self.trainer.precision_plugin.convert_module(self)

    def configure_callbacks(self) -> list[Callback]:
        """Check the trainer's options, before Lightning refuses some with other advice; add no callback."""
        if self.trainer.training:
            check_lightning_options(self.trainer)
        return []

    def on_fit_start(self) -> None:
        """Check the trainer, the configuration and the loaded checkpoint against each other.

        Raises:
            ValueError: if they do not fit.
        """
        if not all(network.training for network, _ in self.trained_networks().values()):
            raise ValueError(
                "the networks are in evaluation mode, as those of gan.load are: to train on from a checkpoint give it "
                "to Trainer.fit as ckpt_path, with a new GAN"
            )
        check_processes(self.trainer)
        check_limits(self.trainer)
        self._restore_limits: Callable[[], None] = limit_by_steps_alone(self.trainer)
        if self.decay is not None:
            self.decay.check_horizon(self.trainer.max_steps)
        self.check_loaded_optimizers()
        if self.image_data is not None:
            self.check_share(self.batch_size // self.trainer.world_size)
        if self._loaded_step >= self.trainer.max_steps:
            steps = f"step {self._loaded_step} of trainer.max_steps {self.trainer.max_steps}"
            self.print(f"nothing to train: the run is at {steps} already; a larger --trainer.max_steps goes on")

    def on_train_start(self) -> None:
        """Reapply the configured optimizer settings after a checkpoint was restored, and continue the run's records.

        Raises:
            ValueError: if the processes do not start at the same step: each reads its own disk.
        """
        step, first = self.trainer.global_step, self.trainer.strategy.broadcast(self.trainer.global_step)
        if step != first:
            rank = self.trainer.global_rank
            raise ValueError(f"process {rank} found a checkpoint of step {step}, but process 0 one of step {first}")
        for logger in self.trainer.loggers:
            if isinstance(logger, RunLogger):
                logger.cut_once()
        self.reapply_settings()

    def on_fit_end(self) -> None:
        """Restore the trainer's own limits."""
        self._restore_limits()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the facts."""
        checkpoint[self.facts_key] = self.facts()
        super().on_save_checkpoint(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what `on_fit_start` compares with the configuration."""
        super().on_load_checkpoint(checkpoint)
        self._loaded_step = checkpoint["global_step"]

    # The loops of validate, test and predict go over nothing: callbacks do the work when a loop ends.

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Do nothing."""

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Do nothing."""

    def predict_step(self, batch: Any, batch_idx: int) -> None:
        """Do nothing."""

    def check_fit(self, checkpoint: dict[str, Any]) -> None:
        """Check that a checkpoint's weights have the names and shapes of the module's.

        Raises:
            ValueError: if they have not; the message says how the networks differ.
        """
        shapes, saved = _shapes(self.state_dict()), _shapes(checkpoint["state_dict"])
        if shapes != saved:
            facts, saved_facts = self.facts(), checkpoint[self.facts_key]
            known = [name for name in facts if name in saved_facts]
            was, now = ({name: each[name] for name in known} for each in (saved_facts, facts))
            reasons = changes(was, now) or changes(saved, shapes)
            raise ValueError(f"the checkpoint does not fit the configuration: {'; '.join(reasons)}")


def _shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}
