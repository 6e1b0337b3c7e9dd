"""Statistics of the reference images, computed once and kept in a cache folder.

The name of a file is a hash of everything that its numbers depend on: the images' content, the feature network, its
weights, what it says of its resizing and precision and makes of a test image, the type of device, the kind of
statistic, and the versions of the packages that decode and compute. What none of these tells apart is the same. The
folder may be deleted at any time.
"""

import hashlib
import os
from pathlib import Path

import torch
from pytorch_lightning.utilities import rank_zero_warn

from gan.metrics.content import content_hash
from gan.metrics.protocol import package_versions
from gan.metrics.statistics import Sums
from gan.runs.files import save_tensors, write_atomically

FORMAT = 3  # to be raised when the meaning of what is stored changes
FOLDER_VARIABLE = "CONVNORM_GAN_CACHE"


def cache_folder() -> Path:
    """Return `$CONVNORM_GAN_CACHE`, else `convnorm-gan` in `$XDG_CACHE_HOME` or ~/.cache."""
    if folder := os.environ.get(FOLDER_VARIABLE):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "convnorm-gan"


def cache_file(*key: object) -> Path:
    """Return the file of the statistics that a key describes; its parts count by their `repr`."""
    key = FORMAT, package_versions(), *key
    return cache_folder() / f"{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.pt"


def load(file: Path, device: torch.device) -> Sums | None:
    """Return the statistics of a file; None if there is no such file, or, with a warning, if it is damaged."""
    try:
        stored = torch.load(file, map_location="cpu", weights_only=True)
        sums: Sums = stored["sums"]
        if content_hash(sums) != stored["sha256"]:  # torch.load itself overlooks flipped bits
            raise ValueError("its content has changed")
    except FileNotFoundError:
        return None
    except Exception as error:  # a damaged file can raise anything
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        rank_zero_warn(f"the reference statistics in {file} are damaged ({reason}) and will be computed again")
        return None
    return {name: tensor.to(device) for name, tensor in sums.items()}


def save(file: Path, sums: Sums) -> None:
    """Write the statistics so that whoever reads sees a whole file or none; if that fails, only warn."""
    stored = {"sums": {name: tensor.cpu() for name, tensor in sums.items()}, "sha256": content_hash(sums)}
    try:
        write_atomically(file, lambda opened: save_tensors(stored, opened))
    except OSError as error:
        rank_zero_warn(f"the reference statistics are not kept: {error}")
