"""Messages at the start and end of a training."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from gan.callbacks.wording import duration, scores_in_words
from gan.data import ImageData
from gan.images import height_and_width
from gan.runs.commands import command
from gan.runs.folder import SAMPLES, checkpoints
from gan.runs.logger import run_folder
from gan.training.base import TrainingModule

_SECONDS_TO_MEASURE = 10.0


class Announcement(Callback):
    """Says at the start what is trained on what, soon how long it takes, and at the end what to do with the run.

    Args:
        uses: The subcommands that take a trained run.
    """

    def __init__(self, uses: Sequence[str] = ("sample",)) -> None:
        self._uses = uses
        self._trained = False
        self._steps, self._seconds = 0, 0.0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the networks and the data."""
        assert isinstance(pl_module, TrainingModule)
        self._trained = False
        self._steps, self._seconds = 0, 0.0
        pl_module.print(pl_module.introduction)
        if (data := pl_module.image_data) is None:
            pl_module.print(f"{trainer.max_steps:,} steps on data that are no ImageData")
            return
        images = len(pl_module.training_part(data.source("train")))
        passes = trainer.max_steps * data.batch_size * pl_module.batches_per_step / images
        pl_module.print(f"{_amount(trainer, pl_module, data)}: {passes:.3g} passes over {images:,}")
        if advice := pl_module.advice(images, passes):
            pl_module.print(advice)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the run's folder."""
        self._trained = True
        self._since = time.perf_counter()
        if (run := run_folder(trainer)) is not None:
            pl_module.print(f"the run is in {run}; watch it with: tensorboard --logdir {run.parent}")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Start the clock of a step: evaluations and checkpoints are not to count."""
        self._began = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Print once how long the training will take."""
        before, now = self._seconds, time.perf_counter()
        self._steps += 1
        if self._steps > 1:  # the first one is slower
            self._seconds += now - self._began
        if before < _SECONDS_TO_MEASURE <= self._seconds:
            speed = (self._steps - 1) / self._seconds
            left = (trainer.max_steps - trainer.global_step) / speed
            pl_module.print(f"about {duration(left)} to go at {speed:.2g} steps/s, evaluations not included")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the last scores and the commands that use the run."""
        assert isinstance(pl_module, TrainingModule)
        if self._trained:
            pl_module.print("\n".join(["", *self._end(trainer, pl_module)]))

    def _end(self, trainer: Trainer, module: TrainingModule) -> list[str]:
        over = trainer.global_step >= trainer.max_steps
        after = duration(time.perf_counter() - self._since)
        lines = [f"{'finished' if over else 'stopped'} at step {trainer.global_step} after {after}"]
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if scores := scores_in_words(values):
            step = max(module.published_at[name] for name in values if scores_in_words({name: values[name]}))
            lines.append(f"scores: {scores} (step {step})")
        if (run := run_folder(trainer)) is None:
            return lines
        if grid := max(Path(run, SAMPLES).glob("step_*.png"), default=None):
            lines.append(f"samples: {grid}")
        return [*lines, *_next(run, trainer.max_steps, over, self._uses)]


def _next(run: Path, max_steps: int, over: bool, uses: Sequence[str]) -> list[str]:
    lines = [f"  {command('compare', run.parent)}", f"  tensorboard --logdir {run.parent}"]
    if checkpoints(run):
        longer = ["--trainer.max_steps", 2 * max_steps] if over else []
        lines = [f"  {command(use, run)}" for use in uses] + lines
        lines = [f"  {command('fit', '--resume', run, *longer)}", *lines]
    return ["next:", *lines]


def _amount(trainer: Trainer, module: TrainingModule, data: ImageData) -> str:
    labels = f", labels {'used' if module.uses_labels else 'not used'}" if data.num_classes > 1 else ""
    updates = f"{module.batches_per_step} x " if module.batches_per_step > 1 else ""
    height, width = height_and_width(data.image_size)
    return f"{trainer.max_steps:,} steps of {updates}{data.batch_size} images {height}x{width}x{data.channels}{labels}"
