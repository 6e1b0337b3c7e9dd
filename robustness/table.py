"""The result of an evaluation: one table."""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from gan.runs.files import write_atomically

NAME = "robustness"  # of the files in a run's folder


@dataclass(frozen=True)
class Row:
    """How many images of one kind a network classifies right.

    Attributes:
        kind: "clean", "corruption", "published" (images of CIFAR-10-C), "attack", or "transfer" (an attack on another
            network).
        name: Which corruption or attack.
        group: What the corruption belongs to: noise, blur, weather or digital. Empty where it does not count in means.
        severity: 1 to 5; 0 where there are none.
        images: Number of images.
        accuracy: The share of them that is classified right, in percent.
    """

    kind: str
    name: str
    group: str
    severity: int
    images: int
    accuracy: float


@dataclass(frozen=True)
class Table:
    """All that was measured of a network.

    Attributes:
        step: The training step of the network.
        protocol: How it was measured.
        rows: The accuracies.
        gradient_norm: The Euclidean norm of the loss' gradient at an image in [0, 1], mean over images.
        operator_norms: The exact operator norm of each layer; empty if they were not asked for.
    """

    step: int
    protocol: Mapping[str, str | int | None]
    rows: list[Row]
    gradient_norm: float
    operator_norms: Mapping[str, float]

    def scores(self) -> dict[str, float]:
        """Return the few numbers by which networks are compared: accuracies in percent, and both norms."""
        found = {"accuracy": _mean(self._rows("clean"))}
        for kind, name in ("corruption", "accuracy_corrupted"), ("published", "accuracy_cifar10c"):
            if counted := [row for row in self._rows(kind) if row.group]:
                found[name] = _mean(counted)
        groups = {row.group: None for row in self._rows("corruption") if row.group}
        found |= {
            f"accuracy_{group}": _mean(r for r in self._rows("corruption") if r.group == group) for group in groups
        }
        found |= {f"accuracy_{row.name}": row.accuracy for row in self._rows("attack")}
        found |= {f"accuracy_transfer_{row.name}": row.accuracy for row in self._rows("transfer")}
        found["gradient_norm"] = self.gradient_norm
        if self.operator_norms:
            found["operator_norm_median"] = median(self.operator_norms.values())
            found["operator_norm_largest"] = max(self.operator_norms.values())
        return found

    def corruptions(self, kind: str = "corruption") -> dict[str, list[Row]]:
        """Return the rows of each corruption, one a severity."""
        found: dict[str, list[Row]] = {}
        for row in self._rows(kind):
            found.setdefault(row.name, []).append(row)
        return found

    def corruption_means(self) -> dict[str, float]:
        """Return the accuracy under each corruption, mean over its severities."""
        return {f"accuracy/{name}": _mean(rows) for name, rows in self.corruptions().items()}

    def __str__(self) -> str:
        """Return the table as text."""
        lines = [_line("clean", [row.accuracy for row in self._rows("clean")], self._rows("clean"))]
        for kind, title in ("corruption", "corruption"), ("published", "CIFAR-10-C"):
            if corruptions := self.corruptions(kind):
                lines += ["", *_matrix(title, corruptions)]
        for kind, title in ("attack", "attack"), ("transfer", "attack on another network"):
            if rows := self._rows(kind):
                lines += ["", title, *(_line(row.name, [row.accuracy], [row]) for row in rows)]
        lines += ["", f"{'gradient norm':24}{self.gradient_norm:8.4g}  of the loss at an image, mean"]
        if norms := sorted(self.operator_norms.values()):
            text = f"least {norms[0]:.4g}, median {median(norms):.4g}, largest {norms[-1]:.4g}"
            lines.append(f"{'operator norms':24}{text}, of {len(norms)} layers")
        protocol = "; ".join(f"{field} {value}" for field, value in self.protocol.items())
        return "\n".join(["accuracy in %", *lines, "", f"protocol: {protocol}"])

    def as_csv(self) -> str:
        """Return one line a row, and one a norm."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["kind", "name", "severity", "images", "value"])
        for row in self.rows:
            writer.writerow([row.kind, row.name, row.severity or "", row.images, repr(row.accuracy)])
        writer.writerow(["gradient_norm", "", "", "", repr(self.gradient_norm)])
        writer.writerows(["operator_norm", name, "", "", repr(norm)] for name, norm in self.operator_norms.items())
        return file.getvalue()

    def as_json(self) -> str:
        """Return everything."""
        content: dict[str, Any] = asdict(self) | {"scores": self.scores()}
        return json.dumps(content, indent=1) + "\n"

    def write(self, folder: Path) -> None:
        """Write `robustness.csv` and `robustness.json`."""
        write_atomically(folder / f"{NAME}.csv", lambda file: file.write(self.as_csv().encode()))
        write_atomically(folder / f"{NAME}.json", lambda file: file.write(self.as_json().encode()))

    def _rows(self, kind: str) -> list[Row]:
        return [row for row in self.rows if row.kind == kind]


def _mean(rows: Iterable[Row]) -> float:
    return fmean(row.accuracy for row in rows)


def _matrix(title: str, corruptions: Mapping[str, list[Row]]) -> list[str]:
    severities = [row.severity for row in next(iter(corruptions.values()))]
    lines = [f"{title:24}" + "".join(f"{severity:8}" for severity in severities) + "    mean"]
    for name, rows in corruptions.items():
        lines.append(_line(name, [*(row.accuracy for row in rows), _mean(rows)], rows))
    counted = [[row for row in rows if row.group] for rows in corruptions.values()]
    if counted := [rows for rows in counted if rows]:
        columns = [_mean(column) for column in zip(*counted, strict=True)]
        mean = fmean(columns)
        lines.append(_line(f"mean of {len(counted)}", [*columns, mean], []) + f"  mean error {100 - mean:.2f} %")
    return lines


def _line(name: str, values: Iterable[float], rows: list[Row]) -> str:
    images = f"  {rows[0].images:,} images" if rows else ""
    return f"{name:24}" + "".join(f"{value:8.2f}" for value in values) + images
