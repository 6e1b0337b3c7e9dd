"""Runs the subcommands that train and score; a user's mistake ends in one line and a non-zero exit code."""

import io
import logging
import sys
import threading
import warnings
from collections.abc import Sequence

from lightning_fabric.utilities.exceptions import MisconfigurationException

from gan.cli.configurations import check_program, with_configurations
from gan.cli.errors import explained, one_line
from gan.cli.machine import keep_freed_memory
from gan.cli.mistakes import MISTAKES, mistakes_in_one_line
from gan.cli.training import TrainingCLI


def run(cli: type[TrainingCLI], arguments: Sequence[str]) -> None:
    """Run a subcommand.

    Args:
        cli: Whose subcommand it is.
        arguments: The subcommand and its options.

    Raises:
        SystemExit: with a code that is not 0, after one line on stderr, at a user's mistake.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a file is to have a line when it is printed
    keep_freed_memory()
    _silence_lightning()
    threading.excepthook = _leave_the_disk_to_the_training
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"  # in one line too
    with mistakes_in_one_line(one_line, explained, (*MISTAKES, MisconfigurationException, ModuleNotFoundError)):
        check_program(arguments, cli.__module__.partition(".")[0])
        cli(with_configurations(arguments))


def _silence_lightning() -> None:
    """Show what is wrong, not what is as it should be."""
    for name in "pytorch_lightning", "lightning_fabric":
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("pytorch_lightning.profilers").setLevel(logging.INFO)  # who asks for one wants to read it
    warnings.filterwarnings("ignore", ".*module\\(s\\) in eval mode")  # the averaged generator is
    warnings.filterwarnings("ignore", ".*LeafSpec")  # Lightning 2.6.6 on torch 2.14
    warnings.filterwarnings("ignore", ".*smaller than the logging interval")  # of a rhythm that nothing here follows


def _leave_the_disk_to_the_training(error: threading.ExceptHookArgs) -> None:
    """Print no traceback of TensorBoard's thread when the disk is full: the training gets the same error."""
    if not issubclass(error.exc_type, OSError):
        threading.__excepthook__(error)
