"""The records of a run: TensorBoard's events and `metrics.jsonl`."""

import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_fabric.loggers.logger import rank_zero_experiment
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only, rank_zero_warn
from torch.utils.tensorboard import SummaryWriter

from gan.runs.files import named, write_atomically
from gan.runs.folder import CONFIG, METRICS, experiment_folder

ProtocolFields = Mapping[str, str | int | None]  # how values were made: all that two of them must share to be compared


def run_folder(trainer: Trainer) -> Path | None:
    """Return the folder of the trainer's run; None if it keeps none.

    Unlike `trainer.log_dir` this is no collective: it may be asked for by one process alone.
    """
    return next((Path(logger.log_dir) for logger in trainer.loggers if isinstance(logger, RunLogger)), None)


class RunLogger(TensorBoardLogger):
    """Writes values to TensorBoard and to `metrics.jsonl`, in the run's folder.

    Args:
        root: Folder of all experiments.
        experiment: Name of the experiment.
        continue_run: The run to go on with; None: a new version.
        from_step: Generator step from which that run goes on: what it logged after it is cut when it does, by
            `cut_once`.
    """

    def __init__(self, root: str, experiment: str, continue_run: Path | None = None, from_step: int = 0) -> None:
        version = None if continue_run is None else continue_run.name
        purge = None if continue_run is None else from_step + 1
        super().__init__(root, experiment, version, default_hp_metric=False, purge_step=purge)
        self._last_step = None if continue_run is None else from_step
        self._logged: set[tuple[int | None, frozenset[str], str]] = set()

    @property
    def root_dir(self) -> str:
        """The folder of the experiment. Lightning expands `~` in `log_dir` alone, so it would count elsewhere."""
        return str(experiment_folder(self.save_dir, self.name))

    @property
    @rank_zero_experiment
    def experiment(self) -> SummaryWriter:
        """TensorBoard's writer. Lightning asks for it before it is known whether a checkpoint fits."""
        if self._experiment is None:
            self._experiment = _LateWriter(self.log_dir, **self._kwargs)
        return self._experiment

    @rank_zero_only
    def log_metrics(
        self, metrics: Mapping[str, Any], step: int | None = None, protocol: ProtocolFields | None = None
    ) -> None:
        """Log values, and how they were made, under a generator step. A line is on its way to the disk on return.

        What stands there already is not logged again: an evaluation that was made up for, but not saved before a kill,
        is made once more.
        """
        self.cut_once()
        if (step, *_subject({**metrics, "protocol": protocol})) in self._logged:
            return
        super().log_metrics(metrics, step)
        values = {name: float(value) for name, value in metrics.items()}
        line: dict[str, Any] = {"step": step} | {  # JSON knows neither NaN nor infinity
            name: value if math.isfinite(value) else None for name, value in values.items()
        }
        if protocol is not None:
            line["protocol"] = dict(protocol)
            text = "  \n".join(f"{name}: {value}" for name, value in protocol.items())  # Markdown's line breaks
            self.experiment.add_text("protocol", text, step)
            self.experiment.flush()  # before the line: where that stands, TensorBoard's point must not be missing
        path = Path(self.log_dir, METRICS)
        with named(path), open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    @rank_zero_only
    def discard_unused(self) -> None:
        """Remove the run's folder if nothing was made in it: if it holds the configuration at most."""
        run = Path(self.log_dir)
        if run.exists() and not {path.name for path in run.rglob("*") if path.is_file()} - {CONFIG}:
            _remove(run)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Close the files, and remove the folder if it is empty: there was nothing to train."""
        super().finalize(status)
        run = Path(self.log_dir)
        if run.exists() and not any(run.iterdir()):
            _remove(run)

    @rank_zero_only
    def save(self) -> None:
        """Force what was logged to the disk. Lightning's own writes an empty file of hyperparameters too."""
        self.experiment.flush()
        run = Path(self.log_dir)
        for path in run / METRICS, *run.glob("events.out.*"):
            if path.exists():
                with named(path), open(path, "rb") as file:
                    os.fsync(file.fileno())

    @rank_zero_only
    def cut_once(self) -> None:
        """Drop what was logged after the step from which the run goes on, and lines that are damaged.

        To be called when the run does go on, not before: one that is refused loses nothing.
        """
        last_step, self._last_step = self._last_step, None
        if last_step is None:
            return
        path = Path(self.log_dir, METRICS)
        if path.exists():
            *lines, rest = path.read_bytes().split(b"\n")  # the rest is empty, or what a kill left of a line
            if damaged := [str(number) for number, line in enumerate(lines, 1) if _step_of(line) == math.inf]:
                rank_zero_warn(f"{path}: damaged and dropped: line {', '.join(damaged)}")
            kept = [line for line in (*lines, rest) if _step_of(line) <= last_step]
            write_atomically(path, lambda file: file.write(b"".join(line + b"\n" for line in kept)))
            self._logged = {(last_step, *_subject(json.loads(line))) for line in kept if _step_of(line) == last_step}
        self.experiment.open()

    def _get_next_version(self) -> int:
        """Return the number of a new version, and claim it: another process may be asking at the same time."""
        while True:
            version: int = super()._get_next_version()
            try:
                _claim(Path(self.root_dir, f"version_{version}"))
            except FileExistsError:
                continue
            return version


class _LateWriter(SummaryWriter):
    """Opens its file when there is something to write, instead of at once: a run that is refused leaves none."""

    _may_open = False

    def __init__(self, log_dir: str, **settings: Any) -> None:
        super().__init__(log_dir, **settings)
        self._may_open = True

    def open(self) -> None:
        """Open the file. From its first line on, TensorBoard hides what was logged from `purge_step` on."""
        self._get_file_writer()

    def _get_file_writer(self) -> Any:
        return super()._get_file_writer() if self._may_open else None


@rank_zero_only
def _claim(folder: Path) -> None:
    folder.mkdir(parents=True)


def _remove(run: Path) -> None:
    shutil.rmtree(run)
    if not any(run.parent.iterdir()):  # nor is there another run of the experiment
        run.parent.rmdir()


def _subject(line: Mapping[str, Any]) -> tuple[frozenset[str], str]:
    """Return what a line is of: the names of its values, and how they were made."""
    return frozenset(line) - {"step", "protocol"}, json.dumps(dict(line.get("protocol") or {}), sort_keys=True)


def _step_of(line: bytes) -> float:
    """Return the generator step of a line of metrics; infinity if it is none."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError, OverflowError):  # as many kinds as there are ways of being none
        return math.inf
