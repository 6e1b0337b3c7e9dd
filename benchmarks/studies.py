"""Tables and a picture of studies whose settings were chosen first, from their records in docs/study.

    python -m benchmarks.studies

prints the tables that docs/study/cifar10.md shows, and draws docs/study/cifar10.webp.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.records import FOLDER, Row, lines, markdown, spread
from gan.cli.configurations import shipped
from gan.reports.comparison import is_distance
from gan.study.description import Cell, Study, read_study

NAMES = "cifar10", "cifar10_more"
METRIC = "fd_cifar"
LINEAR = "operator_norm/discriminator/head.linear"
STEPS = 1000, 10000  # of the operator norms


def main() -> None:
    """Print the tables and draw the curves."""
    studies = [read_study(shipped("studies")[name]) for name in NAMES]
    print(*tables(studies), sep="\n\n")
    draw(studies, FOLDER / "cifar10.webp")


def tables(studies: Sequence[Study]) -> Iterator[str]:
    """Yield as Markdown the settings, the results, the differences to the first point, and the operator norms."""
    yield markdown(["", *_setting_names(studies)], _settings(studies))
    scores = ["last", "precision", "recall", "last in training", "best in training", "step of the best"]
    yield markdown(["", "setting", *scores], _results(studies))
    yield markdown(["", *(f"seed {seed}" for seed in studies[0].seeds), "mean"], _differences(studies))
    layers = [f"{layer}, step {step:,}" for layer in ("convolutions", "linear layer") for step in STEPS]
    yield markdown(["", *layers], _operator_norms(studies))


def draw(studies: Sequence[Study], file: Path) -> None:
    """Draw the scores of every point over training: a line a seed."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    points = list(_points(studies))
    columns = 4
    figure, axes = plt.subplots(-(-len(points) // columns), columns, figsize=(10, 6.6), sharex=True, sharey=True)
    behind = [_curve(cell) for cell in _reported(*points[0])]
    for axis, (study, name) in zip(axes.flat, points, strict=False):
        for curves, color in (behind, "0.8"), ([_curve(cell) for cell in _reported(study, name)], "C0"):
            for curve in curves:
                axis.plot([step / 1000 for step in curve], list(curve.values()), color=color, linewidth=1)
        axis.set_title(f"{name}, setting {chosen_setting(study, name)}", fontsize=9)
        axis.set_yscale("log")
        axis.set_yticks([4, 5, 6, 8, 10], ["4", "5", "6", "8", "10"], minor=False)
        axis.set_yticks([], minor=True)
        axis.set_xticks(range(0, 11, 2))
        axis.grid(alpha=0.3)
    for axis in axes.flat[len(points) :]:
        axis.set_axis_off()
    figure.supxlabel("thousand steps", fontsize=9)
    figure.supylabel(f"{METRIC} of 2,000 samples; grey: {points[0][1]}", fontsize=9)
    figure.tight_layout()
    figure.savefig(file, dpi=90)


def chosen_setting(study: Study, name: str) -> str | None:
    """Return the setting that `gan study` has chosen for a point of the grid, by the records; None if it has none."""
    if study.tuning is None:
        return None
    scores = {setting: _last(cell, study.tuning.metric) for setting, cell in study.tuning_cells(name).items()}
    finite = {setting: score for setting, score in scores.items() if score is not None and math.isfinite(score)}
    best = min if is_distance(study.tuning.metric) else max
    return best(finite, key=finite.__getitem__, default=None)


# The tables


def _settings(studies: Sequence[Study]) -> Iterator[Row]:
    """Yield the last score of each setting, the chosen one in bold."""
    for study, name in _points(studies):
        chosen = chosen_setting(study, name)
        scores = {setting: _last(cell, METRIC) for setting, cell in study.tuning_cells(name).items()}
        texts = {key: _number(score) if key != chosen else f"**{_number(score)}**" for key, score in scores.items()}
        yield name, *(texts.get(setting, "") for setting in _setting_names(studies))


def _results(studies: Sequence[Study]) -> Iterator[Row]:
    """Yield the scores of 10,000 samples at the end, and the last and best scores in training.

    Where one of the seeds was cut, training ends for all at the last step that they have in common.
    """
    for study, name in _points(studies):
        cells = _reported(study, name)
        final = [_final_scores(study).get(cell.experiment, {}) for cell in cells]
        curves = [_curve(cell) for cell in cells]
        end = min(max(curve) for curve in curves)
        curves = [{step: score for step, score in curve.items() if step <= end} for curve in curves]
        best = [min(curve, key=curve.__getitem__) for curve in curves]
        yield (
            name,
            str(chosen_setting(study, name)),
            _spread([scores.get(METRIC) for scores in final]),
            *(_spread([scores.get(key) for scores in final], 3) for key in ("precision_cifar", "recall_cifar")),
            _spread([curve[end] for curve in curves]),
            _spread([curve[step] for curve, step in zip(curves, best, strict=True)]),
            ", ".join(f"{step:,}" for step in best),
        )


def _differences(studies: Sequence[Study]) -> Iterator[Row]:
    """Yield the differences of the scores at the end to those of the first point, seed by seed."""
    base = _scores_at_the_end(*next(_points(studies)))
    for study, name in _points(studies):
        scores = _scores_at_the_end(study, name)
        if len(scores) == len(base):
            differences = [score - other for score, other in zip(scores, base, strict=True)]
            yield name, *(f"{each:+.2f}" for each in differences), f"{mean(differences):+.2f}"


def _operator_norms(studies: Sequence[Study]) -> Iterator[Row]:
    """Yield the operator norm of the discriminator: the largest of its convolutions, and its linear layer's.

    Nothing for a step that not all seeds have reached.
    """
    for study, name in _points(studies):
        norms: dict[tuple[str, int], list[float]] = {}
        for line in (line for cell in _reported(study, name) for line in _record(cell) if LINEAR in line):
            names = [key for key in line if key.startswith("operator_norm/discriminator/") and key != LINEAR]
            norms.setdefault(("convolutions", line["step"]), []).append(max(line[key] for key in names))
            norms.setdefault(("linear", line["step"]), []).append(line[LINEAR])
        found = [norms.get((layer, step), []) for layer in ("convolutions", "linear") for step in STEPS]
        yield name, *(_number(mean(each) if len(each) == len(study.seeds) else None) for each in found)


# What the records say


def _points(studies: Sequence[Study]) -> Iterator[tuple[Study, str]]:
    return ((study, name) for study in studies for name in study.cells)


def _reported(study: Study, name: str) -> list[Cell]:
    return study.reported_cells(name, chosen_setting(study, name))


def _setting_names(studies: Sequence[Study]) -> list[str]:
    names = [setting for study, name in _points(studies) for setting in study.tuning_cells(name)]
    return list(dict.fromkeys(names))


def _record(cell: Cell) -> list[dict[str, Any]]:
    """Return the lines of a run's record; none if it has none."""
    return lines(FOLDER / f"{cell.experiment}.jsonl")


def _curve(cell: Cell) -> dict[int, float]:
    """Return the scores in training, by step, without that of the untrained network."""
    return {line["step"]: line[METRIC] for line in _record(cell) if METRIC in line and line["step"]}


def _last(cell: Cell, metric: str) -> float | None:
    scores = [line[metric] for line in _record(cell) if metric in line]
    return scores[-1] if scores else None


def _final_scores(study: Study) -> Mapping[str, Mapping[str, Any]]:
    """Return what `gan validate` said of the runs that were over, by experiment."""
    return {f"{study.name}/{line['run']}": line for line in lines(FOLDER / study.name / "final.jsonl")}


def _scores_at_the_end(study: Study, name: str) -> list[float]:
    final = _final_scores(study)
    return [final[cell.experiment][METRIC] for cell in _reported(study, name) if cell.experiment in final]


# Their text


def _spread(values: Sequence[float | None], digits: int = 2) -> str:
    known = [value for value in values if value is not None]
    return spread(known, digits) if len(known) == len(values) else "not scored"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main()
