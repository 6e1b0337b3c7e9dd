"""What a signal does to a training."""

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

from gan.module import GAN
from gan.training.health import Watch

_NOTICE = b"\nsignal received: saving and stopping (a second Ctrl-C stops at once)\n"
# A terminal's Ctrl-C reaches the processes of torchrun twice, once through torchrun: that is no second Ctrl-C.
_SECONDS_OF_ONE_SIGNAL = 0.5


class Interruption(Callback):
    """Ends a training in good order on SIGTERM and Ctrl-C, in all processes if one of them gets the signal.

    The step is finished and a checkpoint saved (on a GPU up to ten steps later). Before the first
    step, and in anything but `fit`, there is nothing to save: the process leaves at once, as it does on a second
    Ctrl-C. Under SLURM the signal that asks for requeueing does the same, and requeues the job.

    Lightning's own handlers, which save at any point of a step or wait for other processes, are not installed.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._watch: Watch | None = None
        self._requeue_signal: int | None = None
        self._previous: dict[int, Any] = {}
        self._launcher: Any = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take over the signals, if the command line has not done so."""
        self.take_over(trainer)

    def take_over(self, trainer: Trainer) -> None:
        """Handle the signals from now on. The command line begins before Lightning starts processes and reads data."""
        if self._previous:
            return
        _keep_lightning_out(trainer)
        self._requeue_signal = _requeue_signal(trainer)
        self._launcher = trainer.strategy.launcher
        if threading.current_thread() is threading.main_thread():
            numbers = {int(signal.SIGTERM), int(signal.SIGINT), *filter(None, [self._requeue_signal])}
            self._previous = {number: signal.signal(number, self._receive) for number in numbers}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """From the first step on there is something to save."""
        assert isinstance(pl_module, GAN)
        self._watch = pl_module.watch

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Let this step be the last, if any process wishes so, whatever minimum of steps was asked for."""
        assert isinstance(pl_module, GAN)
        if pl_module.watch.stop:
            trainer.should_stop = True
            trainer.fit_loop.min_epochs = trainer.fit_loop.epoch_loop.min_steps = None

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Agree on which signal it was: processes of the same training end with the same code."""
        assert isinstance(pl_module, GAN)
        if not pl_module.watch.stop:
            return
        _stop_watching_children(trainer)
        mine = torch.tensor(float(self.received or 0), device=trainer.strategy.root_device)
        agreed = trainer.strategy.reduce(mine, reduce_op="max")
        assert isinstance(agreed, Tensor)
        self.received = int(agreed)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the signals back: Lightning calls no `teardown` after an error."""
        self.teardown(trainer, pl_module, "")

    def leave(self) -> None:
        """End the process as the signal asks for, if there was one.

        Raises:
            SystemExit: with 128 + the signal's number.
        """
        if self.received is None:
            return
        if self.received == self._requeue_signal and os.environ.get("SLURM_PROCID") == "0":
            subprocess.run(["scontrol", "requeue", _slurm_job()], check=False)
        raise SystemExit(128 + self.received)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._watch is None:
            children = getattr(self._launcher, "procs", [])
            for child in children:  # that Lightning's launcher has started: they would wait for this process
                child.terminate()
            children.clear()  # Lightning's observer would kill this process when they end
            self.received = number
            self.leave()
        elif not self._watch.wish:
            os.write(2, _NOTICE)  # not print, which may just be at work below this handler
            self.received, self._since, self._watch.wish = number, time.monotonic(), True
        elif number == signal.SIGINT and time.monotonic() - self._since > _SECONDS_OF_ONE_SIGNAL:
            os._exit(128 + number)


def _keep_lightning_out(trainer: Trainer) -> None:
    """Replace what Lightning 2.6.6 does at signals: it broadcasts inside a handler, which hangs, and in every step."""
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]


def _stop_watching_children(trainer: Trainer) -> None:
    """Keep Lightning's observer from killing this process when those that it started end with a code that is not 0."""
    getattr(trainer.strategy.launcher, "procs", []).clear()


def _requeue_signal(trainer: Trainer) -> int | None:
    environment = trainer._accelerator_connector.cluster_environment
    if isinstance(environment, SLURMEnvironment) and environment.auto_requeue:
        return int(environment.requeue_signal or signal.SIGUSR1)
    return None


def _slurm_job() -> str:
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ["SLURM_JOB_ID"]
