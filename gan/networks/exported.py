"""Reads networks that `gan export` has written. Needs torch alone, for safetensors files its package too.

An exported file holds one network: its weights, and facts in plain data from which it is built again. `read_facts`
lists them. Reading runs no code of the file: safetensors holds tensors and text, and files of torch are read with
`weights_only=True`. Facts name classes, though, and to build a class is to run its code. So only classes of this
package are built, unless the caller trusts the file.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan.networks.base import Discriminator, Generator
from gan.norms import Norm, normalize
from gan.runs.description import build

FORMAT = 1  # of the facts; a reader refuses a later one
KEY = "convnorm-gan"  # of the facts, in the metadata of a file
_OURS = "gan.", "convnorm."
_FACTS = "format", "kind", "network", "norms", "weights", "classes", "seed", "scores"
_BASES: dict[str, type[Generator] | type[Discriminator]] = {"generator": Generator, "discriminator": Discriminator}

Facts = dict[str, Any]


def load(file: str | Path, *, trust: bool = False) -> Generator | Discriminator:
    """Return an exported network in evaluation mode, on the CPU.

    A generator maps z (N, latent_dim), and labels (N,) if it is conditional, to images (N, C, H, W) in [-1, 1]::

        generator = gan.networks.load("generator.safetensors")
        images = generator(torch.randn(16, generator.latent_dim))

    Args:
        file: What `gan export --to safetensors` or `--to torch` wrote.
        trust: Whether to build classes from outside this package too. Such a class is imported and called: do this
            with your own files, not with a stranger's.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: if a safetensors file is given and the package is not installed.
        ValueError: if the file is damaged, is no exported network, names a class that is not trusted or not there, or
            does not hold exactly the weights of its network.
    """
    return build_network(file, *read_exported(file), trust)


def read_facts(file: str | Path) -> Facts:
    """Return what an exported file says of its network, as plain data.

    - `kind`: "generator" or "discriminator"
    - `network`, `norms`: class paths and constructor arguments
    - `weights`: "ema", the average over the training, or "raw"
    - `conditional`, `classes`: whether labels are used, and the names of the classes in their order
    - `image_size` [height, width], `channels`, `image_range` [-1, 1], `latent_dim` of a generator
    - `step`, `seed`: of the training
    - `scores`: of the generator at this step; each entry has `values` by name, and the `protocol` they were made by
    - `versions`: of the packages that wrote it

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: if a safetensors file is given and the package is not installed.
        ValueError: if the file is damaged or no exported network.
    """
    return read_exported(file)[0]


def is_exported(file: str | Path) -> bool:
    """Return whether there is a file that `load` reads; a checkpoint is none."""
    try:
        return bool(read_facts(file))
    except (OSError, ValueError):
        return False


def read_exported(file: str | Path) -> tuple[Facts, dict[str, Tensor]]:
    """Return the facts and the weights of an exported file; see `read_facts` for errors."""
    path = Path(file).expanduser()
    if path.is_dir():
        raise ValueError(f"{file} is a folder and not an exported network; gan.load reads the folder of a run")
    with open(path, "rb") as opened:
        is_zip = opened.read(2) == b"PK"
    try:
        facts, tensors = _read_torch(path) if is_zip else _read_safetensors(path)
    except ImportError:
        raise
    except Exception as error:  # torch and safetensors raise many kinds of errors for broken files
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise ValueError(f"{file} is not an exported network: {f'{kind}{error}'.splitlines()[0]}") from None
    if not isinstance(facts, dict) or any(name not in facts for name in _FACTS) or facts["kind"] not in _BASES:
        raise ValueError(f"{file} is not an exported network: it does not say how the network was built")
    if facts["format"] != FORMAT:
        raise ValueError(f"{file} has format {facts['format']}, this version reads {FORMAT}: update convnorm-gan")
    return facts, tensors


def build_network(
    file: str | Path, facts: Facts, tensors: Mapping[str, Tensor], trust: bool
) -> Generator | Discriminator:
    """Build the network that facts describe, with exactly these weights; see `load`."""
    descriptions = [facts["network"], *facts["norms"]]
    foreign = [path for each in descriptions if not (path := str(each["class_path"])).startswith(_OURS)]
    if foreign and not trust:
        raise ValueError(
            f"{file} needs {', '.join(foreign)}, from outside this package; trust=True builds it, which runs its code"
        )
    try:
        network = build(facts["network"], _BASES[facts["kind"]])
        normalize(network, [build(norm, Norm) for norm in facts["norms"]])
    except TypeError as error:  # another version's arguments
        raise ValueError(f"{file} cannot be built by this version: {error}") from None
    _check_weights(file, network.state_dict(), tensors)
    network.to(next(tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()))
    network.load_state_dict(tensors)
    return network.eval()


def _read_torch(path: Path) -> tuple[Any, dict[str, Tensor]]:
    content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if "gan" in content:
        raise ValueError("it is a checkpoint of a run, which gan.load reads and gan export turns into such a file")
    return content[KEY], content["weights"]


def _read_safetensors(path: Path) -> tuple[Any, dict[str, Tensor]]:
    try:
        from safetensors import safe_open
    except ImportError:
        raise ImportError(f"{path} needs safetensors: pip install safetensors") from None
    with safe_open(path, framework="pt") as opened:
        facts = json.loads((opened.metadata() or {})[KEY])
        return facts, {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (no mapping)


def _check_weights(file: str | Path, wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    for what, names in ("lacks", wanted.keys() - given.keys()), ("has besides", given.keys() - wanted.keys()):
        if names:
            raise ValueError(f"{file} does not fit its network: it {what} {', '.join(sorted(names))}")
    for name, tensor in given.items():
        if tensor.shape != wanted[name].shape:
            shapes = f"{tuple(tensor.shape)}, not {tuple(wanted[name].shape)}"
            raise ValueError(f"{file} does not fit its network: {name} has the shape {shapes}")
