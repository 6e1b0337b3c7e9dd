"""Tables of the studies of robust classifiers, from their records in docs/study.

    python -m benchmarks.robust_classifiers

prints the tables that the reports in docs/study show, and draws their pictures. The first table of each study also
stands in docs/robustness.md.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from benchmarks.records import FOLDER, Row, lines, markdown, rows, spread
from gan.cli.configurations import shipped
from gan.study.description import Study, read_study
from robustness.corruptions import SEVERITIES, STANDARD

REPORTS = {"robustness_cifar10_small": "robust_classifiers.md", "robustness_cifar10_noise": "wrong_labels.md"}
SCORES = {
    "clean": "accuracy",
    "corrupted": "accuracy_corrupted",
    "FGSM, 1/255": "accuracy_fgsm_eps1",
    "PGD-20, 1/255": "accuracy_pgd20_eps1",
    "FGSM, 8/255": "accuracy_fgsm",
    "PGD-20, 8/255": "accuracy_pgd20",
    "margin PGD-20, 8/255": "accuracy_marginpgd20",
}
COMPARED = "clean", "corrupted", "PGD-20, 1/255"
SIZES = {
    "gradient at the images": "gradient_norm",
    "operator norm, median": "operator_norm_median",
    "largest": "operator_norm_largest",
}


class Run(NamedTuple):
    """What a finished run has left: the last line of its record, and the rows of its table."""

    summary: Mapping[str, Any]
    table: Sequence[Mapping[str, str]]

    def mean_corrupted(self, column: str, value: str) -> float:
        """Return the mean accuracy under the corruptions whose column has the value."""
        return mean(float(row["value"]) for row in self.table if row["kind"] == "corruption" and row[column] == value)


Runs = Mapping[int, Run]


def main() -> None:
    """Print the tables and draw the differences."""
    for name in REPORTS:
        study = read_study(shipped("studies")[name])
        print(*tables(study), sep="\n\n")
        draw(study, FOLDER / f"{name}.webp")


def tables(study: Study) -> Iterator[str]:
    """Yield as Markdown the scores, the differences to the first method, the norms, and the corruptions two ways."""
    runs = {name: _finished(study, name) for name in study.cells}
    yield markdown(["", "seeds", *SCORES], ([name, str(len(of)), *_means(of, SCORES, 1)] for name, of in runs.items()))
    yield markdown(["", *COMPARED], _differences(runs))
    yield markdown(["", *SIZES], ([name, *_means(of, SIZES, 2)] for name, of in runs.items()))
    severities = {f"severity {each}": ("severity", str(each)) for each in SEVERITIES}
    yield markdown(["", *severities], ([name, *_corrupted(of, severities.values())] for name, of in runs.items()))
    kinds = [kind().name for kind in STANDARD]
    columns = [_corrupted(of, [("name", kind) for kind in kinds]) for of in runs.values()]
    names = [kind.replace("_", " ") for kind in kinds]
    yield markdown(["", *runs], zip(names, *columns, strict=True))


def draw(study: Study, file: Path) -> None:
    """Draw for each corruption by how much each method differs from the first: a point a seed, a line at the mean."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    runs = {name: _finished(study, name) for name in study.cells}
    base_name, *names = runs
    kinds = [kind().name for kind in STANDARD]
    figure, axes = plt.subplots(1, len(names), figsize=(10, 4), sharex=True, sharey=True)
    for axis, name in zip(axes, names, strict=True):
        pairs = [(runs[name][seed], runs[base_name][seed]) for seed in runs[name] if seed in runs[base_name]]
        for place, kind in enumerate(kinds):
            differences = [
                ours.mean_corrupted("name", kind) - theirs.mean_corrupted("name", kind) for ours, theirs in pairs
            ]
            axis.plot(differences, [place] * len(differences), "o", markersize=3, color="C0")
            if differences:
                axis.plot([mean(differences)], [place], "|", markersize=9, color="C0")
        axis.axvline(0, color="0.6", linewidth=1)
        axis.set_title(name, fontsize=9)
        axis.grid(axis="x", alpha=0.3)
    axes[0].set_yticks(range(len(kinds)), [kind.replace("_", " ") for kind in kinds], fontsize=8)
    axes[0].invert_yaxis()
    figure.supxlabel(f"accuracy less that of {base_name}, in points", fontsize=9)
    figure.tight_layout()
    figure.savefig(file, dpi=90)


def _finished(study: Study, name: str) -> Runs:
    """Return the runs of a method that are over, by seed."""
    files = {seed: FOLDER / cell.experiment for seed, cell in zip(study.seeds, study.reported_cells(name), strict=True)}
    found = {seed: (lines(file.with_suffix(".jsonl")), rows(file.with_suffix(".csv"))) for seed, file in files.items()}
    return {seed: Run(record[-1], table) for seed, (record, table) in found.items() if record}


def _means(runs: Runs, columns: Mapping[str, str], digits: int) -> list[str]:
    return [spread([run.summary[key] for run in runs.values()], digits) for key in columns.values()]


def _differences(runs: Mapping[str, Runs]) -> Iterator[Row]:
    """Yield the differences of the scores to those of the first method, seed by seed, and their mean."""
    base = next(iter(runs.values()))
    for name, of in list(runs.items())[1:]:
        pairs = [(of[seed].summary, base[seed].summary) for seed in of if seed in base]
        texts = []
        for key in (SCORES[column] for column in COMPARED):
            differences = [ours[key] - theirs[key] for ours, theirs in pairs]
            seeds = ", ".join(f"{each:+.1f}" for each in differences)
            texts.append(f"{mean(differences):+.1f} ({seeds})" if seeds else "")
        yield name, *texts


def _corrupted(runs: Runs, selected: Iterable[tuple[str, str]]) -> list[str]:
    """Return for each column and value the mean accuracy of the rows that have it, over the runs."""
    return [spread([run.mean_corrupted(*which) for run in runs.values()], 1) for which in selected]


if __name__ == "__main__":
    main()
