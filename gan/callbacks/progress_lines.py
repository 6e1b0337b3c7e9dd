"""The progress of a training in lines, for output that is no terminal: a file, a pipe, the log of a cluster's job."""

import time
from collections.abc import Mapping
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar

from gan.callbacks.wording import duration, losses_in_words, scores_in_words
from gan.training.base import TrainingModule

FIRST_INTERVAL, LONGEST_INTERVAL = 10.0, 300.0  # seconds between two lines; each interval is twice the one before


class ProgressLines(ProgressBar):
    """Prints a line at the first step, at the last one, and at growing intervals of time between them.

    A line holds the step, losses, speed, time left and the newest scores. Speed and time left are those since the line
    before, evaluations not included.
    """

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._began: float | None = None  # the evaluation in progress
        self._begin()

    def disable(self) -> None:
        """Print nothing from now on (Lightning calls this on all processes but the first)."""
        self._enabled = False

    def enable(self) -> None:
        """Print from now on."""
        self._enabled = True

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print at once: what is no terminal is written block by block."""
        if self._enabled:
            print(*args, **{"flush": True, **kwargs})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._begin()
        self._first = trainer.global_step + 1

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Print a line if it is time; reading the losses makes a GPU wait."""
        assert isinstance(pl_module, TrainingModule)
        self._images += len(batch[0]) * trainer.world_size
        self._steps += 1
        due = self._is_due()
        if self._enabled and (due or trainer.global_step in (self._first, trainer.max_steps)):
            self.print(self._line(trainer, pl_module, outputs))
            self._restart()

    def evaluation_progress(self, done: int, total: int) -> None:
        """Stop the clock of the training during an evaluation, and say how far that is if it takes long."""
        now = time.perf_counter()
        self._began = self._began or now
        if self._enabled and done < total and self._is_due():
            self.print(f"evaluation: {done:,} of {total:,} images")
        if done >= total:
            self._evaluating += now - self._began
            self._began = None

    def _begin(self) -> None:
        self._restart()
        self._next, self._interval = self._since + FIRST_INTERVAL, 2 * FIRST_INTERVAL

    def _restart(self) -> None:
        self._since = time.perf_counter()
        self._steps = self._images = 0
        self._evaluating = 0.0

    def _is_due(self) -> bool:
        now = time.perf_counter()
        if now < self._next:
            return False
        self._next = now + self._interval
        self._interval = min(2 * self._interval, LONGEST_INTERVAL)
        return True

    def _line(self, trainer: Trainer, module: TrainingModule, outputs: Mapping[str, Any]) -> str:
        seconds = max(time.perf_counter() - self._since - self._evaluating, 1e-9)
        step, steps = trainer.global_step, trainer.max_steps
        parts = [f"step {step:,} of {steps:,}", losses_in_words(outputs), f"{self._images / seconds:.3g} images/s"]
        if self._first < step < steps:  # the first step is slower
            parts.append(f"{duration((steps - step) * seconds / self._steps)} left")
        if scores := _newest_scores(trainer, module):
            parts.append(scores)
        return "  ".join(parts)


def _newest_scores(trainer: Trainer, module: TrainingModule) -> str:
    values = {name: float(value) for name, value in trainer.callback_metrics.items()}
    if not (scores := scores_in_words(values)):
        return ""
    step = max(module.published_at.get(name, 0) for name in values if scores_in_words({name: values[name]}))
    return f"{scores} (step {step:,})"
