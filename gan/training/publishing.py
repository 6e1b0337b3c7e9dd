"""Values that a training publishes: to its loggers, and to callbacks that read metrics."""

from typing import Any

import torch
from pytorch_lightning import LightningModule

from gan.runs.logger import ProtocolFields, RunLogger
from gan.training.lightning_options import check_early_stopping, check_monitors


class PublishingModule(LightningModule):
    """A module that publishes values under the current step.

    Attributes:
        published_at: The step at which each value was last published.
    """

    def __init__(self) -> None:
        super().__init__()
        self.published_at: dict[str, int] = {}
        self._scored = self._monitored = False  # whether scores, and other values, were published

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
