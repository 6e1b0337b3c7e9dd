"""Runs the command line; a user's mistake ends it with one line and a non-zero exit code."""

import logging
import os
import signal
import sys
import threading
import warnings

from lightning_fabric.utilities.exceptions import MisconfigurationException

from gan.cli.command import CLI, SUBCOMMANDS
from gan.cli.errors import explained, one_line
from gan.cli.machine import keep_freed_memory


def main() -> None:
    """Run the command line; a user's mistake ends it with one line and a code that is not zero."""
    keep_freed_memory()
    _default_to_fit()
    _silence_lightning()
    threading.excepthook = _leave_the_disk_to_the_training
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"  # in one line too
    try:
        CLI()
    except KeyboardInterrupt:  # before there is anything to finish
        raise SystemExit(128 + signal.SIGINT) from None
    except (ValueError, OSError, FloatingPointError, MisconfigurationException) as error:
        if os.environ.get("GAN_TRACEBACK"):
            raise
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        raise SystemExit(1) from None
    except RuntimeError as error:
        if os.environ.get("GAN_TRACEBACK") or (explanation := explained(error)) is None:
            raise
        print(f"error: {explanation}: {one_line(str(error))}", file=sys.stderr)
        raise SystemExit(1) from None


def _default_to_fit() -> None:
    """Let `train.py --config x.yaml` mean `train.py fit --config x.yaml`."""
    if len(sys.argv) > 1 and sys.argv[1] not in (*SUBCOMMANDS, "-h", "--help"):
        sys.argv.insert(1, "fit")


def _silence_lightning() -> None:
    """Show what is wrong, not what is as it should be."""
    for name in "pytorch_lightning", "lightning_fabric":
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("pytorch_lightning.profilers").setLevel(logging.INFO)  # who asks for one wants to read it
    warnings.filterwarnings("ignore", ".*module\\(s\\) in eval mode")  # the averaged generator is
    warnings.filterwarnings("ignore", ".*LeafSpec")  # Lightning 2.6.6 on torch 2.14
    warnings.filterwarnings("ignore", ".*smaller than the logging interval")  # of a rhythm that nothing here follows
    warnings.filterwarnings("ignore", ".*predict returned None")  # the samples are on the disk by then


def _leave_the_disk_to_the_training(error: threading.ExceptHookArgs) -> None:
    """Print no traceback of TensorBoard's thread when the disk is full: the training gets the same error."""
    if not issubclass(error.exc_type, OSError):
        threading.__excepthook__(error)
