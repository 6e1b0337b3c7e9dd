"""What a command that trains builds: LightningCLI's trainer and module, with a run's logger, callbacks and weights."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import Checkpoint as LightningCheckpoint
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.cli import LightningCLI
from pytorch_lightning.utilities import rank_zero_only

from gan.callbacks import Announcement, AtomicCheckpointIO, Interruption, Progress, ProgressLines
from gan.cli.machine import needs_several_processes
from gan.cli.save_config import SaveConfig
from gan.cli.start import Start
from gan.runs.checkpoints import read_checkpoint
from gan.runs.initial_weights import take_weights
from gan.runs.logger import RunLogger
from gan.training.base import TrainingModule
from gan.training.strategy import GANStrategy


class BuildingCLI(LightningCLI):
    """LightningCLI that builds what every run of this framework has.

    Attributes:
        module_class: What is trained.
        scoring: The option that holds the callback which scores.
        uses: Further subcommands that take a trained run.
    """

    module_class: ClassVar[type[TrainingModule]]
    scoring: ClassVar[str]
    uses: ClassVar[tuple[str, ...]] = ()

    _start: Start
    _only_parses: bool

    def instantiate_classes(self) -> None:
        """Build everything; whatever kind of error this raises, it is the configuration that is wrong."""
        if self._only_parses:
            return
        try:
            super().instantiate_classes()
        except (ValueError, OSError):
            raise
        except Exception as error:
            raise ValueError(f"this configuration cannot be built: {type(error).__name__}: {error}") from error
        if self._start.weights is not None:
            self._take_weights(self._start.weights)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make the trainer, with the run's logger and the callbacks that every run has."""
        config = self.config_init[self.subcommand]
        settings = config.trainer
        if settings.check_val_every_n_epoch == 0:  # which Lightning divides by
            raise ValueError("trainer.check_val_every_n_epoch must be at least 1, or null, got 0")
        training = self.subcommand == "fit" and not settings.fast_dev_run
        self._run_logger = self._logger(config) if training and settings.logger is not False else None
        configured = _listed(settings.callbacks)
        if settings.enable_checkpointing is False:
            configured = [each for each in configured if not isinstance(each, LightningCheckpoint)]
        plugins = [*_listed(settings.plugins), AtomicCheckpointIO(self.module_class.facts_key)]
        self._interruption = Interruption(next((each for each in plugins if isinstance(each, SLURMEnvironment)), None))
        ours = [*self._callbacks(config, configured), self._interruption]  # after the evaluation, which it cuts short
        if needs_several_processes(settings.strategy, settings.accelerator, settings.devices, settings.num_nodes):
            kwargs["strategy"] = GANStrategy()
        with self.discarding_what_never_began():
            trainer = super().instantiate_trainer(
                callbacks=[*configured, *ours],
                plugins=plugins,
                logger=[*_listed(self._run_logger), *_listed(settings.logger)],
                enable_checkpointing=any(isinstance(each, LightningCheckpoint) for each in configured),
                **kwargs,
            )
        made: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        made.sort(key=lambda each: not isinstance(each, SaveConfig))  # it comes before what takes long
        return trainer

    def _callbacks(self, config: Any, configured: list[Callback]) -> list[Callback]:
        """Return the callbacks that show, say and score."""
        callbacks: list[Callback] = []
        others = any(isinstance(each, ProgressBar) for each in configured)
        if config.trainer.enable_progress_bar is not False and not others:
            callbacks.append(progress())
        if self.subcommand == "fit":
            callbacks.append(Announcement(self.uses))
        if config[self.scoring] is not None:
            callbacks.append(config[self.scoring])
        return callbacks

    def _logger(self, config: Any) -> RunLogger:
        run = self._start.run
        if run is None:
            return RunLogger(config.trainer.default_root_dir, config.experiment)
        # Not by the configuration: the run may have been moved since
        return RunLogger(str(run.parent.parent), run.parent.name, run, self._start.step)

    def _take_weights(self, path: Path) -> None:
        try:
            taken = take_weights(self.model, read_checkpoint(path, self.module_class.facts_key)["state_dict"])
        except ValueError as error:
            raise ValueError(f"--init_from {path}: {error}") from None
        say_once(f"{len(taken.loaded)} tensors come from {path}")
        for misfit in taken.misfits:
            say_once(f"  not taken, {misfit}")

    @contextmanager
    def discarding_what_never_began(self) -> Iterator[None]:
        """Remove the run's folder if the training fails before its first step."""
        try:
            yield
        except BaseException:
            if self._run_logger is not None:
                self._run_logger.discard_unused()
            raise


def progress() -> ProgressBar:
    """Return a bar for a terminal, and lines for a file or a pipe."""
    return Progress() if sys.stdout.isatty() else ProgressLines()


def _listed(value: Any) -> list[Any]:
    """Return what a setting of the trainer holds: one object, several, or (None, or whether to have any) none."""
    if value is None or isinstance(value, bool):
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


@rank_zero_only
def say_once(text: str) -> None:
    """Print, in the first process only."""
    print(text)
