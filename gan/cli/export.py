"""`gan export`: one trained network as a file for others."""

from collections.abc import Sequence
from pathlib import Path

from gan.cli.arguments import Arguments
from gan.cli.mistakes import MISTAKES, mistakes_in_one_line

_EXAMPLES = """\
examples:
  gan export runs/quickstart/version_0                       generator.safetensors
  gan export RUN --to onnx --out digits.onnx
  gan export RUN --to torch --network discriminator          discriminator.pt

gan.networks.load("generator.safetensors") reads it, with torch and safetensors alone; it reads files of --to torch
with torch alone. ONNX runs anywhere, in batches of any size. All three hold the averaged weights if the run kept an
average, how the network is built, names of classes, size and range of images, and the scores with their protocols."""
_FORMATS = {"safetensors": ".safetensors", "torch": ".pt", "onnx": ".onnx"}


def main(arguments: Sequence[str]) -> None:
    """Run `gan export`.

    Args:
        arguments: Its options.

    Raises:
        SystemExit: with a code that is not 0, after one line on stderr, at a user's mistake.
    """
    parser = Arguments("export", "Write a trained generator, or discriminator, to a file of its own.", _EXAMPLES)
    parser.add_argument("run", metavar="RUN", help="the folder of a run (its newest checkpoint) or a checkpoint file")
    parser.add_argument("--to", choices=_FORMATS, help="the format; default: that of --out, else safetensors")
    parser.add_argument("--network", choices=("generator", "discriminator"), default="generator")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: generator.safetensors, ...")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that exists")
    given = parser.parse_args(arguments)
    with mistakes_in_one_line(mistakes=(*MISTAKES, ImportError)):
        kind, out = _target(given.to, given.out, given.network)
        _write(given.run, given.network, kind, out, given.overwrite)


def _target(kind: str | None, out: Path | None, network: str) -> tuple[str, Path]:
    """Return the format and the file that the options mean."""
    if out is None:
        kind = kind or "safetensors"
        return kind, Path(network + _FORMATS[kind])
    by_suffix = {suffix: name for name, suffix in _FORMATS.items()}.get(out.suffix.lower())
    if by_suffix is None or kind not in (None, by_suffix):
        suffixes = _FORMATS[kind] if kind else ", ".join(_FORMATS.values())
        raise ValueError(f"--out must end in {suffixes}{f' with --to {kind}' if kind else ''}, got {out}")
    return by_suffix, out.expanduser()


def _check(out: Path, overwrite: bool) -> None:
    if out.is_dir():
        raise IsADirectoryError(f"--out {out} is a folder")
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists already: --overwrite replaces it")


def _write(run: str, network: str, kind: str, out: Path, overwrite: bool) -> None:
    from gan.sharing.export import read_trained, write  # here, so that --help needs no torch

    export = read_trained(run, network)
    _check(out, overwrite)
    write(out, export, kind)
    print(f"{out} ({export})")
