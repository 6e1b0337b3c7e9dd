"""Tables and a picture of studies whose settings were chosen first, from their records in docs/study.

    python -m benchmarks.studies cifar10 cifar10_more

prints the tables that docs/study/cifar10.md shows, and draws docs/study/cifar10.webp.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from gan.cli.configurations import shipped
from gan.study.description import Cell, Study, read_study

FOLDER = Path(__file__).parents[1] / "docs" / "study"
Row = Sequence[str]


def main(names: Sequence[str]) -> None:
    """Print the tables of some studies, and draw their curves into one picture, named after the first."""
    studies = [read_study(shipped("studies")[name]) for name in names]
    print(*tables(studies), sep="\n\n")
    draw(studies, FOLDER / f"{names[0]}.webp")


def tables(studies: Sequence[Study]) -> Iterator[str]:
    """Yield the settings, the results, the differences to the first point, and operator norms, each as Markdown."""
    yield _markdown(["", *_setting_names(studies)], _settings(studies))
    last = ["last", "precision", "recall"]
    yield _markdown(["", "setting", *last, "last of 2,000", "best of 2,000", "step of the best"], _results(studies))
    yield _markdown(["", *(f"seed {seed}" for seed in studies[0].seeds), "mean"], _differences(studies))
    layers = [f"{layer}, step {step:,}" for layer in ("convolutions", "linear layer") for step in _STEPS]
    yield _markdown(["", *layers], _operator_norms(studies))


def draw(studies: Sequence[Study], file: Path) -> None:
    """Draw the scores of every point over training: a line a seed."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    points = [(study, name) for study in studies for name in study.cells]
    columns = 4
    figure, axes = plt.subplots(-(-len(points) // columns), columns, figsize=(10, 6.6), sharex=True, sharey=True)
    behind = [_curve(studies[0], cell) for cell in _table(studies[0], next(iter(studies[0].cells)))]
    for axis, (study, name) in zip(axes.flat, points, strict=False):
        for curve in behind:
            axis.plot([step / 1000 for step in curve], list(curve.values()), color="0.8", linewidth=1)
        for cell in _table(study, name):
            curve = _curve(study, cell)
            axis.plot([step / 1000 for step in curve], list(curve.values()), color="C0", linewidth=1)
        axis.set_title(f"{name}, setting {chosen_setting(study, name)}", fontsize=9)
        axis.set_ylim(3.2, 7)
        axis.grid(alpha=0.3)
    for axis in axes.flat[len(points) :]:
        axis.set_axis_off()
    figure.supxlabel("thousand steps", fontsize=9)
    figure.supylabel("fd_cifar of 2,000 samples; grey: none", fontsize=9)
    figure.tight_layout()
    figure.savefig(file, dpi=90)


def chosen_setting(study: Study, name: str) -> str | None:
    """Return the setting with the smallest last score; None where no record tells."""
    if study.tuning is None:
        return None
    scores = {setting: _last(cell, study.tuning.metric) for setting, cell in study.tuning_cells(name).items()}
    found = {setting: score for setting, score in scores.items() if score is not None}
    return min(found, key=found.__getitem__, default=None)


def record_of(cell: Cell) -> list[dict[str, Any]]:
    """Return the lines of a run's record; none if it has none."""
    file = FOLDER / f"{cell.experiment}.jsonl"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else []


# The tables


def _settings(studies: Sequence[Study]) -> Iterator[Row]:
    """Yield the last score of each setting, the chosen one in bold."""
    for study, name in _points(studies):
        metric, chosen = _metric(study), chosen_setting(study, name)
        scores = {setting: _last(cell, metric) for setting, cell in study.tuning_cells(name).items()}
        texts = {key: _number(score) if key != chosen else f"**{_number(score)}**" for key, score in scores.items()}
        yield name, *(texts.get(setting, "") for setting in _setting_names(studies))


def _results(studies: Sequence[Study]) -> Iterator[Row]:
    """Yield the scores of 10,000 samples at the end, and the last and best ones of the samples during training."""
    for study, name in _points(studies):
        cells = _table(study, name)
        final = [_final(study, cell) for cell in cells]
        curves = [_curve(study, cell) for cell in cells]
        if not all(max(curve) == max(curves[0]) for curve in curves):
            curves = [{step: score for step, score in curve.items() if step <= _common(curves)} for curve in curves]
        best = [min(curve, key=curve.__getitem__) for curve in curves]
        scores = _metric(study), "precision_cifar", "recall_cifar"
        yield (
            name,
            str(chosen_setting(study, name)),
            *(_spread([each.get(score) for each in final]) for score in scores),
            _spread([curve[max(curve)] for curve in curves]),
            _spread([curve[step] for curve, step in zip(curves, best, strict=True)]),
            ", ".join(f"{step:,}" for step in best),
        )


def _differences(studies: Sequence[Study]) -> Iterator[Row]:
    """Yield the differences of the last scores to those of the first point, seed by seed."""
    first = studies[0]
    base = [_final(first, cell)[_metric(first)] for cell in _table(first, next(iter(first.cells)))]
    for study, name in _points(studies):
        scores = [_final(study, cell).get(_metric(study)) for cell in _table(study, name)]
        if all(score is not None for score in scores):
            differences = [score - other for score, other in zip(scores, base, strict=True)]
            yield name, *(f"{each:+.2f}" for each in differences), f"{mean(differences):+.2f}"


_STEPS = 1000, 10000
_LINEAR = "operator_norm/discriminator/head.linear"


def _operator_norms(studies: Sequence[Study]) -> Iterator[Row]:
    """Yield the operator norm of the discriminator: the largest of its convolutions, and its linear layer's."""
    for study, name in _points(studies):
        convolutions: dict[int, list[float]] = {}
        linear: dict[int, list[float]] = {}
        for line in (line for cell in _table(study, name) for line in record_of(cell)):
            if _LINEAR in line:
                names = [key for key in line if key.startswith("operator_norm/discriminator/") and key != _LINEAR]
                convolutions.setdefault(line["step"], []).append(max(line[key] for key in names))
                linear.setdefault(line["step"], []).append(line[_LINEAR])
        yield name, *(_number(mean(norms[step])) for norms in (convolutions, linear) for step in _STEPS)


# What the records say


def _points(studies: Sequence[Study]) -> Iterator[tuple[Study, str]]:
    return ((study, name) for study in studies for name in study.cells)


def _table(study: Study, name: str) -> list[Cell]:
    return study.reported_cells(name, chosen_setting(study, name))


def _metric(study: Study) -> str:
    assert study.tuning is not None
    return study.tuning.metric


def _setting_names(studies: Sequence[Study]) -> list[str]:
    names = [setting for study, name in _points(studies) for setting in study.tuning_cells(name)]
    return list(dict.fromkeys(names))


def _curve(study: Study, cell: Cell) -> dict[int, float]:
    """Return the scores during training, by step, without that of the untrained network."""
    metric = _metric(study)
    return {line["step"]: line[metric] for line in record_of(cell) if metric in line and line["step"]}


def _common(curves: Sequence[Mapping[int, float]]) -> int:
    return min(max(curve) for curve in curves)


def _last(cell: Cell, metric: str) -> float | None:
    scores = [line[metric] for line in record_of(cell) if metric in line]
    return scores[-1] if scores else None


def _final(study: Study, cell: Cell) -> dict[str, Any]:
    """Return what `gan validate` said of a run that is over; nothing if it was not asked."""
    lines = (FOLDER / study.name / "final.jsonl").read_text(encoding="utf-8").splitlines()
    found = [line for line in map(json.loads, lines) if f"{study.name}/{line['run']}" == cell.experiment]
    return found[0] if found else {}


# Their text


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{mean(known):.2f} ± {stdev(known):.2f}" if len(known) == len(values) else "not scored"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _markdown(head: Row, rows: Iterator[Row]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


if __name__ == "__main__":
    main(sys.argv[1:])
