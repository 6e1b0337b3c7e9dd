"""A user's mistake in one line: what was given, where, and what is allowed."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, get_args, get_type_hints

import torch
from torch.distributed import DistError

from gan.checks import did_you_mean

# Where in the configuration jsonargparse found it: under a key, in the arguments of a class or of a function
_KEY = re.compile(r'\s*Parser key "([^"]+)":')
_ARGUMENTS = re.compile(
    r"^(?P<indent> *)(?:- )?Problem with given class_path '\S+':\n"
    r"(?P<rest>(?P=indent) +(?! |module ).*\n?(?:(?P=indent) .*\n?)*)",
    re.MULTILINE,
)
_CALLABLE = re.compile(r"\s*Type .* expects a function or a callable class: (?P<rest>[\s\S]*)\. Got value: ")
_UNKNOWN = re.compile(r"(?:unrecognized arguments: --|Subcommand '\w+' does not accept option ')([\w.]+)")
_MISSING = re.compile(r"the following arguments are required: (?:fit|validate|test)\.")
# What jsonargparse says of each alternative that was not meant
_NOT_MEANT = "Expected a <class 'NoneType'>", "Expected a path but", "Does not validate against"


Kinds = Mapping[str, Any]  # options, and the type hints of what they take


def kinds_of(option: str, function: Callable[..., Any]) -> Kinds:
    """Return what the arguments of a function are, under the names that they have as parts of an option."""
    return {f"{option}.{name}": hint for name, hint in get_type_hints(function).items()}


def one_line(message: str, kinds: Kinds = MappingProxyType({})) -> str:
    """Return the core of an error message of jsonargparse, or of our own, without line breaks.

    Args:
        message: The message.
        kinds: Options that take classes: where an unknown class came, the known ones are listed.
    """
    key, message = _innermost(message)
    reasons = list(dict.fromkeys(_reasons(message)))
    if not reasons:
        text = message
    elif given := re.findall(r"^\s*Given value: (.+)$", message, re.MULTILINE):
        expected_only = all(reason.startswith("Expected") for reason in reasons)
        text = " or ".join(reasons) + (f", got {given[-1]}" if expected_only else "")
    else:
        text = " or ".join(reasons)
    if re.search(r"Expected a\W+(class ')?(list|tuple)\b", text, re.IGNORECASE):
        text += " (a list is written [a,b])"
    where = f"{key}: " if key else ""
    return where + _tidy(text) + _choices(kinds.get(key), text)


def explained(error: RuntimeError) -> str | None:
    """Return in one line what a user has to know of an error that torch raises in the middle of a run.

    None: it is a fault of the program.
    """
    explanation = _explanation(error)
    return None if explanation is None else f"{explanation}: {one_line(str(error))}"


def _explanation(error: RuntimeError) -> str | None:
    if isinstance(error, DistError) or "gloo/transport" in str(error):
        return "the processes cannot reach each other; if one has ended, it said why"
    if isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error):
        return "out of memory; a smaller data.batch_size, or more model.micro_batches of a GAN, needs less"
    if "DataLoader worker" in str(error):
        return "reading the images failed; fewer --data.num_workers need less memory"
    return None


def known_options(message: str, options: Sequence[str]) -> str:
    """Add to a message about options what helps.

    For an unknown one, what is known: all that a class takes, or the nearest of a command. For missing ones of a whole
    run, that a configuration has them.
    """
    if _MISSING.match(message):
        return f"{message}; a configuration has them: --config NAME or FILE"
    if re.fullmatch(r"Option '.*' is not accepted", message):
        return f"{message}; known are {', '.join(options)}" if options else f"{message}; there are none"
    if unknown := _UNKNOWN.match(message):
        return message + did_you_mean(unknown[1], options, prefix="--", similarity=0.8)
    return message


def _innermost(message: str) -> tuple[str, str]:
    """Follow a message to the part of the configuration that is wrong: return its key, and what is wrong with it."""
    keys = []
    while True:
        if key := _KEY.match(message):
            keys.append(key[1])
            message = message[key.end() :]
        elif inner := _ARGUMENTS.search(message) or _CALLABLE.match(message):
            message = inner["rest"]
        else:
            return ".".join(keys), message


def _reasons(message: str) -> Iterator[str]:
    for line in message.splitlines():
        stripped = line.strip()
        if stripped.startswith("- ") and not stripped[2:].startswith(_NOT_MEANT):
            yield stripped[2:]


def _tidy(text: str) -> str:
    text = " ".join(text.split())
    text = re.sub(r"Expected a dot import path string: ([^\s,]+)", r"there is no class '\1' here", text)
    unknown = r"Problem with given class_path ('\S+'):(?: module .* has no attribute .*)?$"
    text = re.sub(unknown, r"there is no class \1", text)
    text = re.sub(r"Not a valid subclass of (\w+) or a class path .*\(implicit class_path\)", r"expected a \1", text)
    text = re.sub(r"^Call to compute_fn of link .* failed: ", "", text)
    text = re.sub(r"<class '([\w.]+)'>", r"\1", text)
    text = text.replace(" or Expected a ", " or ")
    text = re.sub(r"typing\.Literal\[(.*?)\]", r"\1", text)
    return text.replace("Expected a ", "expected ").replace(". Got value:", ", got")


def _choices(hint: Any, text: str) -> str:
    """List the classes that an option can be, if an unknown one came."""
    if "dot import path" not in text and "class_path" not in text:
        return ""
    names = sorted({kind.__name__ for base in _classes(hint) for kind in _concrete_subclasses(base)})
    if not names:
        return ""
    unknown = re.search(r"there is no class '([\w.]+)'", _tidy(text))
    nearest = did_you_mean(unknown[1].rpartition(".")[2], names) if unknown else ""
    return f"; known are {', '.join(names)}, and yours by module.Class{nearest}"


def _classes(hint: Any) -> list[type]:
    if isinstance(hint, type) and not get_args(hint):
        return [hint]
    return [found for argument in get_args(hint) for found in _classes(argument)]


def _concrete_subclasses(base: type) -> Iterator[type]:
    kind: type
    package = base.__module__.partition(".")[0]
    for kind in base.__subclasses__() if package != "torch" else ():  # which has hundreds
        if kind.__module__.startswith(f"{package}.") and not inspect.isabstract(kind):
            yield kind
        yield from _concrete_subclasses(kind)
