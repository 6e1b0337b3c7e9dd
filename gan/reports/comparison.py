"""Scores, speed and memory of groups of runs: what every form of the report shows."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gan.reports.groups import Group, grouped
from gan.runs.records import Points, Protocol, RunRecords, find_runs, read_run

_DISTANCES = "fid", "fd_", "kid", "kd_", "gradient_norm", "operator_norm"  # less is better


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation over seeds (NaN for one)."""

    mean: float
    deviation: float
    count: int

    def __str__(self) -> str:
        if self.count == 0:
            return ""
        if not (math.isfinite(self.deviation) and self.deviation > 0):
            return f"{self.mean:.4g}"
        digits = max(0, 1 - math.floor(math.log10(self.deviation)))  # two digits of the deviation, and as far the mean
        return f"{self.mean:.{digits}f} ± {self.deviation:.{digits}f}"


@dataclass(frozen=True)
class Column:
    """A score of one protocol.

    Attributes:
        name: Of the score.
        protocol: How it was made.
        letter: Tells the protocols of a report apart; empty if there is only one for this score.
    """

    name: str
    protocol: Protocol
    letter: str

    @property
    def title(self) -> str:
        """The score's name, with its protocol's letter."""
        return f"{self.name} [{self.letter}]" if self.letter else self.name

    @property
    def lower_is_better(self) -> bool:
        """Whether less is better."""
        return is_distance(self.name)

    def points(self, run: RunRecords) -> Points:
        """Return the values of a run."""
        return run.scores().get((self.name, self.protocol), [])

    def last(self, group: Group) -> Spread:
        """Return the values at the last evaluation, over the runs that have not diverged."""
        return spread([points[-1][1] for run in _sound(group) if (points := self.points(run))])

    def best(self, group: Group) -> Spread:
        """Return each run's best value. It is chosen by the score itself, so it is too good."""
        choose = min if self.lower_is_better else max
        finite = [[v for _, v in self.points(run) if math.isfinite(v)] for run in _sound(group)]
        return spread([choose(values) for values in finite if values])


@dataclass(frozen=True)
class Comparison:
    """Groups of runs, their scores, and what must be said of them.

    Attributes:
        groups: The groups, in the order of the runs.
        columns: Their scores; those of different protocols are different columns.
        notes: One line for each thing a reader must know.
    """

    groups: list[Group]
    columns: list[Column]
    notes: list[str]

    @property
    def protocols(self) -> dict[str, Protocol]:
        """The protocols by letter (an empty one if there is one alone)."""
        return {column.letter: column.protocol for column in self.columns}


def compare(folders: Sequence[Path]) -> Comparison:
    """Read runs and lay them beside each other.

    Args:
        folders: Folders of runs, or folders that hold some.

    Raises:
        FileNotFoundError: if one holds no runs.
        ValueError: if a run cannot be read.
    """
    paths = {path.resolve(): path for folder in folders for path in find_runs(folder)}
    groups, notes = grouped([read_run(path) for path in paths.values()])
    columns = _columns(groups)
    return Comparison(groups, columns, [*notes, *_notes(groups), *_differing(columns)])


def is_distance(score: str) -> bool:
    """Return whether less of a score is better."""
    return score.startswith(_DISTANCES)


def spread(values: Sequence[float]) -> Spread:
    """Return mean and sample standard deviation."""
    if not values:
        return Spread(math.nan, math.nan, 0)
    deviation = statistics.stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else math.nan
    return Spread(sum(values) / len(values), deviation, len(values))


def steps_per_second(group: Group) -> Spread:
    """Return training steps a second: each run's median over its lines, so that evaluations count little."""
    speeds = []
    for run in group.runs:
        images = [value for _, value in run.series("images_per_second")]
        if images and (images_per_step := run.images_per_step):
            speeds.append(statistics.median(images) / images_per_step)
    return spread(speeds)


def peak_memory(group: Group) -> Spread:
    """Return the most memory that each run has held, in GiB."""
    series = [[value for _, value in run.series("peak_memory_gib")] for run in group.runs]
    return spread([max(values) for values in series if values])


def _sound(group: Group) -> list[RunRecords]:
    return [run for run in group.runs if run not in group.diverged]


def _columns(groups: Sequence[Group]) -> list[Column]:
    keys = list(dict.fromkeys(key for group in groups for run in group.runs for key in run.scores()))
    names = {name for name, _ in keys}
    keys = [key for key in keys if not (key[0].endswith("_std") and key[0].removesuffix("_std") in names)]
    protocols = list(dict.fromkeys(protocol for _, protocol in keys))
    alone = len(protocols) == 1
    letters = {protocol: "" if alone else chr(ord("A") + number) for number, protocol in enumerate(protocols)}
    columns = [Column(name, protocol, letters[protocol]) for name, protocol in keys]
    return sorted(columns, key=lambda column: (not column.lower_is_better, column.name, column.letter))


def _notes(groups: Sequence[Group]) -> list[str]:
    notes = []
    for group in groups:
        for run in group.runs:
            if run.outcome is None:
                notes.append(f"{run.folder} is not over: its last record is of step {run.last_step}")
            elif run in group.diverged:
                notes.append(f"{run.folder} diverged at step {run.outcome.step}: {run.outcome.message}")
            if not run.scores():
                notes.append(f"{run.folder} has no evaluations")
    return notes


def _differing(columns: Sequence[Column]) -> list[str]:
    by_letter = {column.letter: dict(column.protocol) for column in columns}
    if len(by_letter) < 2:
        return []
    fields = sorted({field for protocol in by_letter.values() for field in protocol})
    notes = []
    for field in fields:
        values = {letter: protocol.get(field) for letter, protocol in by_letter.items()}
        if len(set(map(str, values.values()))) > 1:
            notes.append(f"{field} is " + ", ".join(f"{value} in [{letter}]" for letter, value in values.items()))
    return ["scores of different protocols cannot be compared: " + "; ".join(notes)]
