"""Checkpoints: when they are saved, and how they are written."""

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
from gan.training.base import TrainingModule


class Checkpoint(LightningCheckpoint):
    """Saves the whole state of a run at its start, every n steps, and at its end.

    Lightning calls callbacks of this kind last, so everything that belongs to a step is done and logged by then.

    When the images of the next step cannot be read, what was trained is saved before the error ends the run. With
    several processes it is not: the others wait for the one that failed, and do not answer.

    Args:
        every_n_steps: Generator steps between two checkpoints.
        keep: Number of the newest checkpoints to keep; 0 keeps all.
        monitor: Name of a metric. At each new best value the state is saved as `best.ckpt` as well.
        lower_is_better: Whether the metric is a distance (True) or a score (False).
    """

    def __init__(
        self, every_n_steps: int = 1000, keep: int = 2, monitor: str | None = None, lower_is_better: bool = True
    ) -> None:
        check_at_least(1, "Checkpoint: ", every_n_steps=every_n_steps)
        check_at_least(0, "Checkpoint: ", keep=keep)
        self.every_n_steps, self.keep = every_n_steps, keep
        self.monitor, self.lower_is_better = monitor, lower_is_better
        self.best = self._worst = math.inf if lower_is_better else -math.inf
        self._at: int | None = None  # the step of the newest checkpoint
        self._loops: dict[str, Any] | None = None  # Lightning's counters at the start
        self._step_is_whole = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check before the first step that there is a folder to save in.

        Raises:
            ValueError: if the trainer has no logger that keeps a run's folder.
        """
        self._at, self._loops, self._step_is_whole = None, None, False
        if stage == "fit" and run_folder(trainer) is None and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            raise ValueError(
                "Checkpoint: without a gan.runs.logger.RunLogger there is no folder to save in; "
                "trainer.enable_checkpointing=false trains without"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the start of a run, before its first evaluation. In a resumed run, save an evaluation that was repeated.

        A run that continues from one of its own checkpoints is not saved again.
        """
        if (run := run_folder(trainer)) is None:
            return
        if trainer.is_global_zero:
            for folder in run, run / CHECKPOINTS, run / SAMPLES:
                remove_unfinished(folder)
        if _is_loaded(trainer, checkpoint_path(run, trainer.global_step)):
            self._at = trainer.global_step
        else:
            self.best = self._worst  # the best weights of another run are not in this one
            self._save(trainer, pl_module, run)
        if trainer.ckpt_path is not None:
            self._save_what_was_measured(trainer, pl_module, run)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save what the first evaluation of a new run has measured.

        Raises:
            ValueError: if `monitor` is not among it.
        """
        if (run := run_folder(trainer)) is None or trainer.ckpt_path is not None:
            return
        if self.monitor not in (None, *trainer.callback_metrics):
            if trainer.is_global_zero:
                checkpoint_path(run, trainer.global_step).unlink()  # the run does not begin
            known = ", ".join(sorted(trainer.callback_metrics)) or "none: no metrics are configured"
            raise ValueError(f"Checkpoint: monitor must be a metric of this run ({known}), got {self.monitor!r}")
        self._save_what_was_measured(trainer, pl_module, run)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Note that a step has begun."""
        self._step_is_whole = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save every n steps, and at a new best value of the metric."""
        self._step_is_whole = True
        if (run := run_folder(trainer)) is None:
            return
        self._save_best(trainer, pl_module, run)
        if trainer.global_step % self.every_n_steps == 0:
            self._save(trainer, pl_module, run)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Save the first evaluation with Lightning's counters of before.

        By then Lightning has counted the epoch as ready to start, and would not count it again in a resumed run.
        """
        if trainer.global_step == 0:
            self._loops = checkpoint["loops"] = self._loops or checkpoint["loops"]

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after the last step, even if it came early."""
        if (run := run_folder(trainer)) is not None and self._at != trainer.global_step:
            self._save(trainer, pl_module, run)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save, if it was between two steps that something failed: what reads the images, so nothing half-trained."""
        run = run_folder(trainer)
        if run is None or not self._step_is_whole or trainer.world_size > 1 or not isinstance(exception, Exception):
            return
        if self._at != trainer.global_step:
            self._save(trainer, pl_module, run)
            trainer.print(f"saved before the error: {checkpoint_path(run, trainer.global_step)}")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save an evaluation of the last step that was interrupted before and repeated now, without any training."""
        run = run_folder(trainer)
        if run is not None and self._at is None:
            self._save_what_was_measured(trainer, pl_module, run)

    def state_dict(self) -> dict[str, Any]:
        """Return the best value so far and its metric."""
        return {"best": self.best, "monitor": self.monitor, "lower_is_better": self.lower_is_better}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best value, unless the metric has changed."""
        if (state_dict.get("monitor"), state_dict.get("lower_is_better")) == (self.monitor, self.lower_is_better):
            self.best = state_dict["best"]

    def _save_what_was_measured(self, trainer: Trainer, pl_module: LightningModule, run: Path) -> None:
        """Save again if this step was evaluated since."""
        assert isinstance(pl_module, TrainingModule)
        if trainer.global_step in pl_module.published_at.values():
            self._save_best(trainer, pl_module, run)
            self._save(trainer, pl_module, run)

    def _save_best(self, trainer: Trainer, pl_module: LightningModule, run: Path) -> None:
        assert isinstance(pl_module, TrainingModule)
        if self.monitor is None or pl_module.published_at.get(self.monitor) != trainer.global_step:
            return  # not measured in this step, so the value belongs to older weights
        value = trainer.strategy.broadcast(float(trainer.callback_metrics[self.monitor]))  # all processes must agree
        if value < self.best if self.lower_is_better else value > self.best:
            self.best = value
            _save(trainer, pl_module, run / CHECKPOINTS / "best.ckpt")

    def _save(self, trainer: Trainer, pl_module: LightningModule, run: Path) -> None:
        for logger in trainer.loggers:
            logger.save()  # records of this step must be on the disk before its checkpoint
        _save(trainer, pl_module, checkpoint_path(run, trainer.global_step))
        self._at = trainer.global_step
        if self.keep:
            _remove_old(run, self.keep, trainer.global_step)


def _is_loaded(trainer: Trainer, path: Path) -> bool:
    """Return whether the run was resumed from this file. Does not read the disk: all processes must agree."""
    return trainer.ckpt_path is not None and Path(trainer.ckpt_path).resolve() == path.resolve()


def _save(trainer: Trainer, module: LightningModule, path: Path) -> None:
    assert isinstance(module, TrainingModule)
    module.health.check()  # never save weights that are not finite
    trainer.save_checkpoint(path, weights_only=False)


@rank_zero_only
def _remove_old(run: Path, keep: int, step: int) -> None:
    """Remove all but the newest checkpoints up to a step. Later ones are damaged: the run was resumed before them."""
    for path in [path for number, path in checkpoints(run).items() if number <= step][:-keep]:
        path.unlink()


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints atomically, and refuses to read damaged ones.

    Args:
        facts_key: Where they say how their networks were built, see `TrainingModule`.
    """

    def __init__(self, facts_key: str = "gan") -> None:
        self.facts_key = facts_key

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write to a temporary file beside the target, flush it to the disk, then rename it."""
        write_atomically(Path(path), lambda file: save_tensors(checkpoint, file))

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        """Read a checkpoint to the CPU without unpickling code; Lightning's other arguments are ignored."""
        return read_checkpoint(Path(path), self.facts_key)
