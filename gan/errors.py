"""A user's mistake in one line: what was given, where, and what is allowed."""

import inspect
import re
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

from gan.data import ImageData
from gan.module import GAN

# What jsonargparse says of each alternative that was not meant
_NOT_MEANT = "Expected a <class 'NoneType'>", "Expected a path but", "Does not validate against"


def one_line(message: str) -> str:
    """Return the core of an error message of jsonargparse, or of our own, without line breaks."""
    key = re.match(r'Parser key "([^"]+)":', message)
    reasons = list(dict.fromkeys(_reasons(message)))
    if not reasons:
        text = message.removeprefix(key[0]) if key else message
    elif given := re.findall(r"^\s*Given value: (.+)$", message, re.MULTILINE):
        expected_only = all(reason.startswith("Expected") for reason in reasons)
        text = " or ".join(reasons) + (f", got {given[-1]}" if expected_only else "")
    else:
        text = " or ".join(reasons)
    where = f"{key[1]}: " if key else ""
    return where + _tidy(text) + _choices(key[1] if key else "", text)


def _reasons(message: str) -> Iterator[str]:
    for line in message.splitlines():
        stripped = line.strip()
        if stripped.startswith("- ") and not stripped[2:].startswith(_NOT_MEANT):
            yield stripped[2:]


def _tidy(text: str) -> str:
    text = " ".join(text.split())
    text = re.sub(r"Expected a dot import path string: (\S+)", r"there is no class '\1' here", text)
    unknown = r"Problem with given class_path ('\S+'):(?: module .* has no attribute .*)?$"
    text = re.sub(unknown, r"there is no class \1", text)
    text = re.sub(r"^Call to compute_fn of link .* failed: ", "", text)
    text = re.sub(r"<class '([\w.]+)'>", r"\1", text)
    text = re.sub(r"typing\.Literal\[(.*?)\]", r"\1", text)
    return text.replace("Expected a ", "expected ").replace(". Got value:", ", got")


def _choices(key: str, text: str) -> str:
    """List the classes that an argument of the model, or the data, can be, if an unknown one came."""
    if "dot import path" not in text and "class_path" not in text:
        return ""
    hint = ImageData if key == "data" else get_type_hints(GAN.__init__).get(key.removeprefix("model."))
    names = sorted({kind.__name__ for base in _classes(hint) for kind in _concrete_subclasses(base)})
    return f"; known are {', '.join(names)}, and yours by module.Class" if names else ""


def _classes(hint: Any) -> list[type]:
    if isinstance(hint, type) and not get_args(hint):
        return [hint]
    return [found for argument in get_args(hint) for found in _classes(argument)]


def _concrete_subclasses(base: type) -> Iterator[type]:
    kind: type
    for kind in base.__subclasses__():
        if kind.__module__.startswith("gan.") and not inspect.isabstract(kind):
            yield kind
        yield from _concrete_subclasses(kind)
