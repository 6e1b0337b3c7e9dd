"""The folder of a run.

`<root>/<experiment>/version_<k>/` holds

- `config.yaml`: the resolved configuration,
- `metrics.jsonl`: one JSON object per line with `step` and values by name (null if not finite). Lines of an evaluation
  also hold `protocol`, which says how the scores were computed,
- `events.out.tfevents.*`: the same values and the grids, for TensorBoard,
- `checkpoints/step_00001000.ckpt`, ... and `best.ckpt`,
- `samples/step_00001000.png`, ...
- `outcome.json`: how the run ended, once it has.
"""

import os
import re
from pathlib import Path

CONFIG = "config.yaml"
METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"
SAMPLES = "samples"
_VERSION = re.compile(r"version_(\d+)")
_STEP = re.compile(r"step_(\d+)\.ckpt")


def is_run(folder: Path) -> bool:
    """Return whether a folder is that of a run, with or without checkpoints."""
    return _VERSION.fullmatch(folder.name) is not None and Path(folder, CONFIG).is_file()


def experiment_folder(root: str, experiment: str) -> Path:
    """Return the folder of an experiment's runs, with `~` and environment variables expanded."""
    return Path(os.path.expanduser(os.path.expandvars(os.path.join(root, experiment))))


def checkpoint_path(run: Path, step: int) -> Path:
    """Return the path of the checkpoint of a training step."""
    return run / CHECKPOINTS / f"step_{step:08d}.ckpt"


def checkpoints(run: Path) -> dict[int, Path]:
    """Return the run's checkpoints by training step, oldest first."""
    found = {int(match[1]): path for path in (run / CHECKPOINTS).glob("*") if (match := _STEP.fullmatch(path.name))}
    return dict(sorted(found.items()))


def versions(experiment: Path) -> dict[int, Path]:
    """Return the folders of an experiment's runs by version number, oldest first."""
    found = {int(match[1]): path for path in experiment.glob("version_*") if (match := _VERSION.fullmatch(path.name))}
    return dict(sorted(found.items()))


def newest_run(experiment: Path) -> Path:
    """Return the newest version of an experiment.

    Raises:
        FileNotFoundError: if there is none, or if it has no checkpoint: an older version is not what was asked for.
    """
    if not (runs := versions(experiment)):
        raise FileNotFoundError(f"no run in {experiment}: nothing to continue")
    newest = runs[max(runs)]
    if not checkpoints(newest):
        raise FileNotFoundError(f"the newest run, {newest}, has no checkpoint: give --ckpt_path the folder of another")
    return newest
