"""When a run is saved, and how."""

import math
from pathlib import Path
from typing import Any

from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint as LightningCheckpoint
from pytorch_lightning.utilities import rank_zero_only

from gan.checks import check_at_least
from gan.runs.checkpoints import read_checkpoint
from gan.runs.files import remove_unfinished, save_tensors, write_atomically
from gan.runs.folder import CHECKPOINTS, SAMPLES, checkpoint_path, checkpoints
from gan.runs.logger import run_folder
from gan.training.module import TrainingModule


class Checkpoint(LightningCheckpoint):
    """Saves the whole state of the run at its start, every n generator steps, and at its end.

    Lightning calls callbacks of this kind last: all that belongs to a step is done and logged before it is saved.

    Args:
        every_n_steps: Generator steps between two checkpoints.
        keep: How many of the newest of these stay on the disk; 0: all.
        monitor: Name of a metric; whenever it is better than ever, the state is saved as `best.ckpt` too.
        lower_is_better: Whether less is better (distances) or more (scores).
    """

    def __init__(
        self, every_n_steps: int = 1000, keep: int = 2, monitor: str | None = None, lower_is_better: bool = True
    ) -> None:
        check_at_least(1, "Checkpoint: ", every_n_steps=every_n_steps)
        check_at_least(0, "Checkpoint: ", keep=keep)
        self.every_n_steps, self.keep = every_n_steps, keep
        self.monitor, self.lower_is_better = monitor, lower_is_better
        self.best = self._worst = math.inf if lower_is_better else -math.inf
        self._at: int | None = None  # the step of the newest one

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find out before the first step that there is nowhere to save.

        Raises:
            ValueError: if the trainer has no logger that keeps a run's folder.
        """
        self._at = None
        if stage == "fit" and run_folder(trainer) is None and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            raise ValueError(
                "Checkpoint: without a gan.runs.logger.RunLogger there is no folder to save in; "
                "trainer.enable_checkpointing=false trains without"
            )

    def save_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the start of a run, unless it is continued: to be called before what takes long at its start.

        The run can then be continued whenever it is killed.
        """
        if (run := run_folder(trainer)) is None or self._at is not None:
            return
        if trainer.is_global_zero:
            for folder in run, run / CHECKPOINTS, run / SAMPLES:
                remove_unfinished(folder)
        if _is_loaded(trainer, checkpoint_path(run, trainer.global_step)):
            self._at = trainer.global_step
            return
        self.best = self._worst  # a checkpoint of another run brings a value whose weights are not in this one
        self._save(trainer, pl_module, run)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the start of a run, with what was measured of it.

        Raises:
            ValueError: if `monitor` is not among that, in a new run.
        """
        if (run := run_folder(trainer)) is None:
            return
        if trainer.ckpt_path is None and self.monitor not in (None, *trainer.callback_metrics):
            known = ", ".join(sorted(trainer.callback_metrics)) or "none: no metrics are configured"
            raise ValueError(f"Checkpoint: monitor must be a metric of this run ({known}), got {self.monitor!r}")
        self.save_start(trainer, pl_module)
        if _is_made_up_for(trainer, pl_module):
            self._save_best(trainer, pl_module, run)
            self._save(trainer, pl_module, run)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save, every n steps, and when the metric is better than ever."""
        if (run := run_folder(trainer)) is None:
            return
        self._save_best(trainer, pl_module, run)
        if trainer.global_step % self.every_n_steps == 0:
            self._save(trainer, pl_module, run)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after the last step, be it early."""
        if (run := run_folder(trainer)) is not None and self._at != trainer.global_step:
            self._save(trainer, pl_module, run)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the evaluation of the last step, if it was made up for now: then no training has started."""
        run = run_folder(trainer)
        if run is not None and self._at is None and _is_made_up_for(trainer, pl_module):
            self._save_best(trainer, pl_module, run)
            self._save(trainer, pl_module, run)

    def state_dict(self) -> dict[str, Any]:
        """Return the best value so far, and of what."""
        return {"best": self.best, "monitor": self.monitor, "lower_is_better": self.lower_is_better}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best value so far, unless something else is the best from now on."""
        if (state_dict.get("monitor"), state_dict.get("lower_is_better")) == (self.monitor, self.lower_is_better):
            self.best = state_dict["best"]

    def _save_best(self, trainer: Trainer, pl_module: LightningModule, run: Path) -> None:
        assert isinstance(pl_module, TrainingModule)
        if self.monitor is None or pl_module.published_at.get(self.monitor) != trainer.global_step:
            return  # not measured in this step: the value at hand is of older weights
        value = trainer.strategy.broadcast(float(trainer.callback_metrics[self.monitor]))  # all must decide alike
        if value < self.best if self.lower_is_better else value > self.best:
            self.best = value
            _save(trainer, pl_module, run / CHECKPOINTS / "best.ckpt")

    def _save(self, trainer: Trainer, pl_module: LightningModule, run: Path) -> None:
        for logger in trainer.loggers:
            logger.save()  # what was logged up to this step must be on the disk before the step counts as saved
        _save(trainer, pl_module, checkpoint_path(run, trainer.global_step))
        self._at = trainer.global_step
        if self.keep:
            _remove_old(run, self.keep, trainer.global_step)


def _is_loaded(trainer: Trainer, path: Path) -> bool:
    """Say whether the run was continued from this file. All processes must agree: they do not look at the disk."""
    return trainer.ckpt_path is not None and Path(trainer.ckpt_path).resolve() == path.resolve()


def _is_made_up_for(trainer: Trainer, module: LightningModule) -> bool:
    """Say whether this step was evaluated only now that the run goes on from it."""
    assert isinstance(module, TrainingModule)
    return trainer.global_step in module.published_at.values()


def _save(trainer: Trainer, module: LightningModule, path: Path) -> None:
    assert isinstance(module, TrainingModule)
    module.health.check()  # what is not finite is not worth saving
    trainer.save_checkpoint(path, weights_only=False)


@rank_zero_only
def _remove_old(run: Path, keep: int, step: int) -> None:
    """Remove all but the newest up to a step. A later one is damaged: the run did not go on from it."""
    for path in [path for number, path in checkpoints(run).items() if number <= step][:-keep]:
        path.unlink()


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints so that a file under its name is whole whenever the machine dies, and reads no other."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write beside the target, force it to the disk, then rename."""
        write_atomically(Path(path), lambda file: save_tensors(checkpoint, file))

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        """Read a file that is whole, whatever Lightning says of devices and pickles."""
        return read_checkpoint(Path(path))
