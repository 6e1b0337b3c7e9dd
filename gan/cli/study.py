"""`gan study`: a grid of runs, planned, run and reported."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from gan.cli.arguments import Arguments, Subcommand, positive
from gan.cli.compare import add_outputs, report
from gan.cli.configurations import find_study
from gan.cli.mistakes import mistakes_in_one_line
from gan.cli.threads import usable_cores
from gan.reports.comparison import compare
from gan.runs.commands import command
from gan.runs.folder import versions
from gan.study.description import Cell, Study, read_study, with_values
from gan.study.progress import (
    arguments_of,
    check_unchanged,
    chosen_setting,
    folder_of,
    necessary_cells,
    state_of,
)
from gan.study.running import Result, Runner

_EXAMPLES = """\
examples:
  gan study digits plan                      one `gan fit` line a cell: for xargs, make, SLURM arrays
  gan study digits plan | xargs -P 2 -I{} sh -c '{}'
  gan study digits run -j 2                  run what is missing, two at a time; go on where it was killed
  gan study digits report --html report.html
  gan study cifar10 run --set data.root=cifar10.zip   what differs from machine to machine, set for all cells

STUDY is a YAML file, or a shipped study by its name:

  program: gan                                     or robustness; default: gan
  config: [quickstart]                             base configurations; later ones win
  set: {trainer.max_steps: 1000}                   for all cells
  grid:                                            the cells are the product of its axes
    norm:
      batch: {model.discriminator_norms: [Batch]}
      conv: {model.discriminator_norms: [Conv]}
    model.discriminator_steps: [1, 2]              an axis of one key
  seeds: [0, 1, 2]                                 every cell with each of them
  tuning:                                          optional: every cell gets the setting that is best on this seed
    seed: 100
    metric: fd_digits                              its last value decides; a run that diverged is not chosen
    set: {trainer.max_steps: 500}                  optional: for these runs alone
    settings: {slow: {model.generator_optimizer.lr: 2.0e-4}, fast: {model.generator_optimizer.lr: 1.0e-3}}
    settings_of:                                   optional: more settings of single cells
      conv: {flat: {model.loss: NonSaturating}}"""


def main(arguments: Sequence[str]) -> None:
    """Run `gan study`.

    Args:
        arguments: Its options.

    Raises:
        SystemExit: with a code that is not 0, after one line on stderr, at a user's mistake or if a cell failed.
    """
    parser = Arguments("study", "A grid of runs over a base configuration.", _EXAMPLES)
    parser.add_argument("study", metavar="STUDY")
    actions = parser.add_subparsers(dest="action", metavar="plan|run|report", required=True, parser_class=Subcommand)
    plan = actions.add_parser("plan", help="print the command of every cell that is not over")
    run = actions.add_parser("run", help="run the cells that are not over")
    for action in plan, run:
        action.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for all cells")
    plan.add_argument("--all", action="store_true", help="those that are over, too")
    run.add_argument("-j", "--jobs", type=positive, default=1, help="cells at a time (default: %(default)s)")
    add_outputs(actions.add_parser("report", help="compare the runs"))
    given = parser.parse_args(arguments)
    with mistakes_in_one_line():
        study = with_values(read_study(find_study(given.study)), getattr(given, "set", []))
        {"plan": _plan, "run": _run, "report": _report}[given.action](study, given)


def _plan(study: Study, given: argparse.Namespace) -> None:
    _check(study)
    cells = list(necessary_cells(study))
    left = [cell for cell in cells if given.all or not state_of(study, cell).over]
    for cell in left:
        print(command(*arguments_of(study, cell), of=study.program))
    print(f"# {len(left)} of {len(cells)} cells", file=sys.stderr)
    if len(cells) < _total(study):
        print("# plan again when these are over: the others need the settings that they choose", file=sys.stderr)


def _run(study: Study, given: argparse.Namespace) -> None:
    _check(study)
    runner = Runner(study, given.jobs, usable_cores(), lambda line: print(f"{line}\n", end="", flush=True))
    results: dict[str, Result] = {}
    while True:
        left = [cell for cell in necessary_cells(study) if not state_of(study, cell).over]
        left = [cell for cell in left if cell.experiment not in results]
        if not left:
            break
        results |= {result.cell.experiment: result for result in runner.run(left)}
    failed = [result for result in results.values() if result.failure is not None]
    over = sum(state_of(study, cell).over for cell in necessary_cells(study))
    print(f"{over} of {_total(study)} cells are over; look at them with: {command('study', study.file, 'report')}")
    if failed:
        print(
            f"error: {len(failed)} cells are not over:",
            *(f"{each.cell.experiment}: {each.failure}" for each in failed),
            sep="\n  ",
            file=sys.stderr,
        )
        raise SystemExit(1)


def _report(study: Study, given: argparse.Namespace) -> None:
    folders = []
    for name in study.cells:
        setting = chosen_setting(study, name)
        if study.tuning is not None:
            print(f"{name}: {_choice(study, name, setting)}")
        if study.tuning is None or setting is not None:
            folders += [folder_of(study, cell) for cell in study.reported_cells(name, setting)]
    runs = [found[max(found)] for folder in folders if (found := versions(folder))]
    if not runs:
        raise ValueError(f"no cell of {study.name} has begun: {command('study', study.file, 'run')}")
    if len(runs) < len(folders):
        print(f"{len(folders) - len(runs)} of {len(folders)} cells have not begun")
    report(compare(runs), given, f"Study {study.name}")


def _choice(study: Study, name: str, setting: str | None) -> str:
    if setting is not None:
        return f"the setting is {setting}"
    over = all(state_of(study, cell).over for cell in study.tuning_cells(name).values())
    return "diverged with every setting" if over else "the setting is not chosen yet"


def _total(study: Study) -> int:
    tuning = sum(len(study.tuning_cells(name)) for name in study.cells)
    return tuning + len(study.cells) * len(study.seeds)


def _check(study: Study) -> None:
    """Check all cells against the options there are, before anything runs."""
    from gan.cli.configurations import with_configurations

    commands = importlib.import_module(f"{study.program}.cli.command")  # which takes seconds
    parser = commands.CLI(run=False).parser
    different: dict[str, Cell] = {}
    for cell in study.all_cells():
        different.setdefault(_without_seed(cell), cell)
    for cell in different.values():
        place = ["fit", *(part for config in study.configs for part in ("--config", config))]
        values = [argument for argument in arguments_of(study, cell) if argument.startswith("--") and "=" in argument]
        _, *arguments = with_configurations([*place, *values])
        try:
            parser.parse_args(arguments)
        except SystemExit:  # it has said what is wrong
            print(f"  in {study.file}, cell {cell.experiment}", file=sys.stderr)
            raise
    for cell in necessary_cells(study):
        check_unchanged(study, cell)


def _without_seed(cell: Cell) -> str:
    return str(sorted((key, str(value)) for key, value in cell.values.items() if key != "seed_everything"))
