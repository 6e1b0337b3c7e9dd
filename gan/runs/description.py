"""Objects as plain data, so that a checkpoint can be used without its YAML file and without pickled classes."""

import importlib
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from gan.runs.folder import CONFIG

T = TypeVar("T")


def describe(instance: object) -> dict[str, Any]:
    """Return an object's class path and constructor arguments, which it must keep as attributes.

    Raises:
        TypeError: if an attribute is missing, or its value is not plain (a number, text, None, or a list of these).
    """
    kind = type(instance)
    arguments = {name: _plain_attribute(instance, name) for name in inspect.signature(kind).parameters}
    return {"class_path": public_path(kind), "init_args": arguments}


def public_path(kind: type) -> str:
    """Return the shortest path under which a class can be imported, which outlives its module: `gan.norms.Conv`."""
    packages = kind.__module__.split(".")
    for length in range(1, len(packages)):
        package = ".".join(packages[:length])
        if getattr(sys.modules.get(package), kind.__qualname__, None) is kind:
            return f"{package}.{kind.__qualname__}"
    return f"{kind.__module__}.{kind.__qualname__}"


def short_name(class_path: str) -> str:
    """Return the name of a class without its modules."""
    return class_path.rpartition(".")[2]


def norms_in_words(norms: Sequence[dict[str, Any]], network: nn.Module) -> str:
    """Return the described norms of a network, and its size: "Conv, Spectral; 2.5 M parameters"."""
    names = ", ".join(short_name(norm["class_path"]) for norm in norms) or "no norm added"
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return f"{names}; {parameters / 1e6:.2g} M parameters"


def build(description: dict[str, Any], base: type[T]) -> T:
    """Build an object from its description.

    Raises:
        ValueError: if the class cannot be found, or is not a subclass of `base`.
    """
    class_path = description["class_path"]
    module, _, name = class_path.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"the checkpoint needs {class_path}, which cannot be imported: {error}") from error
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise ValueError(f"the checkpoint names {class_path} where a {base.__name__} is expected")
    return kind(**description["init_args"])


def changes(old: Any, new: Any, name: str = "") -> list[str]:
    """Return the differences of two nested structures of plain data, each as "name was x, is y"."""
    if isinstance(old, dict) and isinstance(new, dict):
        pairs = {str(key): (old.get(key), new.get(key)) for key in {**old, **new}}
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = {str(index): pair for index, pair in enumerate(zip(old, new, strict=True))}
    else:
        return [] if old == new else [f"{name} was {old}, is {new}"]
    return [change for key, pair in pairs.items() for change in changes(*pair, f"{name}.{key}".lstrip("."))]


def changes_since(checkpoint: Path, config: str) -> list[str]:
    """Return how a configuration (YAML) differs from that of the run that a checkpoint lies in, if it lies in one."""
    import yaml  # not at the top: what reads exported networks needs torch alone

    path = checkpoint.parent.parent / CONFIG
    if not path.is_file():
        return []
    try:
        old = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError):  # a kill cut it short, or its bytes are no text
        return []
    if not isinstance(old, dict):
        return []
    return changes({**old, "ckpt_path": None}, {**yaml.safe_load(config), "ckpt_path": None})


def _plain_attribute(instance: object, name: str) -> Any:
    kind = type(instance).__name__
    if not hasattr(instance, name):
        raise TypeError(f"{kind} must keep its constructor's argument `{name}` as the attribute self.{name}")
    value = getattr(instance, name)
    values = list(value) if isinstance(value, list | tuple) else [value]
    if not all(isinstance(each, bool | int | float | str | None) for each in values):
        raise TypeError(f"{kind}.{name} must be a number, a string, None or a list of these, got {value!r}")
    if isinstance(value, list | tuple):
        return values
    return value
