"""Handling of signals during a training."""

import os
import signal
import subprocess
import threading
import time
from types import FrameType
from typing import Any

import torch
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from gan.training.base import TrainingModule
from gan.training.health import Health
from gan.training.strategy import cluster_environment

_NOTICE = b"\nsignal received: saving and stopping (a second Ctrl-C stops at once)\n"
# A terminal's Ctrl-C reaches the processes of torchrun twice, once through torchrun: that is no second Ctrl-C.
_SECONDS_OF_ONE_SIGNAL = 0.5


class Interruption(Callback):
    """Ends a training in good order on SIGTERM and Ctrl-C, in all processes if one of them gets the signal.

    The current step is finished and a checkpoint is saved (on a GPU up to ten steps later). Before the first step, and
    in anything but `fit`, there is nothing to save, so the process exits at once. A second Ctrl-C exits at once too.
    Under SLURM the signal that announces the end of a job does the same and requeues the job.

    Lightning's own handlers are not installed: they save in the middle of a step, or wait for other processes.

    Args:
        slurm: The SLURM environment of the trainer, which says whether and at which signal to requeue; None takes
            Lightning's defaults.
    """

    def __init__(self, slurm: SLURMEnvironment | None = None) -> None:
        self.received: int | None = None
        self._slurm = slurm
        self._health: Health | None = None
        self._requeue_signal: int | None = None
        self._previous: dict[int, Any] = {}
        self._launcher: Any = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Install the handlers, if the command line has not done so."""
        self.take_over(trainer)

    def take_over(self, trainer: Trainer) -> None:
        """Install the handlers. The command line does so before Lightning starts processes and reads data."""
        if self._previous:
            return
        _keep_lightning_out(trainer)
        environment = self._slurm or cluster_environment(trainer)
        if isinstance(environment, SLURMEnvironment) and environment.auto_requeue:
            self._requeue_signal = int(environment.requeue_signal or signal.SIGUSR1)
        self._launcher = trainer.strategy.launcher
        if threading.current_thread() is threading.main_thread():
            numbers = {int(signal.SIGTERM), int(signal.SIGINT), *filter(None, [self._requeue_signal])}
            self._previous = {number: signal.signal(number, self._receive) for number in numbers}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Stop at the end of a step from now on, since there is something to save."""
        assert isinstance(pl_module, TrainingModule)
        self._health = pl_module.health

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop after this step if any process asked for it, regardless of `min_steps`."""
        assert isinstance(pl_module, TrainingModule)
        if pl_module.health.should_stop:
            trainer.should_stop = True
            trainer.fit_loop.min_epochs = trainer.fit_loop.epoch_loop.min_steps = None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop if the data ended early because this process was asked to stop while it waited for them."""
        assert isinstance(pl_module, TrainingModule)
        if pl_module.stop_requested and trainer.world_size == 1:
            pl_module.health.should_stop = trainer.should_stop = True
            trainer.fit_loop.min_epochs = trainer.fit_loop.epoch_loop.min_steps = None

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Agree on the signal, so that all processes exit with the same code."""
        assert isinstance(pl_module, TrainingModule)
        if not pl_module.health.should_stop:
            return
        _stop_watching_children(trainer)
        mine = torch.tensor(float(self.received or 0), device=trainer.strategy.root_device)
        agreed = trainer.strategy.reduce(mine, reduce_op="max")
        assert isinstance(agreed, Tensor)
        self.received = int(agreed)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Restore the previous handlers."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Restore the previous handlers: Lightning calls no `teardown` after an error."""
        self.teardown(trainer, pl_module, "")

    def leave(self) -> None:
        """Exit if a signal was received.

        Raises:
            SystemExit: with 128 + the signal's number.
        """
        if self.received is None:
            return
        if self.received == self._requeue_signal and os.environ.get("SLURM_PROCID") == "0":
            subprocess.run(["scontrol", "requeue", _slurm_job()], check=False)
        raise SystemExit(128 + self.received)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._health is None:
            children = getattr(self._launcher, "procs", [])
            for child in children:  # started by Lightning's launcher: they would wait for this process
                child.terminate()
            children.clear()  # otherwise Lightning's observer kills this process when they end
            self.received = number
            self.leave()
        elif not self._health.stop_requested:
            os.write(2, _NOTICE)  # print is not reentrant
            self.received, self._since, self._health.stop_requested = number, time.monotonic(), True
        elif number == signal.SIGINT and time.monotonic() - self._since > _SECONDS_OF_ONE_SIGNAL:
            os._exit(128 + number)


def _keep_lightning_out(trainer: Trainer) -> None:
    """Disable Lightning's handling of signals: it broadcasts in a handler, which can hang, and in every step."""
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]


def _stop_watching_children(trainer: Trainer) -> None:
    """Keep Lightning's observer from killing this process when a process that it started exits with an error code."""
    getattr(trainer.strategy.launcher, "procs", []).clear()


def _slurm_job() -> str:
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ["SLURM_JOB_ID"]
