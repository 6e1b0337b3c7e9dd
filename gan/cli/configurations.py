"""Resolves configuration files: shipped ones by name, and a run's own."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import gan
from gan.checks import did_you_mean
from gan.runs.folder import CONFIG

_OPTION = "--config"


def shipped(kind: str = "configs") -> dict[str, Path]:
    """Return the configurations (or "studies") of the package, by name: `quickstart`, `cifar10/dcgan`, ..."""
    root = _folder(kind)
    return {str(path.relative_to(root).with_suffix("")): path for path in sorted(root.rglob("*.yaml"))}


def find_configuration(name: str) -> Path:
    """Return the file that `--config` means: a path, or a shipped configuration by its name.

    Raises:
        ValueError: if there is neither.
    """
    return _find("configs", name, "--config: no file {}, and no configuration of that name among {}")


def find_study(name: str) -> Path:
    """Return the file of a study: a path, or a shipped study by its name.

    Raises:
        ValueError: if there is neither.
    """
    return _find("studies", name, "no file {}, and no study of that name among {}")


def _find(kind: str, name: str, message: str) -> Path:
    if Path(name).expanduser().is_file():
        return Path(name).expanduser()
    known = shipped(kind)
    short = name.removeprefix(f"{kind}/").removesuffix(".yaml")
    if short in known:
        return known[short]
    listed = _listed(known) if kind == "configs" else ", ".join(known)
    raise ValueError(message.format(name, listed) + did_you_mean(short, known))


def _is_for_robustness(name: str) -> bool:
    return name.startswith("robustness/")


def _listed(names: Iterable[str]) -> str:
    """Return the names, those of the other program apart."""
    others = [name for name in names if _is_for_robustness(name)]
    own = [name for name in names if name not in others]
    return f"{', '.join(own)}; for python -m robustness also {', '.join(others)}"


def check_program(arguments: Sequence[str], program: str) -> None:
    """Check that no `--config` is one that is shipped for the other program.

    Raises:
        ValueError: if one is, or cannot be found.
    """
    names = {path.resolve(): name for name, path in shipped().items()}
    for given in (value for option, value in _options(arguments) if option == _OPTION):
        name = names.get(find_configuration(given).resolve(), "")
        owner = "robustness" if _is_for_robustness(name) else "gan"
        if name and owner != program:
            raise ValueError(f"--config: {name} is for {'python -m ' if owner != 'gan' else ''}{owner}")


def with_configurations(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with every `--config` as a path, and a run's own configuration where it is meant.

    `--resume RUN`, and the RUN of `validate RUN`, mean the run's configuration, before any other. So does `--ckpt_path
    FILE|RUN` if there is no `--config`.

    Raises:
        ValueError: if a configuration cannot be found.
    """
    command, *rest = arguments
    if of_run := command != "fit" and bool(rest) and not rest[0].startswith("-"):
        rest = ["--ckpt_path", *rest]
    given = dict(_options(rest))
    own: list[str] = []
    if "--resume" in given:
        own = [_OPTION, str(_configuration_of(given["--resume"]))]
    elif (of_run or _OPTION not in given) and given.get("--ckpt_path", "last") != "last":
        own = [_OPTION, str(_configuration_of(given["--ckpt_path"]))]
    return [command, *own, *_with_paths(rest)]


def _options(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    for number, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name.startswith("--"):
            yield name, value if equals else next(iter(arguments[number + 1 :]), "")


def _with_paths(arguments: Sequence[str]) -> Iterator[str]:
    previous = ""
    for argument in arguments:
        if previous == _OPTION:
            yield str(find_configuration(argument))
        elif argument.startswith(f"{_OPTION}="):
            yield f"{_OPTION}={find_configuration(argument.partition('=')[2])}"
        else:
            yield argument
        previous = argument


def _configuration_of(run_or_checkpoint: str) -> Path:
    path = Path(run_or_checkpoint).expanduser()
    for run in (path, path.parent.parent):
        if (run / CONFIG).is_file():
            return run / CONFIG
    if not path.exists():
        raise ValueError(f"there is no run or checkpoint {run_or_checkpoint}")
    if path.is_dir():
        raise ValueError(f"{run_or_checkpoint} is not the folder of a run: it has no {CONFIG}")
    raise ValueError(f"{run_or_checkpoint} lies in no run's folder with a {CONFIG}: give its configuration by --config")


def _folder(kind: str) -> Path:
    """Return where the configurations lie: inside the installed package, or beside it in a checkout."""
    package = Path(gan.__file__).parent
    installed = package / kind
    return installed if installed.is_dir() else package.parent / kind
