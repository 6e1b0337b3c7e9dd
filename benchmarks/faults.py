"""Kill a small training at random moments, resume it, and compare what it leaves with that of one never killed.

    python -m benchmarks.faults --kills 30

A kill is a SIGKILL, at a moment drawn uniformly from the time that the whole training takes: while it starts, trains,
evaluates, draws or writes. What must be equal, bit for bit: weights, average, optimizer states and all else in the last
checkpoint, every metric line, every grid of samples.
"""

import argparse
import json
import os
import platform
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from gan.cli.main import main as run_command_line
from gan.runs.checkpoints import find_checkpoint, read_checkpoint
from gan.runs.folder import checkpoints

CONFIG = """
experiment: faults
trainer:
  accelerator: cpu
  max_steps: {steps}
  enable_progress_bar: false
  callbacks:
    - {{class_path: gan.callbacks.EMA, init_args: {{half_life_images: 500}}}}
    - {{class_path: gan.callbacks.Monitor, init_args: {{every_n_steps: 1}}}}
    - {{class_path: gan.callbacks.SampleGrid, init_args: {{every_n_steps: 10}}}}
    - {{class_path: gan.callbacks.Checkpoint, init_args: {{every_n_steps: 3}}}}
model:
  generator: {{class_path: gan.networks.DCGANGenerator, init_args: {{latent_dim: 8, width: 16}}}}
  discriminator: {{class_path: gan.networks.DCGANDiscriminator, init_args: {{width: 16}}}}
  generator_norms: [Batch]
  discriminator_norms: [Spectral, Conv]
  discriminator_steps: 2
  loss: Hinge
data: {{class_path: gan.data.Digits, init_args: {{batch_size: 16}}}}
metrics:
  class_path: gan.callbacks.Evaluation
  init_args: {{features: gan.metrics.DigitsClassifier, num_samples: 70, every_n_steps: 20, batch_size: 20}}
"""
TIMED = "images_per_second", "peak_memory_gib", "evaluation_seconds", "evaluation_share"


def forked(function: Callable[[], None], kill_after: float | None = None) -> int:
    """Call a function in a process of its own, which has imported all already; return its exit status."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            function()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def train(root: Path, config: Path, *arguments: str) -> None:
    log = os.open(root.with_suffix(".log"), os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(log, 1), os.dup2(log, 2)
    sys.argv = ["train.py", "fit", "--config", str(config), f"--trainer.default_root_dir={root}", *arguments]
    run_command_line()


def newest(root: Path) -> Path | None:
    """Return the newest run that has a checkpoint."""
    return next((run for run in sorted((root / "faults").glob("version_*"), reverse=True) if checkpoints(run)), None)


def lines(run: Path) -> list[dict[str, Any]]:
    parsed = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMED} for line in parsed]


def same(a: Any, b: Any) -> bool:
    """Compare nested contents of checkpoints bit for bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def differences(whole: Path, broken: Path) -> list[str]:
    """Return what is not equal in two runs."""
    contents = [read_checkpoint(find_checkpoint(run)) for run in (whole, broken)]
    found = [key for key in contents[0] if not same(contents[0][key], contents[1].get(key))]
    if lines(whole) != lines(broken):
        found.append("metric lines")
    grids = [{path.name: path.read_bytes() for path in (run / "samples").iterdir()} for run in (whole, broken)]
    return [*found, "grids"] if grids[0] != grids[1] else found


def kill_and_resume(root: Path, config: Path, moment: float, whole: Path) -> tuple[str, bool, str]:
    """Return where the kill hit, whether it hit a write, and what differs in the end."""
    forked(lambda: train(root, config), kill_after=moment)
    run = newest(root)
    reached = "before the first checkpoint" if run is None else f"step {last_step(run)}"
    hit_write = any(root.rglob(".*.tmp"))
    status = forked(lambda: train(root, config, *(["--ckpt_path=last"] if run else [])))
    ended = newest(root)
    if status or ended is None:
        return reached, hit_write, f"exit code {status}"
    return reached, hit_write, ", ".join(differences(whole, ended)) or "nothing"


def last_step(run: Path) -> int:
    text = (run / "metrics.jsonl").read_text() if (run / "metrics.jsonl").exists() else ""
    whole = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return max((json.loads(line)["step"] for line in whole), default=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0, help="Of the moments.")
    arguments = parser.parse_args()
    moments = random.Random(arguments.seed)
    folder = Path(tempfile.mkdtemp())
    config = folder / "config.yaml"
    config.write_text(CONFIG.format(steps=arguments.steps))
    forked(lambda: train(folder / "warm", config))  # the caches of the file system, and the reference statistics
    started = time.perf_counter()
    forked(lambda: train(folder / "whole", config))
    duration = time.perf_counter() - started
    whole = newest(folder / "whole")
    assert whole is not None
    print(
        f"torch {torch.__version__}, {platform.machine()}, {torch.get_num_threads()} threads, {duration:.1f} s a run\n"
    )
    print("| kill | after (s) | reached | during a write | differs in the end |\n| --- | --- | --- | --- | --- |")
    equal = 0
    for kill in range(1, arguments.kills + 1):
        moment = moments.uniform(0, duration)
        reached, hit_write, differs = kill_and_resume(folder / str(kill), config, moment, whole)
        equal += differs == "nothing"
        print(f"| {kill} | {moment:.2f} | {reached} | {'yes' if hit_write else 'no'} | {differs} |", flush=True)
    print(f"\n{arguments.kills} kills, {equal} equal.")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
