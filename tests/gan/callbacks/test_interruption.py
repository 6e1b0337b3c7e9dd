"""Signals: the step is finished and saved, the exit code says why, in every process."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from pytorch_lightning import Callback
from small_trainings import ended, fit, forked, small_gan, start, start_together, together
from torch import nn

from gan.callbacks import Checkpoint, Evaluation, Interruption
from gan.data import Digits
from gan.data.loaders import _Batches
from gan.metrics import Frechet
from gan.runs.checkpoints import find_checkpoint, newest_checkpoint, read_checkpoint
from gan.runs.folder import checkpoints
from gan.runs.logger import RunLogger

ENDLESS = 10**6
SIGNALS = [signal.SIGTERM, signal.SIGINT]


class Send(Callback):
    """Sends this process a signal in the middle of a generator step."""

    def __init__(self, number: int, step: int = 3, rank: int = 0, times: int = 1, pause: float = 0.0) -> None:
        self.number, self.step, self.rank, self.times, self.pause = number, step, rank, times, pause

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        first_of_step = optimizer is trainer.optimizers[1]
        if trainer.global_step + 1 == self.step and trainer.global_rank == self.rank and first_of_step:
            for _ in range(self.times):
                os.kill(os.getpid(), self.number)
                time.sleep(self.pause)


class Begun(Callback):
    """Says of each process that it has made a step, from where on it ends at the end of one."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        (self.root / f"begun{trainer.global_rank}").touch()


def train(root: Path, *callbacks: Callback, steps: int = ENDLESS, checkpoint: Path | None = None, **trainer) -> None:
    interruption = Interruption()
    logger = RunLogger(str(root), "x")
    callbacks = [*callbacks, interruption, Checkpoint(every_n_steps=ENDLESS, keep=0)]
    fit(small_gan(), steps, list(callbacks), logger=logger, ckpt_path=checkpoint, **trainer)
    interruption.leave()


def saved(root: Path) -> list[int]:
    return list(checkpoints(root / "x" / "version_0"))


@pytest.mark.parametrize("number", SIGNALS)
def test_the_step_is_finished_and_saved(tmp_path, number):
    assert forked(lambda: train(tmp_path, Send(number))) == 128 + number
    assert saved(tmp_path) == [0, 3]
    assert read_checkpoint(find_checkpoint(tmp_path / "x" / "version_0"))["global_step"] == 3


def test_a_minimum_of_steps_does_not_hold_it_up(tmp_path):
    assert forked(lambda: train(tmp_path, Send(signal.SIGTERM), min_steps=50, steps=60)) == 128 + signal.SIGTERM
    assert saved(tmp_path) == [0, 3]


def test_without_a_signal_nothing_happens(tmp_path):
    before = {number: signal.getsignal(number) for number in SIGNALS}
    train(tmp_path, steps=2)
    assert {number: signal.getsignal(number) for number in SIGNALS} == before
    assert saved(tmp_path) == [0, 2]
    with pytest.raises(ZeroDivisionError):
        train(tmp_path, Die(raise_an_error, rank=0))
    assert {number: signal.getsignal(number) for number in SIGNALS} == before


def test_a_second_ctrl_c_stops_at_once(tmp_path):
    assert forked(lambda: train(tmp_path, Send(signal.SIGINT, times=2, pause=0.6))) == 130
    assert saved(tmp_path) == [0]


@pytest.mark.parametrize("number", SIGNALS)
def test_the_same_signal_twice_in_a_moment_is_one(tmp_path, number):
    assert forked(lambda: train(tmp_path, Send(number, times=2))) == 128 + number
    assert saved(tmp_path) == [0, 3]


class Early(Callback):
    """Sends this process a signal before the first step."""

    def __init__(self, number: int) -> None:
        self.number = number

    def on_train_start(self, trainer, pl_module):
        os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", SIGNALS)
def test_before_the_first_step_there_is_nothing_to_wait_for(tmp_path, number):
    assert forked(lambda: train(tmp_path, Early(number))) == 128 + number


def test_a_continued_run_obeys_too(tmp_path):
    """Lightning calls fewer hooks when it continues."""
    train(tmp_path / "first", steps=2)
    checkpoint = find_checkpoint(tmp_path / "first" / "x" / "version_0")
    assert forked(lambda: train(tmp_path, Send(signal.SIGTERM, step=4), checkpoint=checkpoint)) == 143
    assert saved(tmp_path) == [2, 4]


def test_slurm_s_signal_saves_and_requeues(tmp_path, monkeypatch):
    fake = tmp_path / "scontrol"
    fake.write_text(f"#!/bin/sh\necho $@ > {tmp_path}/asked\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    slurm = {"JOB_ID": "17", "NTASKS": "1", "JOB_NAME": "train", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
    for name, value in slurm.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert forked(lambda: train(tmp_path, Send(signal.SIGUSR1))) == 128 + signal.SIGUSR1
    assert saved(tmp_path) == [0, 3]
    assert (tmp_path / "asked").read_text() == "requeue 17\n"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "5")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    assert forked(lambda: train(tmp_path / "array", Send(signal.SIGUSR1))) == 128 + signal.SIGUSR1
    assert (tmp_path / "asked").read_text() == "requeue 5_2\n"
    (tmp_path / "asked").unlink()
    assert forked(lambda: train(tmp_path / "early", Early(signal.SIGUSR1))) == 128 + signal.SIGUSR1
    assert (tmp_path / "asked").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("rank", [0, 1])
def test_one_of_two_processes_gets_it_and_both_stop(tmp_path, number, rank):
    started = time.monotonic()
    assert together(lambda: train(tmp_path, Send(number, rank=rank), processes=2)) == [128 + number] * 2
    assert time.monotonic() - started < 60
    assert saved(tmp_path) == [0, 3]


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
def test_at_any_moment_of_two_processes(tmp_path, number):
    """Twelve times: after so many milliseconds of training, to either process or to both."""
    for attempt in range(12):
        root = tmp_path / str(attempt)
        processes = start_together(lambda root=root: train(root, Begun(root), processes=2))
        while not all((root / f"begun{rank}").exists() for rank in range(2)):
            time.sleep(0.01)
        time.sleep(0.061 * attempt)
        sent = time.monotonic()
        for process in processes if attempt % 3 == 2 else [processes[attempt % 3]]:
            os.kill(process, number)
        codes = [ended(process) for process in processes]
        assert codes == [128 + number] * 2, f"attempt {attempt}"
        assert time.monotonic() - sent < 20
        assert len(saved(root)) == 2, f"attempt {attempt}"


class Looks(nn.Module):
    """Features of images that send this process a signal when `left` more batches of them were asked for."""

    name = "corners"
    left = -1
    number = signal.SIGTERM

    def forward(self, images):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)
        return images[:, 0, ::31, ::31].flatten(1).float(), None


class SendInEvaluation(Callback):
    """Sends the last process a signal in its third batch of the evaluation that follows a step."""

    def __init__(self, looks: Looks, step: int) -> None:
        self.looks, self.step = looks, step

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == self.step - 1 and trainer.global_rank == trainer.world_size - 1:
            self.looks.left = 3


@pytest.mark.parametrize("step", [2, 4])
@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_an_evaluation_is_cut_short_and_made_up_for(tmp_path, processes, step):
    """Of 73 images in blocks of 8: with two processes five blocks each, the last of which is not whole."""

    def train(root, checkpoint, *callbacks, looks):
        run = checkpoint and checkpoint.parent.parent
        evaluation = Evaluation(looks, [Frechet()], num_samples=73, every_n_steps=2, batch_size=8)
        interruption = Interruption()
        callbacks = (
            *callbacks,
            evaluation,
            interruption,
            Checkpoint(every_n_steps=ENDLESS, keep=0, monitor="fd_corners"),
        )
        logger = RunLogger(str(root), "x", run, newest_checkpoint(run) if run else 0)
        fit(small_gan(), 4, list(callbacks), logger=logger, ckpt_path=checkpoint, processes=processes)
        interruption.leave()

    def ends(root, checkpoint=None, send_at=None):
        looks = Looks()
        callbacks = [SendInEvaluation(looks, send_at)] if send_at else []
        return together(lambda: train(root, checkpoint, *callbacks, looks=looks), processes)

    def values(root):
        lines = map(json.loads, (root / "x" / "version_0" / "metrics.jsonl").read_text().splitlines())
        return [(line["step"], line["fd_corners"]) for line in lines]

    def best(root):
        return read_checkpoint(root / "x" / "version_0" / "checkpoints" / "best.ckpt")["global_step"]

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert ends(whole) == [0] * processes
    assert ends(cut, send_at=step) == [128 + signal.SIGTERM] * processes
    assert (values(cut), saved(cut)) == (values(whole)[: step // 2], sorted({0, step}))
    for _ in range(2):
        assert ends(cut, find_checkpoint(cut / "x" / "version_0")) == [0] * processes
        assert (values(cut), saved(cut), best(cut)) == (values(whole), sorted({0, step, 4}), best(whole))
    assert best(whole) > 0


class Die(Callback):
    def __init__(self, how, rank: int) -> None:
        self.how, self.rank = how, rank

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_rank == self.rank and trainer.global_step == 2:
            self.how()


def raise_an_error():
    raise ZeroDivisionError("of its own")


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_dies_takes_the_other_down(tmp_path, rank, capfd):
    started = time.monotonic()
    codes = together(lambda: train(tmp_path, Die(raise_an_error, rank), processes=2))
    assert 0 not in codes
    assert "ZeroDivisionError: of its own" in capfd.readouterr().err
    codes = together(lambda: train(tmp_path, Die(lambda: os.kill(os.getpid(), signal.SIGKILL), rank), processes=2))
    assert codes[rank] == -signal.SIGKILL
    assert codes[1 - rank] > 0
    assert time.monotonic() - started < 60


@pytest.mark.slow
def test_ctrl_c_reaches_the_loader_s_workers_and_does_no_harm(tmp_path, monkeypatch):
    """A terminal sends it to every process of the group, here while the training waits for its next images."""
    monkeypatch.setattr("gan.data.image_data.MAX_ENCODED_BYTES", -1)
    read = _Batches.__getitem__
    monkeypatch.setattr(_Batches, "__getitem__", lambda self, request: (time.sleep(1), read(self, request))[1])

    def run():
        os.setpgid(0, 0)
        data = Digits(batch_size=8)
        data.num_workers = 2
        train(tmp_path, data=data)

    process = start(run)
    while not saved(tmp_path):
        time.sleep(0.01)
    time.sleep(3)
    os.killpg(process, signal.SIGINT)
    assert ended(process) == 130
    assert len(saved(tmp_path)) == 2


@pytest.mark.slow
def test_a_signal_ends_a_run_that_waits_for_its_images(tmp_path, monkeypatch):
    """After the first step no batch arrives any more; Lightning asks for the one after the next in advance."""
    monkeypatch.setattr("gan.data.image_data.MAX_ENCODED_BYTES", -1)
    read, first_only = _Batches.__getitem__, iter(range(1))

    def once(self, request):
        return read(self, request) if next(first_only, None) is not None else time.sleep(1000)

    monkeypatch.setattr(_Batches, "__getitem__", once)

    def run():
        data = Digits(batch_size=8)
        data.num_workers = 2
        train(tmp_path, data=data)

    process = start(run)
    while not saved(tmp_path):
        time.sleep(0.01)
    time.sleep(3)
    os.kill(process, signal.SIGTERM)
    assert ended(process) == 143
    assert len(saved(tmp_path)) == 2


def test_a_run_killed_in_its_first_evaluation_goes_on(tmp_path):
    def train(network, checkpoint=None):
        logger = RunLogger(str(tmp_path), "x", checkpoint and checkpoint.parent.parent)
        evaluation = Evaluation(network, [Frechet()], num_samples=20, every_n_steps=ENDLESS, batch_size=8)
        fit(small_gan(), 1, [evaluation, Checkpoint()], logger=logger, ckpt_path=checkpoint)

    killed = Looks()
    killed.left, killed.number = 5, signal.SIGKILL  # three looks come before the training
    assert forked(lambda: train(killed)) == -signal.SIGKILL
    assert saved(tmp_path) == [0]
    assert forked(lambda: train(Looks(), find_checkpoint(tmp_path / "x" / "version_0"))) == 0
    lines = (tmp_path / "x" / "version_0" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 1]


def test_what_was_logged_is_on_the_disk_before_the_checkpoint(tmp_path, monkeypatch):
    forced = []
    monkeypatch.setattr(os, "fsync", lambda number: forced.append(Path(os.readlink(f"/proc/self/fd/{number}")).name))

    class Log(Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            pl_module.publish({"value": 1.0})
            forced.clear()

    fit(small_gan(), 1, [Log(), Checkpoint()], logger=RunLogger(str(tmp_path), "x"))
    metrics, events, checkpoint, *_ = forced
    assert metrics == "metrics.jsonl"
    assert events.startswith("events.out.tfevents.")
    assert ".ckpt" in checkpoint
