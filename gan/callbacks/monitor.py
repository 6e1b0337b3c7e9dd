"""Losses, logits, learning rates, speed and memory over the training."""

import resource
import sys
import time
from collections.abc import Mapping
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from gan.checks import check_at_least
from gan.training.base import TrainingModule


class Monitor(Callback):
    """Logs losses, logits, learning rates, speed and memory every n steps.

    `loss/...` and `logits/...` are those of the last updates, averaged over the processes. `images_per_second` counts
    the real images of all processes, and all the time since the last line, that of an evaluation included.
    `peak_memory_gib` is the most that the first process has held so far: memory that torch allocated on a GPU, the
    resident memory of the whole process on a CPU.

    Args:
        every_n_steps: Generator steps between two lines.
    """

    def __init__(self, every_n_steps: int = 50) -> None:
        check_at_least(1, "Monitor: ", every_n_steps=every_n_steps)
        self.every_n_steps = every_n_steps

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._since, self._images = time.perf_counter(), 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log, every n steps."""
        assert isinstance(pl_module, TrainingModule)
        self._images += len(batch[0]) * trainer.world_size
        if trainer.global_step % self.every_n_steps:
            return
        now = time.perf_counter()
        rates = {f"learning_rate/{name}": rate for name, rate in pl_module.learning_rates().items()}
        speed = self._images / (now - self._since)
        pl_module.publish(
            {
                **_averaged(trainer, outputs),
                **rates,
                "images_per_second": speed,
                "peak_memory_gib": _peak_memory(pl_module.device),
            }
        )
        self._since, self._images = now, 0


def _averaged(trainer: Trainer, scalars: Mapping[str, Tensor]) -> dict[str, float]:
    stacked = torch.stack(
        [value.float() if value.device.type == "mps" else value.double() for value in scalars.values()]
    )
    means = trainer.strategy.reduce(stacked, reduce_op="mean")
    assert isinstance(means, Tensor)
    return dict(zip(scalars, means.tolist(), strict=True))


def _peak_memory(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
