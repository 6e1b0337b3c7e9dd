"""The progress bar of a terminal."""

import time
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from gan.callbacks.wording import losses_in_words

SECONDS_BETWEEN_UPDATES = 0.5


class Progress(ProgressBar):
    """Shows step, losses, images/s and time left; below it the progress of an evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self._console = Console()
        self._bar: RichProgress | None = None
        self._evaluation: TaskID | None = None
        self._enabled = True

    def disable(self) -> None:
        """Show nothing from now on (Lightning calls this on all processes but the first)."""
        self._enabled = False

    def enable(self) -> None:
        """Show what there is from now on."""
        self._enabled = True

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print a line above the bar."""
        if self._enabled:
            self._console.print(*args, highlight=False, soft_wrap=True, markup=False)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar."""
        self._start()
        self._training = self._add("training", trainer.max_steps, trainer.global_step)
        self._since, self._images = time.perf_counter(), 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar, now and then: reading the losses makes a GPU wait."""
        self._images += len(batch[0]) * trainer.world_size
        now = time.perf_counter()
        last = trainer.global_step == trainer.max_steps
        if self._bar is None or (now - self._since < SECONDS_BETWEEN_UPDATES and not last):
            return
        values = f"{losses_in_words(outputs)}  {self._images / (now - self._since):.0f} images/s"
        self._bar.update(self._training, completed=trainer.global_step, values=values, refresh=True)
        self._since, self._images = now, 0

    def evaluation_progress(self, done: int, total: int) -> None:
        """Show how much of an evaluation is done; at its end the line goes away."""
        self._start()
        if self._bar is None:
            return
        if self._evaluation is None:
            self._evaluation = self._add("evaluation", total)
        self._bar.update(self._evaluation, completed=done, total=total, refresh=True)
        if done >= total:
            self._bar.remove_task(self._evaluation)
            self._evaluation = None

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar."""
        self._stop()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Close the bar, whatever happened."""
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the bar, so that the error is the last thing on the screen."""
        self._stop()

    def _start(self) -> None:
        if self._bar is not None or not self._enabled:
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[values]}"),
        )
        # Without a thread of its own, which would interrupt the training ten times a second.
        self._bar = RichProgress(*columns, TimeRemainingColumn(), console=self._console, auto_refresh=False)
        self._evaluation = None
        self._bar.start()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _add(self, description: str, total: int, completed: int = 0) -> Any:
        return self._bar.add_task(description, total=total, completed=completed, values="") if self._bar else None
