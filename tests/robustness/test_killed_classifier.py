"""A training that is killed, and one that is asked to stop, go on as if nothing had been."""

import json
import os
import signal
import sys
import time

import pytest
import torch
from small_trainings import ended, start

from gan.runs.checkpoints import find_checkpoint, read_checkpoint
from gan.runs.folder import METRICS
from robustness.cli.main import main

FIT = [
    *("fit", "--config=robustness/digits", "--trainer.max_steps=24", "--model.network.widths=[4, 8]"),
    *("--data.num_images=100", "--data.batch_size=16"),
    *("--trainer.accelerator=cpu", "--model.adversarial=robustness.adversarial.FreeTraining"),
    "--model.adversarial.repeats=2",
    *("--callbacks.Monitor.every_n_steps=1", "--callbacks.Checkpoint.every_n_steps=3", "--evaluation.every_n_steps=8"),
    *("--evaluation.corruptions=[robustness.corruptions.GaussianNoise]", "--evaluation.attacks=[FGSM]"),
    *("--evaluation.num_corrupted=20", "--evaluation.num_attacked=10"),
]


def lines(run):
    whole = [line for line in (run / METRICS).read_text().splitlines(keepends=True) if line.endswith("\n")]
    timed = "images_per_second", "peak_memory_gib"
    return [{name: value for name, value in json.loads(line).items() if name not in timed} for line in whole]


def send(number, run, step, process):
    """Send a signal as soon as a line of this step is on the disk; return how the process ends."""
    while not ((run / METRICS).exists() and lines(run)[-1:] and lines(run)[-1]["step"] >= step):
        time.sleep(0.002)
    os.kill(process, number)
    return ended(process)


@pytest.mark.slow
def test_killed_and_stopped_and_equal(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["robustness"])
    whole, broken = (tmp_path / name / "digits_classifier" / "version_0" for name in ("whole", "broken"))
    assert ended(start(lambda: main([*FIT, f"--trainer.default_root_dir={tmp_path}/whole"]))) == 0
    begun = start(lambda: main([*FIT, f"--trainer.default_root_dir={tmp_path}/broken"]))
    assert send(signal.SIGKILL, broken, 5, begun) == -signal.SIGKILL
    resumed = start(lambda: main(["fit", f"--resume={broken}"]))
    assert send(signal.SIGTERM, broken, 12, resumed) == 128 + signal.SIGTERM
    assert 12 <= read_checkpoint(find_checkpoint(broken), "classifier")["global_step"] < 24
    assert not (broken / "robustness.csv").exists()
    assert ended(start(lambda: main(["fit", f"--resume={broken}"]))) == 0
    a, b = (read_checkpoint(find_checkpoint(run), "classifier") for run in (whole, broken))
    assert a["global_step"] == b["global_step"] == 24
    torch.testing.assert_close(b["state_dict"], a["state_dict"], rtol=0, atol=0)
    torch.testing.assert_close(b["optimizer_states"], a["optimizer_states"], rtol=0, atol=0)
    assert lines(broken) == lines(whole)
    assert (broken / "robustness.csv").read_bytes() == (whole / "robustness.csv").read_bytes()
