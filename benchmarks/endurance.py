"""Train a small GAN for many steps and print what it holds: memory, open files, threads, checkpoints.

    python -m benchmarks.endurance --steps 20000

Evaluations, grids and checkpoints happen all the time, so that whatever one of them leaks adds up. Linux only.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from gan.cli.main import main as run_command_line
from gan.runs.folder import CHECKPOINTS
from gan.runs.logger import run_folder

CONFIG = """
experiment: endurance
trainer:
  accelerator: cpu
  max_steps: {steps}
  enable_progress_bar: false
  callbacks:
    - {{class_path: gan.callbacks.EMA, init_args: {{half_life_images: 500}}}}
    - {{class_path: gan.callbacks.Monitor, init_args: {{every_n_steps: 10}}}}
    - {{class_path: gan.callbacks.SampleGrid, init_args: {{every_n_steps: 200}}}}
    - {{class_path: gan.callbacks.OperatorNorms, init_args: {{every_n_steps: 200}}}}
    - {{class_path: gan.callbacks.Checkpoint, init_args: {{every_n_steps: 100, keep: 2, monitor: fd_digits}}}}
    - {{class_path: benchmarks.endurance.Resources, init_args: {{every_n_steps: {every}}}}}
model:
  generator: {{class_path: gan.networks.DCGANGenerator, init_args: {{latent_dim: 4, width: 4}}}}
  discriminator: {{class_path: gan.networks.DCGANDiscriminator, init_args: {{width: 4}}}}
  generator_norms: [Batch]
  discriminator_norms: [Spectral, Conv]
  loss: Hinge
data: {{class_path: gan.data.Digits, init_args: {{batch_size: 4}}}}
metrics:
  class_path: gan.callbacks.Evaluation
  init_args: {{features: gan.metrics.DigitsClassifier, num_samples: 70, every_n_steps: 200, batch_size: 70}}
"""


class Resources(Callback):
    """Prints what the process holds, every n steps; at the end, by how much the memory grew after the first tenth.

    Args:
        every_n_steps: Generator steps between two rows.
    """

    def __init__(self, every_n_steps: int) -> None:
        self.every_n_steps = every_n_steps
        self.megabytes: list[float] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the head of the table."""
        print("| step | memory (RSS, MB) | open files | threads | checkpoints |\n| --- | --- | --- | --- | --- |")

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Print a row."""
        if trainer.global_step % self.every_n_steps:
            return
        run = run_folder(trainer)
        assert run is not None
        self.megabytes.append(_pages() * os.sysconf("SC_PAGE_SIZE") / 1e6)
        held = len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), len(os.listdir(run / CHECKPOINTS))
        print(f"| {trainer.global_step} | {self.megabytes[-1]:.1f} | {' | '.join(map(str, held))} |", flush=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Sum up."""
        settled = self.megabytes[len(self.megabytes) // 10 :]
        print(
            f"\nmemory after the first tenth: {settled[0]:.1f} MB, at most {max(settled) / settled[0] - 1:+.2%} later"
        )


def _pages() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20_000)
    steps = parser.parse_args().steps
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.yaml")
        config.write_text(CONFIG.format(steps=steps, every=max(1, steps // 20)))
        sys.argv = ["train.py", "fit", "--config", str(config), f"--trainer.default_root_dir={folder}/runs"]
        run_command_line()


if __name__ == "__main__":
    main()
