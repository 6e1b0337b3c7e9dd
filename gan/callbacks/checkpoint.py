"""When a run is saved, and how."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint as LightningCheckpoint
from pytorch_lightning.utilities import rank_zero_only

from gan.module import GAN
from gan.runs import CHECKPOINTS, checkpoint_path, checkpoints, run_folder


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
        if every_n_steps < 1:
            raise ValueError(f"Checkpoint: every_n_steps must be at least 1, got {every_n_steps}")
        if keep < 0:
            raise ValueError(f"Checkpoint: keep must be at least 0, got {keep}")
        self.every_n_steps, self.keep = every_n_steps, keep
        self.monitor, self.lower_is_better = monitor, lower_is_better
        self.best = math.inf if lower_is_better else -math.inf

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the start of a run, so that it can be continued whenever it is killed."""
        if (run := run_folder(trainer)) is None or _is_loaded(trainer, checkpoint_path(run, trainer.global_step)):
            return
        if trainer.ckpt_path is None and self.monitor not in (None, *trainer.callback_metrics):
            known = ", ".join(sorted(trainer.callback_metrics)) or "none: no metrics are configured"
            raise ValueError(f"Checkpoint: monitor must be a metric of this run ({known}), got {self.monitor!r}")
        self._save_best(trainer, pl_module, run)
        self._save(trainer, run)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save, every n steps, after the last one, and when the metric is better than ever."""
        if (run := run_folder(trainer)) is None:
            return
        self._save_best(trainer, pl_module, run)
        if trainer.global_step % self.every_n_steps == 0 or trainer.global_step == trainer.max_steps:
            self._save(trainer, run)

    def state_dict(self) -> dict[str, Any]:
        """Return the best value so far."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best value so far."""
        self.best = state_dict["best"]

    def _save_best(self, trainer: Trainer, pl_module: LightningModule, run: Path) -> None:
        assert isinstance(pl_module, GAN)
        if self.monitor is None or pl_module.published_at.get(self.monitor) != trainer.global_step:
            return  # not measured in this step: the value at hand is of older weights
        value = float(trainer.callback_metrics[self.monitor])
        if value < self.best if self.lower_is_better else value > self.best:
            self.best = value
            _save(trainer, run / CHECKPOINTS / "best.ckpt")

    def _save(self, trainer: Trainer, run: Path) -> None:
        for logger in trainer.loggers:
            logger.save()  # what was logged up to this step must be on the disk before the step counts as saved
        _save(trainer, checkpoint_path(run, trainer.global_step))
        if self.keep:
            _remove_old(run, self.keep)


def _is_loaded(trainer: Trainer, path: Path) -> bool:
    """Say whether the run was continued from this file. All processes must agree: they do not look at the disk."""
    return trainer.ckpt_path is not None and Path(trainer.ckpt_path).resolve() == path.resolve()


def _save(trainer: Trainer, path: Path) -> None:
    trainer.save_checkpoint(path, weights_only=False)


@rank_zero_only
def _remove_old(run: Path, keep: int) -> None:
    for path in list(checkpoints(run).values())[:-keep]:
        path.unlink()


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints so that a file under its final name is always whole, whenever the machine dies."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write beside the target, force it to the disk, then rename."""
        write_atomically(Path(path), lambda file: torch.save(checkpoint, file))


def write_atomically(path: Path, write: Callable[[Any], None]) -> None:
    """Let `write` fill a file that appears at `path` only when it is whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
