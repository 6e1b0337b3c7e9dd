"""Starting points of a training: scratch, a run to resume, a checkpoint's whole state, or its weights alone."""

from dataclasses import dataclass
from pathlib import Path

from gan.runs.checkpoints import find_checkpoint, newest_checkpoint
from gan.runs.folder import checkpoint_path, checkpoints, experiment_folder, is_run, newest_run


@dataclass(frozen=True)
class Start:
    """The starting point of a training or an evaluation.

    Attributes:
        checkpoint: Its whole state is loaded; None: none.
        run: The run that goes on in its own folder; None: a new one.
        step: Generator step of the checkpoint with which that run goes on.
        weights: A checkpoint of which only the weights are taken; None: none.
        message: What to tell the user; empty: nothing.
    """

    checkpoint: Path | None = None
    run: Path | None = None
    step: int = 0
    weights: Path | None = None
    message: str = ""


def find_start(
    resume: str | None, ckpt_path: str | None, init_from: str | None, root: str | None, experiment: str
) -> Start:
    """Return what the options mean.

    Args:
        resume: Folder of a run.
        ckpt_path: A checkpoint file, the folder of a run, or "last": the newest run of the experiment goes on.
        init_from: A checkpoint file or the folder of a run.
        root: Folder of all experiments; None only if there is no need to look there.
        experiment: Name of the experiment.

    Raises:
        ValueError: if more than one is given, or no checkpoint is whole.
        FileNotFoundError: if there is none.
    """
    options = {"--resume": resume, "--ckpt_path": ckpt_path, "--init_from": init_from}
    if len(given := [name for name, value in options.items() if value is not None]) > 1:
        raise ValueError(f"{' and '.join(given)} exclude each other: give one of them")
    if resume is not None:
        return _going_on(_run(resume))
    if ckpt_path == "last":
        return _going_on(newest_run(experiment_folder(str(root), experiment)))
    if ckpt_path is not None:
        path, message = _found(ckpt_path)
        return Start(checkpoint=path, message=message)
    if init_from is not None:
        path, message = _found(init_from)
        return Start(weights=path, message=message)
    return Start()


def _run(given: str) -> Path:
    path = Path(given).expanduser()
    if len(path.parts) < 3:  # its experiment and root are needed too
        path = path.resolve()
    if not is_run(path):
        raise ValueError(f"--resume takes the folder of a run (runs/<experiment>/version_<k>), got {given}")
    if not checkpoints(path):
        raise FileNotFoundError(f"{path} has no checkpoint to go on from")
    return path


def _going_on(run: Path) -> Start:
    step = newest_checkpoint(run)
    path = checkpoint_path(run, step)
    return Start(path, run, step, message=f"the last checkpoint is {path}")


def _found(given: str) -> tuple[Path, str]:
    path = find_checkpoint(given)
    same = path == Path(given).expanduser()
    return path, "" if same else f"the newest checkpoint of {Path(given).expanduser()} is {path}"
