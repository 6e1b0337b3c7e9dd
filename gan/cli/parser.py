"""The parser of the command line."""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import yaml
from pytorch_lightning.cli import LightningArgumentParser

from gan.cli.callbacks import apply_settings, split_settings
from gan.cli.errors import Kinds, known_options, one_line


class Parser(LightningArgumentParser):
    """Takes options by their whole names only, and says what is wrong in one line.

    Attributes:
        kinds: What options take, see `gan.cli.errors.one_line`.
    """

    kinds: ClassVar[Kinds] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def parse_args(self, args: Any = None, *others: Any, **settings: Any) -> Any:
        """Parse; settings of callbacks by their names come last."""
        try:
            rest, of_callbacks = split_settings(sys.argv[1:] if args is None else args)
            config = super().parse_args(rest, *others, **settings)
            if not of_callbacks:
                return config
            plain = yaml.safe_load(self.dump(config, skip_none=False))
            options = plain[config.subcommand] if "subcommand" in config else plain
            callbacks = apply_settings(options["trainer"]["callbacks"], of_callbacks)
        except ValueError as error:
            self.error(str(error))
        return super().parse_args([*rest, f"--trainer.callbacks={json.dumps(callbacks)}"], *others, **settings)

    def parse_path(self, path: Any, *args: Any, **kwargs: Any) -> Any:
        """Read a configuration file; if it is none, the error names it."""
        if Path(path).is_file() and (fault := _fault_of_yaml(Path(path))):  # a pipe could be read once only
            self.error(f"--config {path} {fault}")
        return super().parse_path(path, *args, **kwargs)

    def add_function_arguments(self, *args: Any, linked_targets: set[str] | None = None, **settings: Any) -> list[str]:
        """Add the arguments of a function in the place of a class, as torchvision's networks are.

        jsonargparse passes on which of them follow from the data, but its method for functions does not take that.
        """
        return super().add_function_arguments(*args, **settings)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the error and exit with code 2; what parses a part of it raises, and the whole adds where."""
        asked = getattr(ex, "subcommand_parser", self)
        options = [action.dest for action in asked._actions if not re.search(r"(^|\.)help$", action.dest)]
        message = known_options(message, options)
        if not self.exit_on_error:
            super().error(message, ex)
        if ex is not None and os.environ.get("GAN_TRACEBACK"):
            raise ex
        print(f"error: {one_line(message, self.kinds)}", file=sys.stderr)
        raise SystemExit(2)


def _fault_of_yaml(path: Path) -> str | None:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeError) as error:
        return f"is no YAML: {error}"
    return None if isinstance(content, dict) else "holds no options"
