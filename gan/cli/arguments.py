"""Command lines without Lightning: options by their whole names, errors in one line."""

import argparse
import sys
from typing import NoReturn


class Arguments(argparse.ArgumentParser):
    """An `ArgumentParser` whose errors are one line.

    Args:
        command: The subcommand's name.
        description: What it does, laid out as it is to be printed.
        epilog: Examples, laid out likewise.
    """

    def __init__(self, command: str, description: str, epilog: str = "") -> None:
        layout = argparse.RawDescriptionHelpFormatter
        super().__init__(f"gan {command}", None, description, epilog, formatter_class=layout, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Print the error and exit with code 2."""
        print(f"error: {message} ({self.prog} --help says more)", file=sys.stderr)
        raise SystemExit(2)


class Subcommand(Arguments):
    """The parser of an action of a subcommand, as `add_subparsers(parser_class=Subcommand)` makes it."""

    def __init__(self, prog: str = "", **_: object) -> None:
        super().__init__(prog.removeprefix("gan "), "")


def size(text: str) -> tuple[int, int]:
    """Return rows and columns of "8x8"."""
    rows, _, columns = text.partition("x")
    if not (rows.isdecimal() and columns.isdecimal() and int(rows) and int(columns)):
        raise argparse.ArgumentTypeError(f"expected rows x columns such as 8x8, got {text!r}")
    return int(rows), int(columns)


def positive(text: str) -> int:
    """Return a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, got {text!r}")
    return int(text)
