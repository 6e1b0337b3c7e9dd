"""How far the cells of a study are, as their runs say, and how each is begun or continued."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gan.reports.comparison import is_distance
from gan.runs.folder import checkpoints, experiment_folder, versions
from gan.runs.outcome import DIVERGED, FINISHED, read_outcome
from gan.runs.records import read_run
from gan.study.description import Cell, Study

LOG = "study.log"  # beside the versions of a cell's experiment: what its trainings said


@dataclass(frozen=True)
class State:
    """How far a cell is.

    Attributes:
        run: Its newest run; None if it has not begun.
        over: Whether there is nothing left to do: it is finished, stopped by its own rule, or diverged.
    """

    run: Path | None
    over: bool


def folder_of(study: Study, cell: Cell) -> Path:
    """Return the folder of a cell's experiment."""
    return experiment_folder(study.root, cell.experiment)


def state_of(study: Study, cell: Cell) -> State:
    """Return how far a cell is."""
    runs = versions(folder_of(study, cell))
    if not runs:
        return State(None, over=False)
    run = runs[max(runs)]
    outcome = read_outcome(run)
    steps = cell.values.get("trainer.max_steps")
    longer = outcome is not None and outcome.status == FINISHED and isinstance(steps, int) and outcome.step < steps
    return State(run, over=outcome is not None and not longer)


def arguments_of(study: Study, cell: Cell) -> list[str]:
    """Return the arguments of the program that begin a cell, or continue its newest run."""
    run = state_of(study, cell).run
    if run is not None and checkpoints(run):
        return ["fit", "--resume", str(run), *_assigned(cell)]
    configs = [argument for config in study.configs for argument in ("--config", config)]
    place = [f"--experiment={cell.experiment}", f"--trainer.default_root_dir={study.root}"]
    return ["fit", *configs, *place, *_assigned(cell)]


def necessary_cells(study: Study) -> Iterator[Cell]:
    """Return the cells that can be run by now: those that choose settings, and those whose setting is chosen."""
    for name in study.cells:
        yield from study.tuning_cells(name).values()
    for name in study.cells:
        setting = chosen_setting(study, name)
        if study.tuning is None or setting is not None:
            yield from study.reported_cells(name, setting)


def chosen_setting(study: Study, name: str) -> str | None:
    """Return the setting with the best last score on the tuning's seed.

    A run that diverged is not chosen. None: a run is not over yet, or all diverged.

    Raises:
        ValueError: if no run has the score.
    """
    tuning, values, diverged = study.tuning, {}, []
    if tuning is None:
        return None
    for setting, cell in study.tuning_cells(name).items():
        state = state_of(study, cell)
        if not state.over or state.run is None:
            return None
        score = _last_score(state.run, tuning.metric)
        if has_diverged(state.run):
            diverged.append(setting)
        elif score is not None and math.isfinite(score):
            values[setting] = score
    if not values and len(diverged) < len(study.tuning_cells(name)):
        raise ValueError(f"tuning.metric: no run of {name} has a value of {tuning.metric} to choose by")
    best = min if is_distance(tuning.metric) else max
    return best(values, key=values.__getitem__, default=None)


def has_diverged(run: Path) -> bool:
    """Return whether a run ended because its losses or weights were not finite."""
    outcome = read_outcome(run)
    return outcome is not None and outcome.status == DIVERGED


def _last_score(run: Path, metric: str) -> float | None:
    points = [point for (score, _), found in read_run(run).scores().items() if score == metric for point in found]
    return max(points)[1] if points else None


def check_unchanged(study: Study, cell: Cell) -> None:
    """Check that a run that is there already is of what the study says now.

    Raises:
        ValueError: if it is not.
    """
    run = state_of(study, cell).run
    log = folder_of(study, cell) / LOG
    if run is None or not log.exists():
        return
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith(CELL):
            then = json.loads(line.removeprefix(CELL))
            now = json.loads(described(study, cell))
            changed = [key for key in {**then, **now} if then.get(key) != now.get(key) and key != "trainer.max_steps"]
            if changed:
                was = "; ".join(f"{key} was {then.get(key)}, is {now.get(key)}" for key in changed)
                raise ValueError(f"{run} was made with another study ({was}): move it away, or rename the study")
            return


CELL = "# cell: "


def described(study: Study, cell: Cell) -> str:
    """Return what a cell is, as JSON."""
    values: dict[str, Any] = {"config": study.configs, **cell.values}
    return json.dumps(values, sort_keys=True, default=str)


def _assigned(cell: Cell) -> list[str]:
    return [f"--{key}={_text(value)}" for key, value in cell.values.items()]


def _text(value: Any) -> str:
    """Return a value as YAML in one line."""
    if isinstance(value, str):
        return value
    text = yaml.safe_dump(value, default_flow_style=True, width=10**9, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")
