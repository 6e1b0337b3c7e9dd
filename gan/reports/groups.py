"""Runs that differ in nothing but the seed belong together."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gan.runs.outcome import DIVERGED
from gan.runs.records import RunRecords

# What may differ between two runs of one group: the seed, where they lie, what they ran on
_TOP = "seed_everything", "experiment", "ckpt_path", "resume", "init_from", "threads"
_TRAINER = "default_root_dir", "accelerator", "devices", "num_nodes", "strategy", "logger", "enable_progress_bar"
_SEED = re.compile(r"-seed\d+$")


@dataclass(frozen=True)
class Group:
    """Runs of one configuration.

    Attributes:
        name: Short and unique.
        settings: Where its configuration differs from those of the other groups: key and value.
        runs: One a seed.
    """

    name: str
    settings: dict[str, str]
    runs: list[RunRecords]

    @property
    def diverged(self) -> list[RunRecords]:
        """The runs that ended because something was not finite."""
        return [run for run in self.runs if run.outcome is not None and run.outcome.status == DIVERGED]


def grouped(runs: Sequence[RunRecords]) -> tuple[list[Group], list[str]]:
    """Return the groups of some runs, and one line for each run that is left out.

    Of runs with the same configuration and seed the last one counts: the others repeat it.
    """
    found: dict[str, dict[Any, RunRecords]] = {}
    notes = []
    for run in runs:
        seeds = found.setdefault(json.dumps(compared(run.config), sort_keys=True, default=str), {})
        if run.seed in seeds:
            notes.append(f"{seeds[run.seed].folder} is left out: {run.folder} has the same configuration and seed")
        seeds[run.seed] = run
    members = [list(seeds.values()) for seeds in found.values()]
    settings = differences([compared(each[0].config) for each in members])
    return [Group(*each) for each in zip(_names(members), settings, members, strict=True)], notes


def compared(config: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a configuration that decides what is computed, but for the seed."""
    rest = {key: value for key, value in config.items() if key not in _TOP}
    if isinstance(rest.get("trainer"), dict):
        rest["trainer"] = {key: value for key, value in rest["trainer"].items() if key not in _TRAINER}
    return rest


def differences(configs: Sequence[Any]) -> list[dict[str, str]]:
    """Return for each configuration the keys and values in which not all agree."""
    found: list[dict[str, str]] = [{} for _ in configs]
    _compare(list(configs), "", found)
    return found


def _compare(values: list[Any], path: str, found: list[dict[str, str]]) -> None:
    if all(value == values[0] for value in values):
        return
    if all(isinstance(value, dict) for value in values) and len({value.get("class_path") for value in values}) == 1:
        for key in {key: None for value in values for key in value}:
            inner = path if key == "init_args" else f"{path}.{key}".lstrip(".")
            _compare([value.get(key) for value in values], inner, found)
        return
    for settings, value in zip(found, values, strict=True):
        settings[path] = shortened(value)


def flat_settings(config: dict[str, Any]) -> dict[str, str | int | float]:
    """Return what decides a training, as plain values under the keys of the command line; classes by their names.

    What is off (null or false) is left out: optimizers alone have half a dozen such switches.
    """
    found: dict[str, str | int | float] = {"seed": str(config.get("seed_everything"))}
    if (steps := (config.get("trainer") or {}).get("max_steps")) is not None:
        found["max_steps"] = steps
    for key in "model", "data":
        _flatten(config.get(key), key, found)
    return {key.removeprefix("model."): value for key, value in found.items()}


def _flatten(value: Any, path: str, found: dict[str, str | int | float]) -> None:
    if isinstance(value, dict):
        if "class_path" in value:
            found[path] = str(value["class_path"]).rpartition(".")[2]
        inner = {**value, **(value.get("init_args") or {})}
        for key in sorted(inner.keys() - {"class_path", "init_args"}):
            _flatten(inner[key], f"{path}.{key}", found)
    elif value is not None and value is not False:
        plain = isinstance(value, int | float | str) and value is not True  # which TensorBoard would show as 1.0
        found[path] = value if plain else shortened(value)


def shortened(value: Any) -> str:
    """Return a value of a configuration in few words: classes by their names."""
    if isinstance(value, list):
        return f"[{', '.join(map(shortened, value))}]"
    if isinstance(value, dict) and "class_path" in value:
        arguments = value.get("init_args") or {}
        inner = ", ".join(f"{key}={shortened(each)}" for key, each in arguments.items() if each is not None)
        return str(value["class_path"]).rpartition(".")[2] + (f"({inner})" if inner else "")
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {shortened(each)}' for key, each in value.items())}}}"
    return "none" if value is None else str(value)


def _names(members: Sequence[list[RunRecords]]) -> list[str]:
    names = [_SEED.sub("", runs[0].folder.resolve().parent.name) for runs in members]
    for number, runs in enumerate(members):
        if sum(_SEED.sub("", each[0].folder.resolve().parent.name) == names[number] for each in members) > 1:
            names[number] += "/" + ", ".join(run.folder.resolve().name for run in runs)
    return names
