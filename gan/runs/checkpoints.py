"""Finding and reading the checkpoints of a run."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_warn

from gan.runs.folder import CHECKPOINTS, checkpoint_path, checkpoints, versions


def newest_checkpoint(run: Path) -> int:
    """Return the step of the newest undamaged checkpoint of a run. Damaged ones are skipped with a warning.

    Raises:
        ValueError: if there is none.
    """
    for step, path in reversed(checkpoints(run).items()):
        try:
            _check_whole(path)
        except ValueError as error:
            rank_zero_warn(f"passed over: {error}")
        else:
            return step
    raise ValueError(f"no checkpoint in {run / CHECKPOINTS} is whole: nothing to continue")


def find_checkpoint(run_or_checkpoint: str | Path) -> Path:
    """Return the checkpoint that a path stands for: the file itself, or the newest undamaged one of a run's folder.

    Raises:
        FileNotFoundError: if there is no such file, or no checkpoint in the folder.
        ValueError: if all checkpoints in the folder are damaged.
    """
    path = Path(run_or_checkpoint).expanduser()
    if path.is_file():
        return path
    if checkpoints(path):
        return checkpoint_path(path, newest_checkpoint(path))
    if not path.exists():
        raise FileNotFoundError(f"there is no run or checkpoint {path}")
    runs = [run for run in versions(path).values() if checkpoints(run)]
    hint = f"; did you mean {runs[-1]}?" if runs else ""
    raise FileNotFoundError(f"{path} is neither a checkpoint nor the folder of a run with checkpoints{hint}")


def read_checkpoint(path: Path, facts_key: str = "gan") -> dict[str, Any]:
    """Return the content of a checkpoint file, on the CPU. Only tensors and plain values are unpickled.

    Args:
        path: The file.
        facts_key: Where it must say how its networks were built, see `TrainingModule`.

    Raises:
        ValueError: if the file is damaged or not such a checkpoint.
    """
    _check_whole(path)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # torch's own message advises to unpickle everything
        raise ValueError(f"{path} is not a readable checkpoint: not all in it is tensors and plain values") from error
    except Exception as error:  # torch raises many kinds of errors for broken files
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(f"{path} is not a readable checkpoint: {reason}") from error
    if not isinstance(checkpoint, dict) or facts_key not in checkpoint:
        raise ValueError(f"{path} is not a checkpoint of a {facts_key}: it does not say how its networks were built")
    return checkpoint


def _check_whole(path: Path) -> None:
    """Verify the checksums of a file. It is a zip archive, and `torch.load` ignores the CRCs."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception as error:  # zipfile raises many kinds of errors
        reason = error or type(error).__name__
        raise ValueError(f"{path} is not a whole checkpoint (a .ckpt file of a run): {reason}") from error
    if damaged is not None:
        raise ValueError(f"{path} is not a whole checkpoint: {damaged} is not what was written")
