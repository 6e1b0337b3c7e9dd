"""The command `gan`, and what any command of this kind does. Nothing heavy is imported before a subcommand is known.

A subcommand is a function `main(arguments)` in a module of its own; it returns the exit code, or None.
"""

import gc
import importlib
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec

from gan.checks import did_you_mean
from gan.cli.help import HELP, SHORT_HELP
from gan.cli.threads import let_waiting_threads_spin_briefly

_MODULES = {
    "fit": "gan.cli.command",
    "validate": "gan.cli.command",
    "test": "gan.cli.command",
    "sample": "gan.cli.sample",
    "predict": "gan.cli.sample",
    "export": "gan.cli.export",
    "push": "gan.cli.push",
    "compare": "gan.cli.compare",
    "study": "gan.cli.study",
    "score": "gan.cli.score",
    "data": "gan.cli.data",
}
_NEEDED = {
    "torchvision": "torchvision",
    "pytorch_lightning": "pytorch-lightning",
    "torchmetrics": "torchmetrics",
    "torch_fidelity": "torch-fidelity",
    "tensorboard": "tensorboard",
    "jsonargparse": "jsonargparse",
    "sklearn": "scikit-learn",
    "rich": "rich",
}


@dataclass(frozen=True)
class Program:
    """A command with subcommands.

    Attributes:
        help: What `--help` says.
        short_help: The same of each subcommand that trains or scores. These are Lightning's, and take its options.
        modules: Where the `main` of each subcommand is.
    """

    help: str
    short_help: Mapping[str, str]
    modules: Mapping[str, str]

    def run(self, arguments: Sequence[str] | None = None) -> None:
        """Run the command line.

        Args:
            arguments: What follows the command's name; None: those of this process.

        Raises:
            SystemExit: with a code that is not 0, after one line on stderr, if the arguments are wrong.
        """
        given = list(sys.argv[1:] if arguments is None else arguments)
        if given[:1] in (["-h"], ["--help"]):
            _show(self.help)
            return
        _check_installed()
        if not given:
            _show(self.help)
            return
        if given[0].startswith("-"):  # `train.py --config x.yaml` means fit
            given.insert(0, "fit")
        command, *rest = given
        if command not in (known := [name for name, module in self.modules.items() if find_spec(module) is not None]):
            _refuse(command, known)
        if command in self.short_help and rest in (["-h"], ["--help"]):
            _show(self.short_help[command])
            return
        if rest == ["--help", "all"]:
            rest = ["--help"]
        let_waiting_threads_spin_briefly()  # torch reads it when it is imported
        with _quick_imports():
            module = importlib.import_module(self.modules[command])
        if command in self.short_help:
            rest = [command, *rest]
        if code := module.main(rest):
            raise SystemExit(code)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `gan`, see `Program.run`."""
    Program(HELP, SHORT_HELP, _MODULES).run(arguments)


def _show(text: str) -> None:
    with suppress(BrokenPipeError):  # of `gan --help | head`
        print(text, flush=True)


def _check_installed() -> None:
    """End with one line if the packages of the extra `gan` are not installed."""
    if missing := [package for module, package in _NEEDED.items() if find_spec(module) is None]:
        install = "pip install 'convnorm-gan[gan]', or in a checkout pip install '.[gan]'"
        raise SystemExit(f"error: gan needs {', '.join(missing)}: {install}")


def _refuse(command: str, known: Sequence[str]) -> None:
    known = [name for name in known if name != "predict"]
    hint = did_you_mean(command, known)
    print(f"error: there is no command {command!r}; known are {', '.join(known)}{hint}", file=sys.stderr)
    raise SystemExit(2)


@contextmanager
def _quick_imports() -> Iterator[None]:
    """Import without pauses, and let Ctrl-C end the process without a traceback.

    Lightning's imports make 750,000 objects that stay to the end. Garbage collection would walk through them again and
    again, now and at the exit: two of six seconds.
    """
    gc.disable()
    interrupt = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, interrupt)
        gc.freeze()
        gc.enable()
