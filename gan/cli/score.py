"""`gan score`: scores of a folder or zip of images against another, without a training's configuration."""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gan.cli.arguments import Arguments
from gan.cli.mistakes import mistakes_in_one_line

if TYPE_CHECKING:
    from torch import nn

    from gan.metrics import Score

_EXAMPLES = """examples:
  gan score samples.zip photos/
  gan score samples/ photos/ --size 64 --scores Frechet,InceptionScore,KernelDistance
  gan score samples/ photos/ --features vgg16 --scores PrecisionRecall,DensityCoverage"""


def main(arguments: Sequence[str]) -> None:
    """Run `gan score`: print the scores of the images and their protocol.

    Args:
        arguments: Its options.

    Raises:
        SystemExit: with a code that is not 0, after one line on stderr, at a user's mistake.
    """
    given = _parser().parse_args(arguments)
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"  # in one line
    with mistakes_in_one_line():
        _score(given)


def _parser() -> argparse.ArgumentParser:
    parser = Arguments("score", "Scores of a folder or zip of images, alone or against another.", _EXAMPLES)
    parser.add_argument("images", help="folder or zip of the images to score")
    parser.add_argument("reference", nargs="?", help="folder or zip of the images to compare with")
    parser.add_argument(
        "--features",
        default="inception",
        help="feature network: inception (the default, for FID, IS and KID), digits, a network of torch-fidelity such "
        "as vgg16 or dinov2-vit-b-14, or module.Class of yours, which is made without arguments",
    )
    parser.add_argument("--weights", metavar="FILE", help="weights of the feature network; default: downloaded once")
    parser.add_argument(
        "--scores",
        metavar="NAMES",
        help="separated by commas: Frechet, InceptionScore, KernelDistance, PrecisionRecall, DensityCoverage, or "
        "module.Class of yours; default: Frechet, without a reference InceptionScore",
    )
    parser.add_argument(
        "--size", type=int, help="crop and resize images to squares of this size; default: all have the same size"
    )
    parser.add_argument("--channels", type=int, choices=(1, 3), help="1: gray, 3: RGB (the default)")
    parser.add_argument("--batch-size", type=int, default=64, metavar="N", help="images at a time (default: 64)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ...; default: a CUDA GPU if there is one")
    return parser


def _score(options: argparse.Namespace) -> None:
    from gan.cli.machine import choose_threads  # here, so that --help needs no torch
    from gan.metrics import evaluate

    choose_threads()
    names = options.scores or ("InceptionScore" if options.reference is None else "Frechet")
    result = evaluate(
        options.images,
        options.reference,
        _features(options.features, options.weights),
        [_make_score(name) for name in names.split(",")],
        size=options.size,
        channels=options.channels,
        batch_size=options.batch_size,
        device=_device(options.device),
        report_progress=_show if sys.stderr.isatty() else None,
    )
    for name, value in result.values.items():
        print(f"{name}: {value!r}")
    print(result.protocol)


def _features(name: str, weights: str | None) -> "nn.Module":
    from torch import nn

    from gan.metrics import DigitsClassifier, InceptionV3, TorchFidelity

    arguments = {} if weights is None else {"weights_path": weights}
    known: dict[str, type[nn.Module]] = {kind.name: kind for kind in (InceptionV3, DigitsClassifier)}
    if "." not in name and name not in known:
        try:
            return TorchFidelity(name, weights)
        except ValueError as error:
            known_names = ", ".join(known)
            raise ValueError(
                f"--features must be {known_names}, module.Class of yours, or torch-fidelity's: {error}"
            ) from None
    kind = known.get(name) or _class(name, nn.Module, "--features")
    try:
        network: nn.Module = kind(**arguments)
    except TypeError as error:
        raise ValueError(f"--features {name} cannot be made{' with --weights' if weights else ''}: {error}") from None
    return network


def _make_score(name: str) -> "Score":
    from gan import metrics

    known = {
        each: kind
        for each in metrics.__all__
        if isinstance(kind := getattr(metrics, each), type) and issubclass(kind, metrics.Score)
    }
    known.pop("Score")
    name = name.strip()
    if "." not in name and name not in known:
        raise ValueError(f"--scores must be among {', '.join(sorted(known))}, or module.Class of yours, got {name!r}")
    kind = known.get(name) or _class(name, metrics.Score, "--scores")
    try:
        score: Score = kind()
    except TypeError as error:
        raise ValueError(f"--scores {name} cannot be made: {error}") from None
    return score


def _class(path: str, base: type, option: str) -> Any:
    """Import a class by its path; modules of the current folder are found as well."""
    from importlib import import_module

    module, _, name = path.rpartition(".")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{option} {path} cannot be imported: {error}") from None
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ValueError(f"{option} {path} must be a subclass of {base.__module__}.{base.__name__}")
    return found


def _device(name: str | None) -> Any:
    import torch

    try:
        return None if name is None else torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:  # torch says so if it was built without CUDA
        raise ValueError(f"--device {name} cannot be used: {str(error).splitlines()[0]}") from None


def _show(done: int, total: int) -> None:
    end = "\n" if done == total else ""
    print(f"\r{done:,} of {total:,} images", end=end, file=sys.stderr, flush=True)
