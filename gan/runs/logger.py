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
from gan.runs.folder import CONFIG, METRICS, experiment_folder, versions
from gan.runs.tensorboard import publish_settings, tag_of

ProtocolFields = Mapping[str, str | int | None]  # how a score was computed; scores are comparable if these agree


def run_folder(trainer: Trainer) -> Path | None:
    """Return the folder of the trainer's run; None if it keeps none.

    Unlike `trainer.log_dir` this is no collective: it may be asked for by one process alone.
    """
    return next((Path(logger.log_dir) for logger in trainer.loggers if isinstance(logger, RunLogger)), None)


def append_metrics(run: Path, step: int | None, metrics: Mapping[str, Any], protocol: ProtocolFields | None) -> None:
    """Add a line to the metrics of a run."""
    values = {name: float(value) for name, value in metrics.items()}
    line: dict[str, Any] = {"step": step} | {  # JSON knows neither NaN nor infinity
        name: value if math.isfinite(value) else None for name, value in values.items()
    }
    if protocol is not None:
        line["protocol"] = dict(protocol)
    with named(run / METRICS), open(run / METRICS, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


class RunLogger(TensorBoardLogger):
    """Writes scalars to TensorBoard and to `metrics.jsonl` in the folder of the run.

    Args:
        root: Folder of all experiments.
        experiment: Name of the experiment.
        continue_run: Folder of the run to continue; None starts a new version.
        from_step: Generator step at which that run continues. Records of later steps are removed by `cut_once`.
    """

    def __init__(self, root: str, experiment: str, continue_run: Path | None = None, from_step: int = 0) -> None:
        super().__init__(root, experiment, default_hp_metric=False)
        self._run_name = None if continue_run is None else continue_run.name
        self._last_step = None if continue_run is None else from_step
        self._purge_step = None if continue_run is None else from_step + 1
        self._writer: _LazyWriter | None = None
        self._logged: set[tuple[int | None, frozenset[str], str]] = set()

    @property
    def root_dir(self) -> str:
        """Folder of the experiment, with `~` and environment variables expanded."""
        return str(experiment_folder(self.save_dir, self.name))

    @property
    def version(self) -> str:
        """Name of the run's folder, `version_<k>`. The first access claims a new one."""
        if self._run_name is None:
            self._run_name = _new_version(Path(self.root_dir))
        return self._run_name

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The `SummaryWriter`. Its file is created on first use, so a run that is refused leaves none."""
        if self._writer is None:
            self._writer = _LazyWriter(self.log_dir, self._purge_step)
        return self._writer

    @rank_zero_only
    def log_metrics(
        self, metrics: Mapping[str, Any], step: int | None = None, protocol: ProtocolFields | None = None
    ) -> None:
        """Log values, and the protocol of an evaluation, under a training step.

        The line in `metrics.jsonl` is flushed on return. Values that are already recorded for this step are skipped:
        a run that was killed between an evaluation and its checkpoint makes that evaluation twice.
        """
        self.cut_once()
        if (step, *_subject({**metrics, "protocol": protocol})) in self._logged:
            return
        super().log_metrics({tag_of(name, protocol is not None): value for name, value in metrics.items()}, step)
        if protocol is not None:
            text = "  \n".join(f"{name}: {value}" for name, value in protocol.items())  # Markdown's line breaks
            self.experiment.add_text("protocol", text, step)
            self.experiment.flush()  # before the line: where that stands, TensorBoard's point must not be missing
        append_metrics(Path(self.log_dir), step, metrics, protocol)

    @rank_zero_only
    def log_settings(self, settings: Mapping[str, str | int | float]) -> None:
        """Show what the run was configured to in TensorBoard's HPARAMS tab. Call it when the run has started."""
        self.cut_once()
        publish_settings(self.experiment.open(), settings)

    @rank_zero_only
    def discard_unused(self) -> None:
        """Remove the run's folder if it holds nothing but the configuration."""
        run = Path(self.log_dir)
        if run.exists() and not {path.name for path in run.rglob("*") if path.is_file()} - {CONFIG}:
            _remove(run)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Close the files. Remove the folder if it is empty, as after a run with nothing to train."""
        if self._writer is not None and self._writer.opened is not None:
            self._writer.opened.close()
        run = Path(self.log_dir)
        if run.exists() and not any(run.iterdir()):
            _remove(run)

    @rank_zero_only
    def save(self) -> None:
        """Flush all records to the disk. Lightning's version would also write an empty file of hyperparameters."""
        self.experiment.flush()
        run = Path(self.log_dir)
        for path in run / METRICS, *run.glob("events.out.*"):
            if path.exists():
                with named(path), open(path, "rb") as file:
                    os.fsync(file.fileno())

    @rank_zero_only
    def cut_once(self) -> None:
        """Remove records of steps after the one at which the run continues, and damaged lines.

        Call it when the run has started: a run that is refused keeps its records.
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


class _LazyWriter:
    """A `SummaryWriter` that creates its file when it is first used."""

    def __init__(self, folder: str, purge_step: int | None) -> None:
        self._arguments = folder, purge_step
        self.opened: SummaryWriter | None = None

    def open(self) -> SummaryWriter:
        """Create the file. Its first record makes TensorBoard hide all earlier records from `purge_step` on."""
        if self.opened is None:
            folder, purge_step = self._arguments
            self.opened = SummaryWriter(folder, purge_step=purge_step)
        return self.opened

    def flush(self) -> None:
        """Write out what is buffered, if anything was ever written."""
        if self.opened is not None:
            self.opened.flush()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # copying and pickling look for these
            raise AttributeError(name)
        return getattr(self.open(), name)


def _new_version(experiment: Path) -> str:
    """Claim the next version of an experiment. Another process may be claiming one at the same time."""
    number = 1 + max(versions(experiment), default=-1)
    while True:
        try:
            _claim(experiment / f"version_{number}")
        except FileExistsError:
            number += 1
        else:
            return f"version_{number}"


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
    """Return the training step of a line of metrics; infinity if it is none."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError, OverflowError):  # as many kinds as there are ways of being none
        return math.inf
