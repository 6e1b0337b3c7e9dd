"""Writes docs/gallery.md: the samples of finished runs, each with its command, steps and scores.

    python -m benchmarks.gallery

It shows every run of a study that has a record (`.jsonl`) and a picture (`.png`) in docs/study. Seeds of one setting
stand side by side.
"""

import json
import shlex
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.studies import chosen_setting
from gan.cli.configurations import shipped
from gan.study.description import Cell, Study, read_study

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "gallery.md"
_HEAD = """\
# Gallery

Samples of runs that are over: each run's last grid, none chosen. Under each picture stand the generator steps and the
last scores, under each row the command of its first seed. Scores of a classifier of digits or of CIFAR-10 are no FID.
`python -m benchmarks.gallery` makes this page from the records in [docs/study](study/README.md).

## The quickstart

![64 digits drawn by the generator of the quickstart](quickstart.png)

750 steps, three minutes on two CPU cores. The scores are in [What was measured](results.md).

```text
gan fit --config quickstart
```
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)


def page() -> str:
    """Return the page. The digits come first: everybody can make them."""
    files = sorted(shipped("studies").values(), key=lambda path: path.stem != "digits")
    return "\n".join([_HEAD, *(part for path in files for part in _section(read_study(path)))])


def _section(study: Study) -> list[str]:
    """Return the part of a study: a heading, then a part for each setting that has finished runs."""
    cells = [cell for name in study.cells for cell in study.reported_cells(name, chosen_setting(study, name))]
    finished = [cell for cell in cells if all(_file(cell, kind).is_file() for kind in ("png", "jsonl"))]
    if not finished:
        return []
    groups = groupby(finished, key=lambda cell: cell.experiment.rpartition("-seed")[0])
    parts = [_group(study, experiment, list(runs)) for experiment, runs in groups]
    text = (
        f"`gan study {study.name} run` makes all of its runs; `studies/{study.name}.yaml` says what they need. "
        "The commands below need the same.\n"
    )
    return [f"## The study {study.name}\n", text, *parts]


def _group(study: Study, experiment: str, runs: list[Cell]) -> str:
    name = experiment.partition("/")[2]
    pictures = [f"![{name}, seed {_seed(run)}]({_file(run, 'png').relative_to(DOCS).as_posix()})" for run in runs]
    rows = [[f"seed {_seed(run)}" for run in runs], ["---"] * len(runs), pictures, [_scores(run) for run in runs]]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"### {name}\n\n{table}\n\n```text\n{_command(study, runs)}\n```\n"


def _scores(run: Cell) -> str:
    """Return the steps and the last scores of a run, from its record."""
    lines = [json.loads(text) for text in _file(run, "jsonl").read_text(encoding="utf-8").splitlines()]
    last = [line for line in lines if "protocol" in line][-1]
    names = [name for name in last if name not in ("step", "protocol") and not name.startswith("evaluation_")]
    values = [f"`{name}` {last[name]:.3g}" for name in names if not name.endswith("_std")]
    samples = last["protocol"]["samples"]
    return f"{last['step']:,} steps, {', '.join(values)}; {samples:,} samples, {last['protocol']['source']}"


def _command(study: Study, runs: list[Cell]) -> str:
    """Return the command of the runs, for the first of their seeds."""
    configs = [word for config in study.configs for word in ("--config", config)]
    values = [f"--{key}={_text(value)}" for key, value in runs[0].values.items()]
    return shlex.join([study.program, "fit", *configs, *values])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":")).replace('"', "")


def _seed(run: Cell) -> Any:
    return run.values["seed_everything"]


def _file(run: Cell, kind: str) -> Path:
    return DOCS / "study" / f"{run.experiment}.{kind}"


if __name__ == "__main__":
    main()
