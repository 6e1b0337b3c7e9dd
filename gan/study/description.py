"""The file of a study: a grid over a base configuration."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from gan.checks import did_you_mean

_KEYS = "study", "program", "config", "root", "set", "grid", "seeds", "tuning"
_TUNING_KEYS = "seed", "metric", "set", "settings", "settings_of"
_NAME = re.compile(r"[\w.+-]+")
Values = dict[str, Any]  # keys of a configuration, as on the command line, and their values


@dataclass(frozen=True)
class Cell:
    """One run of a study.

    Attributes:
        experiment: `<study>/<cell>-seed<k>`, or `<study>/tuning/<cell>-<setting>-seed<k>`.
        values: What it sets over the base configuration, the seed included.
    """

    experiment: str
    values: Values


@dataclass(frozen=True)
class Tuning:
    """Settings of which every cell of the grid gets the best, chosen on a seed that no result is reported of.

    Attributes:
        seed: The seed.
        metric: The score that chooses, at the last evaluation.
        settings: The settings by name, for every point of the grid.
        settings_of: More settings of single points, by the point's name.
        common: What the runs that choose set besides, such as fewer steps.
    """

    seed: int
    metric: str
    settings: dict[str, Values]
    settings_of: dict[str, dict[str, Values]] = field(default_factory=dict)
    common: Values = field(default_factory=dict)

    def of(self, name: str) -> dict[str, Values]:
        """Return the settings of a point of the grid by their names."""
        return {**self.settings, **self.settings_of.get(name, {})}


@dataclass(frozen=True)
class Study:
    """A study.

    Attributes:
        name: Its name: the folder of its runs, below `root`.
        root: Folder of all experiments.
        configs: Base configurations, shipped ones by name.
        common: What all cells set.
        cells: The points of the grid by name.
        seeds: Each point is run with each of them.
        tuning: How settings are chosen first; None: there are none to choose.
        program: The package whose `fit` runs the cells.
        file: Where the study was read.
    """

    name: str
    root: str
    configs: list[str]
    common: Values
    cells: dict[str, Values]
    seeds: list[int]
    tuning: Tuning | None = None
    program: str = "gan"
    file: Path = field(default=Path(), compare=False)

    def tuning_cells(self, name: str) -> dict[str, Cell]:
        """Return the runs that choose the setting of a point of the grid, by setting."""
        if self.tuning is None:
            return {}
        return {
            setting: self._cell(
                f"{self.name}/tuning/{name}-{setting}", name, self.tuning.seed, {**self.tuning.common, **values}
            )
            for setting, values in self.tuning.of(name).items()
        }

    def reported_cells(self, name: str, setting: str | None = None) -> list[Cell]:
        """Return the runs of a point of the grid, one a seed, with the setting that was chosen for it."""
        chosen = self.tuning.of(name)[setting] if self.tuning and setting else {}
        return [self._cell(f"{self.name}/{name}", name, seed, chosen) for seed in self.seeds]

    def all_cells(self) -> Iterator[Cell]:
        """Return every run that may become necessary."""
        for name in self.cells:
            yield from self.tuning_cells(name).values()
            for setting in self.tuning.of(name) if self.tuning else [None]:
                yield from self.reported_cells(name, setting)

    def _cell(self, experiment: str, name: str, seed: int, setting: Values) -> Cell:
        values = {**self.common, **self.cells[name], **setting, "seed_everything": seed}
        return Cell(f"{experiment}-seed{seed}", values)


def read_study(path: Path) -> Study:
    """Read a study's file.

    Raises:
        ValueError: if it says something that cannot be meant; the message begins with the file.
        OSError: if it cannot be read.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeError) as error:
        raise ValueError(f"{path} is no YAML: {error}") from None
    try:
        return _study(content, path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def with_values(study: Study, assignments: Sequence[str]) -> Study:
    """Return the study with more values for all cells.

    Args:
        study: The study.
        assignments: "key=value" with the value as YAML; later ones win.

    Raises:
        ValueError: if one is no such text, or names a key that the grid or the study itself sets.
    """
    values: Values = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not (key and equals):
            raise ValueError(f"--set expects KEY=VALUE such as data.root=photos.zip, got {assignment!r}")
        if key in set().union(*study.cells.values()):
            raise ValueError(f"--set {key}: it is set by the grid of {study.file}")
        values[key] = yaml.safe_load(value)
    return replace(study, common={**study.common, **_values("--set", values)})


def _study(content: Any, path: Path) -> Study:
    _check_keys("", content, _KEYS)
    if missing := [key for key in ("config", "grid", "seeds") if key not in content]:
        raise ValueError(f"{', '.join(missing)} missing")
    configs = content["config"] if isinstance(content["config"], list) else [content["config"]]
    name = content.get("study", path.stem)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"study must be a name of letters, digits, _ . + -, got {name!r}")
    cells, seeds = _grid(content["grid"]), _seeds(content["seeds"])
    program = content.get("program", "gan")
    if not isinstance(program, str) or not program.isidentifier() or find_spec(program) is None:
        raise ValueError(f"program must be a package with a command line (gan, robustness), got {program!r}")
    return Study(
        name=name,
        root=str(content.get("root", "runs")),
        configs=[str(config) for config in configs],
        common=_values("set", content.get("set") or {}),
        cells=cells,
        seeds=seeds,
        tuning=_tuning(content["tuning"], seeds, cells) if "tuning" in content else None,
        program=program,
        file=path,
    )


def _grid(grid: Any) -> dict[str, Values]:
    """Return the points of the grid: the product of its axes."""
    if not isinstance(grid, dict) or not grid:
        raise ValueError("grid must be a mapping of axes")
    axes = [_axis(str(name), points) for name, points in grid.items()]
    cells: dict[str, Values] = {}
    for points in itertools.product(*(axis.items() for axis in axes)):
        name = "-".join(label for label, _ in points)
        values: Values = {}
        for (_, point), axis in zip(points, grid, strict=True):
            if twice := values.keys() & point.keys():
                raise ValueError(f"grid.{axis}: {', '.join(sorted(twice))} is set by another axis too")
            values |= point
        if name in cells or values in cells.values():
            other = name if name in cells else next(each for each in cells if cells[each] == values)
            raise ValueError(f"the cell {name} stands twice" + ("" if other == name else f", also as {other}"))
        cells[name] = values
    return cells


def _axis(name: str, points: Any) -> dict[str, Values]:
    """Return the points of an axis by label: given as a mapping, or as the values of the key that it is named by."""
    if isinstance(points, list) and points:
        labels = [_label(point) for point in points]
        if twice := {label for label in labels if labels.count(label) > 1}:
            raise ValueError(f"grid.{name}: {', '.join(sorted(twice))} stands twice")
        return {label: {name: point} for label, point in zip(labels, points, strict=True)}
    if not isinstance(points, dict) or not points:
        raise ValueError(
            f"grid.{name} must be a list of values of this key, or a mapping from labels to keys and values"
        )
    for label in points:
        if not _NAME.fullmatch(str(label)):
            raise ValueError(f"grid.{name}: a label is of letters, digits, _ . + -, got {label!r}")
    return {str(label): _values(f"grid.{name}.{label}", values or {}) for label, values in points.items()}


def _label(value: Any) -> str:
    return re.sub(r"[^\w.+-]+", "_", str(value)).strip("_") or "none"


def _values(where: str, values: Any) -> Values:
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ValueError(f"{where} must be a mapping from keys (model.loss, ...) to values, got {values!r}")
    if ours := {"experiment", "seed_everything", "trainer.default_root_dir"} & values.keys():
        raise ValueError(f"{where}: {', '.join(sorted(ours))} is for the study to set")
    return values


def _seeds(seeds: Any) -> list[int]:
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int and seed >= 0 for seed in seeds):
        raise ValueError(f"seeds must be a list of whole numbers, got {seeds!r}")
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds: one stands twice in {seeds}")
    return seeds


def _tuning(tuning: Any, seeds: Sequence[int], cells: Mapping[str, Values]) -> Tuning:
    _check_keys("tuning", tuning, _TUNING_KEYS)
    if missing := [key for key in ("seed", "metric", "settings") if key not in tuning]:
        raise ValueError(f"tuning: {', '.join(missing)} missing")
    seed = tuning["seed"]
    if type(seed) is not int or seed in seeds:
        raise ValueError(f"tuning.seed must be a number that is not among seeds {seeds}, got {seed!r}")
    settings = _axis("settings", tuning["settings"])
    of_cells = tuning.get("settings_of") or {}
    _check_keys("tuning.settings_of", of_cells, list(cells))
    settings_of = {name: _axis(f"tuning.settings_of.{name}", more) for name, more in of_cells.items()}
    for name, more in settings_of.items():
        if twice := settings.keys() & more.keys():
            raise ValueError(f"tuning.settings_of.{name}: {', '.join(sorted(twice))} stands in tuning.settings too")
    common = _values("tuning.set", tuning.get("set") or {})
    return Tuning(seed, str(tuning["metric"]), settings, settings_of, common)


def _check_keys(where: str, content: Any, known: Sequence[str]) -> None:
    if not isinstance(content, Mapping):
        raise ValueError(f"{where or 'a study'} must be a mapping with the keys {', '.join(known)}")
    for key in content:
        if key not in known:
            place = f"{where}." if where else ""
            allowed = f"known are {', '.join(known)}{did_you_mean(str(key), known)}"
            raise ValueError(f"{place}{key} is no key of a study; {allowed}")
