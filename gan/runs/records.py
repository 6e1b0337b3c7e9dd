"""Reads the records of a run: configuration, scores with their protocols, speed, and how it ended."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gan.runs.folder import CONFIG, METRICS, SAMPLES, is_run
from gan.runs.outcome import Outcome, read_outcome

Points = list[tuple[int, float]]  # step and value; NaN where it was not finite
Protocol = tuple[tuple[str, Any], ...]  # the fields of a protocol by name
_COST = "evaluation_seconds", "evaluation_share"


@dataclass(frozen=True)
class RunRecords:
    """The records of a run.

    Attributes:
        folder: Its folder.
        config: Its resolved configuration.
        lines: The lines of its metrics, in order.
        outcome: How it ended; None: it has not, or was killed.
    """

    folder: Path
    config: dict[str, Any]
    lines: list[dict[str, Any]]
    outcome: Outcome | None

    @property
    def seed(self) -> Any:
        """The seed of the run."""
        return self.config.get("seed_everything")

    @property
    def images_per_step(self) -> int | None:
        """Real images of a training step; None if the configuration does not say."""
        data, model = self.config.get("data") or {}, self.config.get("model") or {}
        batch, updates = (data.get("init_args") or {}).get("batch_size"), model.get("discriminator_steps")
        return batch * updates if isinstance(batch, int) and isinstance(updates, int) else None

    @property
    def last_step(self) -> int:
        """The last step of which there is a record."""
        recorded = max((line["step"] for line in self.lines), default=0)
        return max(recorded, 0 if self.outcome is None else self.outcome.step)

    @property
    def newest_grid(self) -> Path | None:
        """The newest picture of samples."""
        return max((self.folder / SAMPLES).glob("step_*.png"), default=None)

    def scores(self) -> dict[tuple[str, Protocol], Points]:
        """Return the scores by name and protocol."""
        found: dict[tuple[str, Protocol], Points] = {}
        for line in self.lines:
            if protocol := line.get("protocol"):
                key = tuple(sorted(protocol.items()))
                for name in set(line) - {"step", "protocol", *_COST}:
                    found.setdefault((name, key), []).append(_point(line, name))
        return {key: sorted(points) for key, points in sorted(found.items(), key=lambda each: each[0][0])}

    def series(self, name: str) -> Points:
        """Return the values under a name that is no score, such as "loss/generator"."""
        return [_point(line, name) for line in self.lines if name in line]


def read_run(folder: Path) -> RunRecords:
    """Read the records of a run. Lines of metrics that a kill has cut are left out.

    Raises:
        ValueError: if its configuration cannot be read.
    """
    try:
        config = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeError) as error:
        raise ValueError(f"{folder / CONFIG} cannot be read: {error}") from None
    if not isinstance(config, dict):
        raise ValueError(f"{folder / CONFIG} holds no configuration")
    return RunRecords(folder, config, list(_lines(folder / METRICS)), read_outcome(folder))


def find_runs(folder: Path) -> list[Path]:
    """Return the folder itself if it is that of a run, else the runs below it, by name and version.

    Raises:
        FileNotFoundError: if there are none.
    """
    if is_run(folder.resolve()):
        return [folder]
    found = [path.parent for path in folder.glob(f"**/{CONFIG}") if is_run(path.parent)]
    if not found:
        reason = "holds no runs" if folder.is_dir() else "does not exist"
        raise FileNotFoundError(f"{folder} {reason}: give folders of runs, or of experiments")
    return sorted(found, key=lambda run: (str(run.parent), int(run.name.removeprefix("version_"))))


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            yield line


def _point(line: dict[str, Any], name: str) -> tuple[int, float]:
    value = line[name]
    return line["step"], float("nan") if value is None else float(value)
