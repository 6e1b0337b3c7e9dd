"""The records of finished runs in docs/study, and the text of their tables."""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

FOLDER = Path(__file__).parents[1] / "docs" / "study"
Row = Sequence[str]


def lines(file: Path) -> list[dict[str, Any]]:
    """Return the lines of a file of JSON lines; none if there is no such file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else []


def rows(file: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file by the names of its columns; none if there is no such file."""
    return list(csv.DictReader(file.read_text(encoding="utf-8").splitlines())) if file.is_file() else []


def spread(values: Sequence[float], digits: int) -> str:
    """Return the mean and the standard deviation of the values; nothing of none, and of one the value alone."""
    if len(values) < 2:
        return "".join(f"{value:.{digits}f}" for value in values)
    return f"{mean(values):.{digits}f} ± {stdev(values):.{digits}f}"


def markdown(head: Row, body: Iterable[Row]) -> str:
    """Return a table in Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *body))
