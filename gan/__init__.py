"""GANs trained with any normalization in either network."""

from pathlib import Path
from typing import TYPE_CHECKING

__version__ = "0.2.0"

if TYPE_CHECKING:
    from gan.module import GAN
    from gan.trained import TrainedGenerator


def load(source: str | Path, *, trust: bool = False) -> "GAN | TrainedGenerator":
    """Return something trained to draw samples from, on the CPU and in evaluation mode.

    ::

        images = gan.load("runs/quickstart/version_0").sample(16)    # uint8 (16, C, H, W)
        images = gan.load("hf://user/model").sample(16)

    Samples come from the averaged weights if the run kept an average. Neither data nor configuration is needed.

    Args:
        source: The folder of a run, whose newest checkpoint is taken, or a checkpoint: a `GAN`. A file that `gan export
            --to safetensors` or `--to torch` wrote, or `hf://user/model`, with `@revision` if it matters, that `gan
            push` wrote: a `TrainedGenerator`, which needs no Lightning.
        trust: Whether an exported file may name classes from outside this package, see `gan.networks.load`.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: if a package is missing: safetensors, or for `hf://` huggingface_hub.
        OSError: if the hub cannot be reached, or has no such model.
        ValueError: if the file is damaged or not of this framework.
    """
    from gan.networks.exported import is_exported
    from gan.trained import TrainedGenerator

    if str(source).startswith("hf://"):
        from gan.sharing.download import download

        source = download(str(source))
    if is_exported(source):
        return TrainedGenerator.from_file(source, trust=trust)
    from gan.module import GAN  # imported here, so that what is exported needs no Lightning
    from gan.runs.checkpoints import find_checkpoint, read_checkpoint

    return GAN.from_checkpoint(read_checkpoint(find_checkpoint(source)))
