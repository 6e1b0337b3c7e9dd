"""`gan compare`: runs beside each other."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from gan.cli.arguments import Arguments
from gan.cli.mistakes import mistakes_in_one_line
from gan.reports.comparison import Comparison, compare
from gan.reports.page import page
from gan.reports.table import as_csv, markdown
from gan.runs.files import write_atomically

_EXAMPLES = """\
examples:
  gan compare runs/quickstart/version_0 runs/quickstart/version_1
  gan compare runs/sngan runs/dcgan --html report.html --csv report.csv

Runs that differ in the seed alone are one row. Scores of different protocols are never in one column."""


def main(arguments: Sequence[str]) -> None:
    """Run `gan compare`.

    Args:
        arguments: Its options.

    Raises:
        SystemExit: with a code that is not 0, after one line on stderr, at a user's mistake.
    """
    parser = Arguments("compare", "Show runs beside each other: scores, speed, memory, curves and samples.", _EXAMPLES)
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="folders of runs, or of experiments")
    add_outputs(parser)
    given = parser.parse_args(arguments)
    with mistakes_in_one_line():
        report(compare([path.expanduser() for path in given.runs]), given, "Comparison of runs")


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which files a report is written to."""
    parser.add_argument("--html", metavar="FILE", type=Path, help="one page with curves and samples; needs no server")
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="the table as Markdown")
    parser.add_argument("--csv", metavar="FILE", type=Path, help="all digits, one line a group and score")


def report(comparison: Comparison, given: argparse.Namespace, title: str) -> None:
    """Print the table, and write the files that are asked for."""
    print(markdown(comparison), end="")
    contents = (
        (given.html, page(comparison, title)),
        (given.markdown, markdown(comparison)),
        (given.csv, as_csv(comparison)),
    )
    for path, content in contents:
        if path is not None:
            _write(path.expanduser(), content)
            print(f"written: {path}", file=sys.stderr)


def _write(path: Path, content: str) -> None:
    write_atomically(path, lambda file: file.write(content.encode()))
