"""The folder of a run, and what is in it.

`<root>/<experiment>/version_<k>/` holds

- `config.yaml`: the resolved configuration,
- `metrics.jsonl`: one JSON object a line, `step` and values under their names,
- `events.out.tfevents.*`: the same and more, for TensorBoard,
- `checkpoints/step_00001000.ckpt`, ... and `best.ckpt`,
- `samples/step_00001000.png`, ...
"""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"
_STEP = re.compile(r"step_(\d+)\.ckpt")


def run_folder(trainer: Trainer) -> Path | None:
    """Return the folder of the trainer's run; None if it keeps none.

    Unlike `trainer.log_dir` this is no collective: it may be asked for by one process alone.
    """
    return next((Path(logger.log_dir) for logger in trainer.loggers if isinstance(logger, RunLogger)), None)


def checkpoint_path(run: Path, step: int) -> Path:
    """Return where the checkpoint of a generator step belongs."""
    return run / CHECKPOINTS / f"step_{step:08d}.ckpt"


def checkpoints(run: Path) -> dict[int, Path]:
    """Return the run's checkpoints by generator step, oldest first."""
    found = {int(match[1]): path for path in (run / CHECKPOINTS).glob("*") if (match := _STEP.fullmatch(path.name))}
    return dict(sorted(found.items()))


def newest_run(experiment: Path) -> Path:
    """Return the newest version of an experiment that has a checkpoint.

    Raises:
        FileNotFoundError: if there is none.
    """
    versions = [path for path in experiment.glob("version_*") if path.name.removeprefix("version_").isdigit()]
    for run in sorted(versions, key=lambda path: int(path.name.removeprefix("version_")), reverse=True):
        if checkpoints(run):
            return run
    raise FileNotFoundError(f"no run with a checkpoint in {experiment}: nothing to continue")


def find_checkpoint(run_or_checkpoint: str | Path) -> Path:
    """Return the checkpoint that a path means: the file itself, or the newest one of a run's folder.

    Raises:
        FileNotFoundError: if there is no such file, or no checkpoint in the folder.
    """
    path = Path(run_or_checkpoint)
    if path.is_file():
        return path
    if found := checkpoints(path):
        return found[max(found)]
    raise FileNotFoundError(f"{path} is neither a checkpoint nor the folder of a run with checkpoints")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint file, on the CPU. Nothing but tensors and plain values is ever unpickled.

    Raises:
        ValueError: if the file is not a whole checkpoint of this framework.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a different kind of error for each way in which a file can be broken
        raise ValueError(f"{path} is not a readable checkpoint: {str(error).splitlines()[0]}") from error
    if not isinstance(checkpoint, dict) or "gan" not in checkpoint:
        raise ValueError(f"{path} is not a checkpoint of this framework: it does not say how its networks were built")
    return checkpoint


class RunLogger(TensorBoardLogger):
    """Writes values to TensorBoard and to `metrics.jsonl`, in the run's folder.

    Args:
        root: Folder of all experiments.
        experiment: Name of the experiment.
        continue_run: The run to go on with; None: a new version.
        from_step: Generator step from which that run goes on: what it logged after it is cut.
    """

    def __init__(self, root: str, experiment: str, continue_run: Path | None = None, from_step: int = 0) -> None:
        version = None if continue_run is None else continue_run.name
        purge = None if continue_run is None else from_step + 1
        super().__init__(root, experiment, version, default_hp_metric=False, purge_step=purge)
        if continue_run is not None:
            self._cut(continue_run / METRICS, from_step)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log values under a generator step. A line is on its way to the disk when this returns."""
        super().log_metrics(metrics, step)
        with open(Path(self.log_dir, METRICS), "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **{name: float(value) for name, value in metrics.items()}}) + "\n")

    @rank_zero_only
    def discard_unused(self) -> None:
        """Remove the run's folder if the run never began: if nothing was measured or saved."""
        run = Path(self.log_dir)
        if run.exists() and not (run / METRICS).exists() and not (run / CHECKPOINTS).exists():
            self.experiment.close()
            shutil.rmtree(run)

    def save(self) -> None:
        """Write out what is still in memory. Lightning's own writes an empty file of hyperparameters too."""
        self.experiment.flush()

    @rank_zero_only
    def _cut(self, path: Path, last_step: int) -> None:
        """Drop the lines after a step, and a line that a kill left unfinished."""
        if not path.exists():
            return
        kept = [line for line in path.read_text(encoding="utf-8").splitlines() if _step_of(line) <= last_step]
        path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")


def _step_of(line: str) -> float:
    try:
        return int(json.loads(line)["step"])
    except ValueError:
        return float("inf")
