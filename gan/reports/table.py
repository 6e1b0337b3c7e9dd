"""A comparison as a table: Markdown, which is also what the terminal shows, and CSV."""

import csv
import io
import json
from collections.abc import Sequence

from gan.reports.comparison import Comparison, peak_memory, steps_per_second
from gan.reports.groups import Group


def table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Return the titles of the columns, and the rows, one a group."""
    settings = list(dict.fromkeys(key for group in comparison.groups for key in group.settings))
    titles = ["run", *map(_short, settings), "seeds", "steps"]
    for column in comparison.columns:
        arrow = "↓" if column.lower_is_better else "↑"
        titles += [f"{column.title} {arrow} last", "best"]
    rows = []
    for group in comparison.groups:
        row = [group.name, *(group.settings.get(key, "") for key in settings), _seeds(group), _steps(group)]
        for column in comparison.columns:
            row += [str(column.last(group)) or "–", str(column.best(group)) or "–"]
        rows.append([*row, str(steps_per_second(group)) or "–", str(peak_memory(group)) or "–"])
    return [*titles, "steps/s", "peak GiB"], rows


def markdown(comparison: Comparison) -> str:
    """Return the table, the protocols and the notes as Markdown."""
    titles, rows = table(comparison)
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    lines = [_line(titles, widths), _line(["-" * width for width in widths], widths)]
    lines += [_line(row, widths) for row in rows]
    lines += [
        "",
        "Mean ± standard deviation over seeds. A run's best value is chosen by the score itself, so it is too good.",
    ]
    for letter, protocol in comparison.protocols.items():
        name = f"Protocol [{letter}]" if letter else "Protocol"
        lines += ["", f"{name}: {'; '.join(f'{field} {value}' for field, value in protocol)}."]
    lines += ["", *(f"- {note}" for note in comparison.notes)] if comparison.notes else []
    return "\n".join(lines) + "\n"


def as_csv(comparison: Comparison) -> str:
    """Return one line a group and score, with all digits and the protocol."""
    settings = list(dict.fromkeys(key for group in comparison.groups for key in group.settings))
    values = "last_mean", "last_sd", "best_mean", "best_sd", "runs"
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    header = ["run", *settings, "seeds", "steps", "diverged", "steps_per_second", "peak_memory_gib"]
    writer.writerow([*header, "score", *values, "protocol"])
    for group in comparison.groups:
        speed, memory = steps_per_second(group).mean, peak_memory(group).mean
        row = [group.name, *(group.settings.get(key, "") for key in settings), _seeds(group), _steps(group)]
        row += [str(len(group.diverged)), repr(speed), repr(memory)]
        for column in comparison.columns:
            last, best = column.last(group), column.best(group)
            numbers = last.mean, last.deviation, best.mean, best.deviation
            if last.count:
                protocol = json.dumps(dict(column.protocol))
                writer.writerow([*row, column.name, *map(repr, numbers), last.count, protocol])
    return file.getvalue()


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return f"| {' | '.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))} |"


def _short(key: str) -> str:
    return key.removeprefix("model.").removeprefix("trainer.")


def _seeds(group: Group) -> str:
    return ", ".join(str(run.seed) for run in group.runs)


def _steps(group: Group) -> str:
    steps = sorted({run.last_step for run in group.runs})
    text = str(steps[0]) if len(steps) == 1 else f"{steps[0]}–{steps[-1]}"
    return text + (f" ({len(group.diverged)} diverged)" if group.diverged else "")
