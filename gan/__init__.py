"""GANs trained with any normalization in either network."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gan.module import GAN


def load(run_or_checkpoint: str | Path) -> "GAN":
    """Return a trained GAN in evaluation mode, from a checkpoint or from the newest checkpoint of a run's folder.

    Samples come from the averaged weights if the run kept an average. Neither data nor configuration is needed::

        images = gan.load("runs/quickstart/version_0").sample(16)    # uint8 (16, C, H, W)

    Raises:
        FileNotFoundError: if there is no checkpoint.
        ValueError: if the file is damaged or not a checkpoint of this framework.
    """
    from gan.module import GAN  # imported here, so that `import gan.networks` loads no Lightning
    from gan.runs.checkpoints import find_checkpoint, read_checkpoint

    return GAN.from_checkpoint(read_checkpoint(find_checkpoint(run_or_checkpoint)))
