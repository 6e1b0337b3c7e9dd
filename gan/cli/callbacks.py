"""Settings of callbacks on the command line, by the name of the callback: `--callbacks.Monitor.every_n_steps 7`."""

from collections.abc import Sequence
from typing import Any

import yaml

_BY_NAME, _BY_PLACE = "--callbacks.", "--trainer.callbacks"

Settings = list[tuple[str, str, Any]]  # the callback's name, the argument's name and its value


def split_settings(arguments: Sequence[str]) -> tuple[list[str], Settings]:
    """Return the arguments without the settings of callbacks, and these settings.

    Raises:
        ValueError: if one names no argument or has no value, or `--trainer.callbacks.NAME` would change whichever
            callback is last.
    """
    rest: list[str] = []
    settings: Settings = []
    left = iter(arguments)
    for argument in left:
        if argument.startswith(f"{_BY_PLACE}."):
            _check_new(argument, rest)
        if not argument.startswith(_BY_NAME):
            rest.append(argument)
            continue
        option, equals, value = argument.partition("=")
        callback, _, name = option.removeprefix(_BY_NAME).partition(".")
        if not (callback and name):
            raise ValueError(f"{option} is not --callbacks.NAME.ARGUMENT, as --callbacks.Monitor.every_n_steps")
        if not equals and (value := next(left, "--")).startswith("--"):
            raise ValueError(f"{option} needs a value")
        settings.append((callback, name, _plain(value)))
    return rest, settings


def apply_settings(callbacks: Any, settings: Settings) -> list[dict[str, Any]]:
    """Return a configuration's list of callbacks with some arguments changed.

    Args:
        callbacks: As the configuration has them: plain data, one or several, or None.
        settings: What to change.

    Raises:
        ValueError: if there is no callback of a name, or more than one.
    """
    configured = callbacks if isinstance(callbacks, list) else [] if callbacks is None else [callbacks]
    changed = [{**each, "init_args": dict(each.get("init_args") or {})} for each in configured]
    names = [each["class_path"].rpartition(".")[2] for each in changed]
    for callback, name, value in settings:
        if names.count(callback) != 1:
            there = f"there are {names.count(callback)}" if callback in names else "there is none"
            raise ValueError(
                f"--callbacks.{callback}.{name}: {there} of that name in trainer.callbacks "
                f"({', '.join(names) or 'which is empty'})"
            )
        changed[names.index(callback)]["init_args"][name] = value
    return changed


def _check_new(argument: str, before: Sequence[str]) -> None:
    """Refuse to change the last callback of a file; one that the command line has added just before is meant."""
    name = argument.partition("=")[0].removeprefix(f"{_BY_PLACE}.")
    given = any(each.startswith((f"{_BY_PLACE}+", f"{_BY_PLACE}=")) or each == _BY_PLACE for each in before)
    if name != "help" and not given:
        raise ValueError(
            f"{_BY_PLACE}.{name} would change whichever callback is last: --callbacks.NAME.{name.rpartition('.')[2]} "
            "changes the one that it names"
        )


def _plain(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text
