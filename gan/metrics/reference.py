"""Statistics of reference images, computed once and kept in a cache folder.

A file's name is a hash of what its numbers depend on: the content of the images, the feature network (class, weights,
resizing, precision, output for a test image), the type of device, the statistics, and the versions of the packages that
decode and compute. The folder may be deleted at any time.
"""

import hashlib
import os
from pathlib import Path

import torch

from gan.distributed import warn
from gan.metrics.features import content_hash
from gan.metrics.protocol import package_versions
from gan.metrics.statistics import State
from gan.runs.files import save_tensors, write_atomically

FORMAT = 4  # to be raised when the meaning of what is stored changes
FOLDER_VARIABLE = "CONVNORM_GAN_CACHE"


def cache_folder() -> Path:
    """Return `$CONVNORM_GAN_CACHE`, else `convnorm-gan` in `$XDG_CACHE_HOME` or ~/.cache."""
    if folder := os.environ.get(FOLDER_VARIABLE):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "convnorm-gan"


def cache_file(*key: object) -> Path:
    """Return the file for a key; the `repr` of its parts is hashed."""
    key = FORMAT, package_versions(), *key
    return cache_folder() / f"{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.pt"


def load(file: Path, device: torch.device) -> State | None:
    """Load the statistics of a file. Return None if there is no such file or, with a warning, if it is damaged."""
    try:
        stored = torch.load(file, map_location="cpu", weights_only=True)
        state: State = stored["state"]
        if content_hash(state) != stored["sha256"]:  # torch.load itself overlooks flipped bits
            raise ValueError("its content has changed")
    except FileNotFoundError:
        return None
    except Exception as error:  # a damaged file can raise anything
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        warn(f"the reference statistics in {file} are damaged ({reason}) and will be computed again")
        return None
    return {name: tensor.to(device) for name, tensor in state.items()}


def save(file: Path, state: State) -> None:
    """Write statistics atomically; warn if that fails."""
    stored = {"state": {name: tensor.cpu() for name, tensor in state.items()}, "sha256": content_hash(state)}
    try:
        write_atomically(file, lambda opened: save_tensors(stored, opened))
    except OSError as error:
        warn(f"the reference statistics are not kept: {error}")
