"""Statistics of the reference images, computed once and kept in a cache folder.

The key is a hash of everything that the numbers depend on: the images' content, the feature network's weights, and the
kind of statistic. Nothing is ever stale, and the folder may be deleted at any time.
"""

import hashlib
import os
import tempfile
from pathlib import Path

import torch
from pytorch_lightning.utilities import rank_zero_warn

from gan.metrics.statistics import Sums

FORMAT = 1  # raised when the meaning of a file's content changes
FOLDER_VARIABLE = "CONVNORM_GAN_CACHE"


def cache_folder() -> Path:
    """Return `$CONVNORM_GAN_CACHE`, else `convnorm-gan` in `$XDG_CACHE_HOME` or ~/.cache."""
    if folder := os.environ.get(FOLDER_VARIABLE):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "convnorm-gan"


def cache_file(*key: object) -> Path:
    """Return the file of the statistics that a key describes; the key's parts are told apart by their `repr`."""
    return cache_folder() / f"{hashlib.sha256(repr((FORMAT, *key)).encode()).hexdigest()[:32]}.pt"


def load(file: Path, like: Sums) -> Sums | None:
    """Return the statistics of a file, None if it does not exist or is damaged, of which a warning tells.

    Args:
        file: Where.
        like: Statistics of the same names, shapes, types and device.
    """
    try:
        sums: Sums = torch.load(file, map_location="cpu", weights_only=True)
        if {name: (t.shape, t.dtype) for name, t in sums.items()} != {n: (t.shape, t.dtype) for n, t in like.items()}:
            raise ValueError("it holds something else")
    except FileNotFoundError:
        return None
    except Exception as error:  # a damaged file may raise anything
        rank_zero_warn(f"the reference statistics in {file} are damaged and computed anew ({error})")
        return None
    return {name: tensor.to(like[name].device) for name, tensor in sums.items()}


def save(file: Path, sums: Sums) -> None:
    """Write the statistics so that any reader, at any time, sees a whole file or none; only warn if that fails."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".tmp", delete=False) as part:
            torch.save({name: tensor.cpu() for name, tensor in sums.items()}, part)
            part.flush()
            os.fsync(part.fileno())
        os.replace(part.name, file)
    except OSError as error:
        rank_zero_warn(f"the reference statistics could not be kept in {file} ({error})")
