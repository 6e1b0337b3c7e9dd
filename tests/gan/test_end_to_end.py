"""Whole runs in processes of their own: killed, continued, and shared between two."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import gan
from gan.runs.checkpoints import read_checkpoint
from gan.runs.folder import checkpoints

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SMALL = """
experiment: x
trainer:
  accelerator: cpu
  max_steps: 60
  enable_progress_bar: false
  callbacks:
    - {class_path: gan.callbacks.EMA, init_args: {half_life_images: 500}}
    - {class_path: gan.callbacks.Monitor, init_args: {every_n_steps: 7}}
    - {class_path: gan.callbacks.SampleGrid, init_args: {every_n_steps: 20}}
    - {class_path: gan.callbacks.Checkpoint, init_args: {every_n_steps: 9}}
model:
  generator: {class_path: gan.networks.DCGANGenerator, init_args: {latent_dim: 8, width: 4}}
  discriminator: {class_path: gan.networks.DCGANDiscriminator, init_args: {width: 4}}
  generator_norms: [Batch]
  discriminator_norms: [Batch, Conv]
  loss: Hinge
data: {class_path: gan.data.Digits, init_args: {batch_size: 16}}
metrics:
  class_path: gan.callbacks.Evaluation
  init_args: {features: gan.metrics.DigitsClassifier, num_samples: 70, every_n_steps: 20, batch_size: 20}
"""


@pytest.fixture
def start(tmp_path):
    """Start `train.py fit` with the small experiment, below `tmp_path/<root>`."""
    (tmp_path / "small.yaml").write_text(SMALL)

    def run(root: str, *arguments: str) -> subprocess.Popen:
        command = [sys.executable, str(ROOT / "train.py"), "fit", "--config", str(tmp_path / "small.yaml")]
        command += [f"--trainer.default_root_dir={tmp_path / root}", *arguments]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    return run


def finish(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return output


def kill_at(process: subprocess.Popen, run: Path, step: int) -> None:
    """Kill with SIGKILL as soon as a line of this step, or a later one, is on the disk."""
    lines = run / "metrics.jsonl"
    while process.poll() is None:
        if lines.exists() and any(json.loads(line)["step"] >= step for line in whole_lines(lines)):
            process.send_signal(signal.SIGKILL)
        time.sleep(0.002)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def whole_lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def values(run: Path) -> list[dict]:
    """Return the metric lines, but for what is a matter of time."""
    timed = "images_per_second", "peak_memory_gib", "evaluation_seconds", "evaluation_share"
    parsed = [json.loads(line) for line in whole_lines(run / "metrics.jsonl")]
    return [{name: value for name, value in line.items() if name not in timed} for line in parsed]


def test_a_run_killed_twice_ends_as_one_never_killed(start, tmp_path):
    """In other precisions, and with two processes, in test_resume.py."""
    arguments = ["--trainer.precision=bf16-mixed"]
    finish(start("whole", *arguments))
    broken = tmp_path / "broken" / "x" / "version_0"
    kill_at(start("broken", *arguments), broken, step=7)
    kill_at(start("broken", *arguments, "--ckpt_path=last"), broken, step=35)
    finish(start("broken", *arguments, "--ckpt_path=last"))
    whole = tmp_path / "whole" / "x" / "version_0"
    a, b = (read_checkpoint(checkpoints(run)[60]) for run in (whole, broken))
    for key, value in a["state_dict"].items():
        assert torch.equal(value, b["state_dict"][key]), key
    for one, other in zip(a["optimizer_states"], b["optimizer_states"], strict=True):
        for parameter, moments in one["state"].items():
            assert all(torch.equal(value, other["state"][parameter][name]) for name, value in moments.items())
    assert values(whole) == values(broken)
    for grid in (whole / "samples").iterdir():
        assert grid.read_bytes() == (broken / "samples" / grid.name).read_bytes()


def test_two_processes_train_to_what_one_does(start, tmp_path):
    """In float64, batch norm over both processes included."""
    precise = ["--trainer.precision=64-true", "--trainer.max_steps=20", "--model.discriminator_steps=2"]
    finish(start("one", *precise))
    finish(start("two", *precise, "--trainer.devices=2"))
    one, two = (tmp_path / root / "x" / "version_0" for root in ("one", "two"))
    state, other = (read_checkpoint(checkpoints(run)[20])["state_dict"] for run in (one, two))
    assert state.keys() == other.keys()
    # The exact gradient of a bias in front of a batch norm is zero. Adam turns its rounding error into steps, which
    # change neither what the network computes nor any other weight; the running means carry the bias along.
    invisible = ".norm.running_mean", ".conv.bias", ".conv.layer.bias", "project.bias", "generator.norm.running_mean"
    for key, value in state.items():
        tolerance = 1e-7 if key.endswith(invisible) or key == "generator_ema.norm.running_mean" else 1e-10
        torch.testing.assert_close(other[key].double(), value.double(), rtol=0, atol=tolerance, msg=key)
    images, others = (gan.load(run).double().sample(32) for run in (one, two))
    assert torch.equal(images, others)
    for line, other_line in zip(values(one), values(two), strict=True):
        assert line.keys() == other_line.keys()
        assert line.pop("protocol", None) == other_line.pop("protocol", None)
        for name, value in line.items():
            assert other_line[name] == pytest.approx(value, rel=1e-9, abs=1e-9), name
    assert sorted(path.name for path in two.parent.iterdir()) == ["version_0"]


def wait_for_step(run: Path, step: int, process: subprocess.Popen) -> None:
    lines = run / "metrics.jsonl"
    while process.poll() is None:
        if lines.exists() and any(json.loads(line)["step"] >= step for line in whole_lines(lines)):
            return
        time.sleep(0.01)
    raise AssertionError(process.communicate()[0])


def children(process: subprocess.Popen) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, check=False)
    return [int(pid) for pid in listed.stdout.split() if alive(int(pid))]


def alive(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


ENDLESS = ["--trainer.devices=2", "--trainer.max_steps=100000"]


@pytest.mark.skipif(not Path("/proc").exists(), reason="asks the kernel which processes live")
def test_a_signal_to_the_process_that_was_started_ends_all(start, tmp_path):
    """Lightning starts the second one, and would kill the first when the second ends with a code."""
    run = tmp_path / "two" / "x" / "version_0"
    process = start("two", *ENDLESS)
    wait_for_step(run, 7, process)
    (child,) = children(process)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, output
    time.sleep(1)
    assert not alive(child)
    step = max(checkpoints(run))
    finish(start("two", "--trainer.devices=2", f"--trainer.max_steps={step + 1}", "--ckpt_path=last"))
    assert max(checkpoints(run)) == step + 1


@pytest.mark.skipif(not Path("/proc").exists(), reason="asks the kernel which processes live")
def test_a_signal_before_the_processes_have_met_ends_all(start):
    process = start("two", *ENDLESS)
    while not (started := children(process)):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, output
    time.sleep(1)
    assert not any(map(alive, started))


@pytest.mark.skipif(not Path("/proc").exists(), reason="asks the kernel which processes live")
def test_a_process_that_is_killed_takes_the_other_down(start, tmp_path):
    process = start("two", *ENDLESS)
    wait_for_step(tmp_path / "two" / "x" / "version_0", 7, process)
    (child,) = children(process)
    os.kill(child, signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode != 0


def test_quickstart_as_a_user_runs_it(tmp_path):
    command = [sys.executable, str(ROOT / "train.py"), "fit", "--config", str(ROOT / "configs" / "quickstart.yaml")]
    command += ["--trainer.max_steps=150", "--metrics.every_n_steps=150", "--trainer.accelerator=cpu"]
    command += [f"--trainer.default_root_dir={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "quickstart" / "version_0"
    assert str(run) in done.stdout.replace("\n", "")
    assert "tensorboard --logdir" in done.stdout
    distances = [line["fd_digits"] for line in values(run) if "fd_digits" in line]
    assert distances[-1] < 0.8 * distances[0]
    assert done.stderr == ""
