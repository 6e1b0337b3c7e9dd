"""What every training here has in common: its clock, optimizers, records and checks."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import torch
from pytorch_lightning import Callback, LightningModule
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from gan.data import ImageData
from gan.data.sources import Source
from gan.data.transfer import send
from gan.randomness import check_seed
from gan.runs.description import changes
from gan.runs.logger import ProtocolFields, RunLogger
from gan.training.health import Health
from gan.training.lightning_options import check_early_stopping, check_lightning_options, check_monitors
from gan.training.limits import check_limits, check_processes, limit_by_steps_alone
from gan.training.optimizers import LinearDecay, Optimizer, Saved, check_states, make_optimizer, settings_of
from gan.training.real_images import check_batch


class TrainingModule(LightningModule, ABC):
    """Base of the modules that are trained by manual optimization, with one `training_step` per count of the clock.

    `trainer.global_step` counts training steps, however many updates each of them makes, and so does everything else.

    Args:
        seed: Of everything random.
        decay: How the learning rates fall; None keeps them constant.

    Attributes:
        health: Checks that losses and weights stay finite, and whether a process asked to stop.
        published_at: The step at which each value was last published.
        facts_key: Where a checkpoint says how its networks were built.

    Raises:
        ValueError: if the seed is out of range.
    """

    facts_key: ClassVar[str]

    def __init__(self, seed: int, decay: LinearDecay | None) -> None:
        super().__init__()
        check_seed("seed", seed)
        self.automatic_optimization = False
        self.seed = seed
        self.decay = decay
        self.health = Health()
        self.published_at: dict[str, int] = {}
        self._scored = self._monitored = False  # whether scores, and other values, were published
        self._own_batch_size: int | None = None
        self._loaded_step = 0
        self._loaded_kinds: list[str] | None = None
        self._loaded_states: list[Saved] = []

    # What a subclass says of itself

    @property
    @abstractmethod
    def batches_per_step(self) -> int:
        """Batches of `data.batch_size` images that one training step takes."""

    @abstractmethod
    def trained_networks(self) -> Mapping[str, tuple[nn.Module, Optimizer]]:
        """Return the networks in training by name, each with what makes its optimizer."""

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

    def check_share(self, images: int) -> None:
        """Check the number of images of one batch that this process has.

        Raises:
            ValueError: if the configuration cannot divide them.
        """

    def check_own_images(self, images: Tensor, labels: Tensor) -> None:
        """Check the first batch of a data loader that is no `ImageData`.

        Raises:
            ValueError: if the networks do not take such images or labels.
        """

    def training_part(self, source: Source) -> Source:
        """Return what the module learns from of the split "train": all of it, unless a subclass holds some back."""
        return source

    def advice(self, images: int, passes: float) -> str | None:
        """Return what to consider before training in so many passes over so many images; None: nothing."""
        return None

    @property
    def batch_size(self) -> int:
        """Images of one batch, all processes together. A data loader of one's own tells with its first batch.

        Raises:
            ValueError: before that.
        """
        if (data := self.image_data) is not None:
            return data.batch_size
        if self._own_batch_size is None:
            raise ValueError("the size of a batch is not known before the first one, with data that are no ImageData")
        return self._own_batch_size

    @property
    def image_data(self) -> ImageData | None:
        """The data of the training; None if they come from a data loader of one's own."""
        data = getattr(self.trainer, "datamodule", None)
        return data if isinstance(data, ImageData) else None

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

    # Records

    def learning_rates(self) -> dict[str, float]:
        """Return the learning rate of each network's optimizer in the latest update."""
        rates = [float(optimizer.param_groups[0]["lr"]) for optimizer in self.trainer.optimizers]
        return dict(zip(self.trained_networks(), rates, strict=True))

    def publish(self, values: dict[str, float], protocol: ProtocolFields | None = None) -> None:
        """Log values under the current step and show them to callbacks that read `trainer.callback_metrics`.

        Args:
            values: The values by name.
            protocol: How they were computed, for the run's records.
        """
        for logger in self.trainer.loggers:
            if isinstance(logger, RunLogger):
                logger.log_metrics(values, self.trainer.global_step, protocol)
            else:
                logger.log_metrics(values, self.trainer.global_step)
        self.trainer.callback_metrics.update({name: torch.tensor(value) for name, value in values.items()})
        self.published_at.update(dict.fromkeys(values, self.trainer.global_step))
        if self.trainer.training:
            self._scored, self._monitored = self._scored or bool(protocol), self._monitored or not protocol
            if self._scored and self._monitored:  # by now all values are known
                check_monitors(self.trainer, self.trainer.callback_metrics)
            check_early_stopping(self.trainer, values)

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print in the first process, above its progress bar if there is one: any bar, not only Lightning's own two."""
        if self.trainer.is_global_zero:
            bar = self.trainer.progress_bar_callback
            (print if bar is None else bar.print)(*args, **kwargs)

    # Lightning's hooks

    def setup(self, stage: str) -> None:
        """Convert to the trainer's data type before a checkpoint is loaded; Lightning does so too late."""
        self.trainer.precision_plugin.convert_module(self)

    def configure_callbacks(self) -> list[Callback]:
        """Check the trainer's options, before Lightning refuses some with other advice; add no callback."""
        if self.trainer.training:
            check_lightning_options(self.trainer)
        return []

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Make one optimizer for each network in training."""
        optimizers = [make_optimizer(*configured) for configured in self._configured_optimizers()]
        self._optimizer_settings = [settings_of(each) for each in optimizers]
        return optimizers

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
        self._check_loaded_optimizers()
        if self.image_data is not None:
            self.check_share(self.batch_size // self.trainer.world_size)
        if self._loaded_step >= self.trainer.max_steps:
            steps = f"step {self._loaded_step} of trainer.max_steps {self.trainer.max_steps}"
            self.print(f"nothing to train: the run is at {steps} already")

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
        for group, settings in self._groups_and_settings():
            group.update(settings)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Check what the data loader yields.

        Raises:
            ValueError: if it is not what `training_step` takes.
        """
        images, batches = check_batch(batch), self.batches_per_step
        if self.image_data is not None:
            return
        if images % batches:
            raise ValueError(f"a training step takes {batches} equal batches, got {images} images")
        total = images // batches * self.trainer.world_size
        if self._own_batch_size is None:
            self.check_own_images(*batch)
            self.check_share(images // batches)
            self._own_batch_size = total
        if total != self._own_batch_size:
            sizes = f"{self._own_batch_size}, now {total}"
            raise ValueError(f"every batch must have as many images as the first: {sizes} (drop_last=True?)")

    def on_fit_end(self) -> None:
        """Restore the trainer's own limits."""
        self._restore_limits()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the facts, and the kinds of the optimizers."""
        checkpoint[self.facts_key] = self.facts()
        checkpoint["optimizer_kinds"] = self._optimizer_kinds()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what `on_fit_start` compares with the configuration."""
        self._loaded_step = checkpoint["global_step"]
        self._loaded_kinds = checkpoint.get("optimizer_kinds")
        self._loaded_states = [Saved.of(states) for states in checkpoint.get("optimizer_states", [])]

    # The loops of validate, test and predict go over nothing: callbacks do the work when a loop ends.

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Do nothing."""

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Do nothing."""

    def predict_step(self, batch: Any, batch_idx: int) -> None:
        """Do nothing."""

    # For a subclass' step

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

    def local_slice(self, drawn: Tensor, batches: int = 1) -> Tensor:
        """Return this process' slice of what was drawn for each of some global batches, on the device."""
        own = [batch.chunk(self.trainer.world_size)[self.trainer.global_rank] for batch in drawn.chunk(batches)]
        return send(torch.cat(own) if batches > 1 else own[0], self.device)

    def _configured_optimizers(self) -> Iterator[tuple[str, Optimizer, nn.Module]]:
        for name, (network, factory) in self.trained_networks().items():
            yield f"{name}_optimizer", factory, network

    def _groups_and_settings(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        for optimizer, settings in zip(self.trainer.optimizers, self._optimizer_settings, strict=True):
            yield from zip(optimizer.param_groups, settings, strict=True)

    def _optimizer_kinds(self) -> list[str]:
        return [f"{type(each).__module__}.{type(each).__qualname__}" for each in self.trainer.optimizers]

    def _check_loaded_optimizers(self) -> None:
        if self._loaded_kinds not in (None, kinds := self._optimizer_kinds()):
            saved, asked = ", ".join(self._loaded_kinds), ", ".join(kinds)
            raise ValueError(f"the checkpoint holds the states of {saved}, but the configuration asks for {asked}")
        for saved_states, configured in zip(self._loaded_states, self._configured_optimizers(), strict=False):
            check_states(*configured, saved_states)


def _shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}
