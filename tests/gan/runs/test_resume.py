"""Runs killed with SIGKILL in a step, and while a checkpoint is written, go on as if nothing had been."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback
from small_trainings import fit, forked, small_gan, small_networks, together
from test_runs import assert_same, lines

from gan.callbacks import EMA, Checkpoint, Evaluation, Monitor, SampleGrid
from gan.data import Digits
from gan.losses import Hinge
from gan.metrics import DigitsClassifier
from gan.module import GAN
from gan.norms import Batch, ConditionalBatch, Conv, Spectral
from gan.runs.checkpoints import find_checkpoint, newest_checkpoint, read_checkpoint
from gan.runs.folder import checkpoint_path, newest_run
from gan.runs.logger import RunLogger
from gan.training.optimizers import LinearDecay

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes"),
]
STEPS = 8


@dataclass(frozen=True)
class Case:
    """One row of what is promised."""

    processes: int = 1
    precision: str = "32-true"
    ema: bool = True
    conditional: bool = False
    evaluated: bool = False
    workers: int | None = None  # None: the images lie in memory

    def module(self) -> GAN:
        generator, discriminator = small_networks("dcgan")
        if self.conditional:
            discriminator = type(discriminator)(32, 1, 10, conditional=True, width=8)
        norms = [ConditionalBatch() if self.conditional else Batch()], [Spectral(), Conv()]
        return GAN(generator, discriminator, Hinge(), *norms, decay=LinearDecay(20), discriminator_steps=2)

    def data(self) -> Digits:
        data = Digits(batch_size=16, flip=True)
        data.num_workers = self.workers or 0
        return data

    def callbacks(self) -> list[Callback]:
        watching = [Monitor(every_n_steps=1), SampleGrid(every_n_steps=3, rows=2, columns=2)]
        if self.evaluated:
            watching.append(Evaluation(DigitsClassifier(), num_samples=70, every_n_steps=2, batch_size=35))
        return [*([EMA(half_life_images=100)] if self.ema else []), *watching, Checkpoint(every_n_steps=2)]

    def train(self, root: Path, killer: Callback | None = None, steps: int = STEPS) -> None:
        """Begin, or go on as `--ckpt_path last` does."""
        logger, checkpoint = RunLogger(str(root), "x"), None
        if (root / "x").exists():
            run = newest_run(root / "x")
            step = newest_checkpoint(run)
            logger, checkpoint = RunLogger(str(root), "x", run, step), checkpoint_path(run, step)
        callbacks = [*self.callbacks(), *([killer] if killer else [])]
        settings = {"precision": self.precision, "logger": logger, "ckpt_path": checkpoint}
        fit(self.module(), steps, callbacks, data=self.data(), processes=self.processes, **settings)

    def in_processes(self, root: Path, killer: Callback | None = None) -> list[int]:
        return together(lambda: self.train(root, killer), self.processes)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class KillInStep(Callback):
    """Kills a process between the updates of the two networks."""

    def __init__(self, step: int, rank: int) -> None:
        self.step, self.rank = step, rank

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        here = trainer.global_step + 1 == self.step and trainer.global_rank == self.rank
        if here and optimizer is trainer.optimizers[0]:
            die()


class KillInWrite(Callback):
    """Kills the writer when a checkpoint is on the disk, but not yet under its name."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step + 1 == self.step and trainer.is_global_zero:
            os.replace = lambda *_: die()


CASES = [
    Case(precision="64-true"),
    Case(precision="bf16-mixed", ema=False, workers=0),
    Case(conditional=True, evaluated=True, workers=2),
    Case(processes=2, precision="bf16-mixed", conditional=True),
    Case(processes=2, ema=False, evaluated=True, workers=2),
    Case(processes=2, workers=0),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_killed_three_times_and_equal(tmp_path, monkeypatch, case):
    if case.workers is not None:
        monkeypatch.setattr("gan.data.image_data.MAX_ENCODED_BYTES", -1)
    assert case.in_processes(tmp_path / "whole") == [0] * case.processes
    broken = tmp_path / "broken"
    for killer in KillInStep(1, rank=0), KillInStep(5, rank=case.processes - 1), KillInWrite(6):
        assert -signal.SIGKILL in case.in_processes(broken, killer)
    assert list(broken.rglob(".*.tmp")), "the last kill hit the writing"
    assert case.in_processes(broken) == [0] * case.processes
    whole, run = (root / "x" / "version_0" for root in (tmp_path / "whole", broken))
    assert_same(*(read_checkpoint(find_checkpoint(path)) for path in (whole, run)))
    assert timeless(whole) == timeless(run)
    grids = [{path.name: path.read_bytes() for path in (path / "samples").iterdir()} for path in (whole, run)]
    assert grids[0] == grids[1]
    assert not list(broken.rglob(".*.tmp"))


def timeless(run: Path) -> list[dict]:
    return [{name: value for name, value in line.items() if "evaluation_" not in name} for line in lines(run)]


def test_processes_that_see_different_disks_do_not_train(tmp_path, capfd):
    """A network's file system may show the newest checkpoint to one machine before the other."""

    def train() -> None:
        checkpoint = tmp_path / f"{os.environ['RANK']}.ckpt"
        fit(small_gan(), 5, processes=2, ckpt_path=checkpoint)

    for rank in range(2):
        forked(lambda steps=rank + 1: fit(small_gan(), steps).save_checkpoint(tmp_path / f"{steps - 1}.ckpt"))
    assert 0 not in together(train)
    assert "process 1 found a checkpoint of step 2, but process 0 one of step 1" in capfd.readouterr().err


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.01, momentum=0.9)


@pytest.mark.parametrize("processes", [(2, 1), (1, 2)])
def test_another_number_of_processes_changes_nothing(tmp_path, processes):
    """In float64, where rounding is all that may differ."""

    def train(root: Path, steps: int, number: int, checkpoint: Path | None = None) -> None:
        norms = {"generator_norms": [ConditionalBatch()], "discriminator_norms": [Spectral(), Conv()]}
        module = small_gan(**norms, generator_optimizer=sgd, discriminator_steps=2, decay=LinearDecay(20))
        logger = RunLogger(str(root), "x")
        settings = {"precision": "64-true", "logger": logger, "ckpt_path": checkpoint, "processes": number}
        callbacks = [EMA(half_life_images=100), Monitor(1), Checkpoint(every_n_steps=10)]
        fit(module, steps, callbacks, data=Digits(batch_size=16, flip=True), **settings)

    first, then = processes
    assert forked(lambda: train(tmp_path / "whole", 8, 1)) == 0
    assert together(lambda: train(tmp_path / "first", 4, first), first) == [0] * first
    checkpoint = find_checkpoint(tmp_path / "first" / "x" / "version_0")
    assert together(lambda: train(tmp_path / "then", 8, then, checkpoint), then) == [0] * then
    whole, run = (tmp_path / name / "x" / "version_0" for name in ("whole", "then"))
    ours, theirs = (read_checkpoint(find_checkpoint(path)) for path in (run, whole))
    assert ours["state_dict"].keys() == theirs["state_dict"].keys()
    for key, value in theirs["state_dict"].items():
        torch.testing.assert_close(ours["state_dict"][key], value, rtol=0, atol=1e-10, msg=key)
    for line, expected in zip(lines(run), lines(whole)[4:], strict=True):
        assert line == pytest.approx(expected, rel=1e-9, abs=1e-10)
