"""`gan data check` and `gan data convert`."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from gan.cli.arguments import Arguments, Subcommand
from gan.cli.mistakes import joined, mistakes_in_one_line


def main(arguments: Sequence[str]) -> int:
    """Run `gan data check` or `gan data convert`.

    Args:
        arguments: The action and its options.

    Returns:
        1 if `check` found damaged images, else 0.

    Raises:
        SystemExit: with a code that is not 0, after one line on stderr, at a user's mistake.
    """
    given = _parser().parse_args(arguments)
    with mistakes_in_one_line(lambda message: joined(message).replace("--data.", "--")):
        code: int = given.run(given)
        return code


def _parser() -> argparse.ArgumentParser:
    parser = Arguments("data", "Look at sets of images, and make them fit once.")
    commands = parser.add_subparsers(required=True, metavar="check|convert", parser_class=Subcommand)
    check = commands.add_parser("check", help="say what a folder or zip of images holds")
    check.add_argument("--sheet", type=Path, help="picture of how 64 images will look (default: SOURCE.sheet.png)")
    check.set_defaults(run=_check)
    convert = commands.add_parser("convert", help="make images fit, into a zip that loads at once")
    convert.set_defaults(run=_convert)
    for command in check, convert:
        command.add_argument("source", help="folder or zip of images")
        if command is convert:
            command.add_argument("destination", type=Path, help="zip to write; must not exist")
            command.add_argument("--damaged", choices=("error", "skip"), default="error", help="about damaged images")
        command.add_argument("--size", type=int, nargs="+", default=[64], metavar="N", help="side, or height and width")
        command.add_argument("--fit", choices=("crop", "pad", "squeeze"), default="crop", help="how shapes are changed")
        command.add_argument("--channels", type=int, choices=(1, 3), default=3, help="1: gray, 3: RGB")
        command.add_argument("--labels", choices=("auto", "folders", "none"), default="auto", help="as for data.Folder")
        command.add_argument("--train_folder", help="folder of the training images, . for all")
        command.add_argument("--test_folder", help="folder of the test images")
        command.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    return parser


def _check(arguments: argparse.Namespace) -> int:
    from gan.data.check import describe, inspect, write_sheet

    tree, frame = _tree_and_frame(arguments)
    findings = inspect(tree, frame, arguments.workers, _progress("checked"))
    print(describe(tree, frame, findings))
    sheet = arguments.sheet or Path(f"{Path(arguments.source).resolve().name}.sheet.png")
    write_sheet(tree, frame, sheet)
    print(f"sheet: {sheet}")
    return 1 if findings.damaged else 0


def _convert(arguments: argparse.Namespace) -> int:
    from gan.data.convert import convert

    tree, frame = _tree_and_frame(arguments)
    skip = arguments.damaged == "skip"
    try:
        left_out = convert(tree, arguments.destination, frame, arguments.workers, skip, _progress("converted"))
    except KeyboardInterrupt:
        print("interrupted: the same command goes on", file=sys.stderr)
        raise
    for fault in left_out:
        print(f"left out: {fault}", file=sys.stderr)
    print(f"{arguments.destination}: {sum(map(len, tree.labels.values())) - len(left_out):,} images")
    return 0


def _tree_and_frame(arguments: argparse.Namespace):  # type: ignore[no-untyped-def]
    from gan.data.decode import Frame
    from gan.data.tree import ImageTree

    if len(arguments.size) > 2 or min(arguments.size) < 1:
        raise ValueError(f"--size must be a side, or height and width, at least 1, got {arguments.size}")
    if arguments.workers < 1:
        raise ValueError(f"--workers must be at least 1, got {arguments.workers}")
    size = arguments.size[0] if len(arguments.size) == 1 else tuple(arguments.size)
    frame = Frame(size, arguments.channels, fit_by=arguments.fit)
    folders = arguments.train_folder, arguments.test_folder
    return ImageTree(os.path.expanduser(arguments.source), arguments.labels, *folders), frame


def _progress(word: str) -> Callable[[int, int], None]:
    """Return what shows the progress: in place on a terminal, else ten lines in all."""
    shown = 0

    def show(done: int, total: int) -> None:
        nonlocal shown
        step = 100 * done // total if sys.stderr.isatty() else 10 * done // total
        if step > shown or done == total:
            shown = step
            end = "\r" if sys.stderr.isatty() and done < total else "\n"
            print(f"{word} {done:,} of {total:,}", end=end, file=sys.stderr, flush=True)

    return show
