"""What several tests of the framework need: small networks, a small data set, and a trainer that says nothing."""

import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningDataModule, Trainer
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from gan.callbacks import AtomicCheckpointIO
from gan.data import Digits
from gan.losses import Hinge
from gan.module import GAN
from gan.networks import (
    DCGANDiscriminator,
    DCGANGenerator,
    Discriminator,
    Generator,
    R3GANDiscriminator,
    R3GANGenerator,
    SNGANCNNDiscriminator,
    SNGANCNNGenerator,
    SNGANResNetDiscriminator,
    SNGANResNetGenerator,
)
from gan.training.base import TrainingModule
from gan.training.strategy import GANStrategy


def small_networks(
    name: str, size: int = 32, channels: int = 1, classes: int = 10, conditional: bool = False
) -> tuple[Generator, Discriminator]:
    """Return a narrow pair of the named architecture; a conditional discriminator asks for a conditional generator."""
    torch.manual_seed(0)
    facts: dict[str, Any] = {"image_size": size, "channels": channels, "num_classes": classes}
    judged = {**facts, "conditional": conditional}
    if name == "dcgan":
        return DCGANGenerator(**facts, latent_dim=8, width=8), DCGANDiscriminator(**judged, width=8)
    if name == "sngan_cnn":
        return SNGANCNNGenerator(**facts, latent_dim=8, width=8), SNGANCNNDiscriminator(**judged, width=8)
    if name == "r3gan":
        narrow = {**judged, "width": 8, "blocks": 1}
        return R3GANGenerator(**narrow, latent_dim=8), R3GANDiscriminator(**narrow)
    generator = SNGANResNetGenerator(**facts, latent_dim=8, width_multiplier=1 / 32)
    return generator, SNGANResNetDiscriminator(**judged, width_multiplier=1 / 16)


ARCHITECTURES = "dcgan", "sngan_cnn", "sngan_resnet", "r3gan"


def small_gan(architecture: str = "dcgan", **arguments: Any) -> GAN:
    """Return a GAN of narrow networks."""
    return GAN(*small_networks(architecture), arguments.pop("loss", Hinge()), **arguments)


def fit(
    module: TrainingModule,
    steps: int,
    callbacks: list[Callback] | None = None,
    *,
    data: LightningDataModule | None = None,
    processes: int = 1,
    ckpt_path: str | Path | None = None,
    **trainer: Any,
) -> Trainer:
    """Train on the digits for some generator steps; with several processes, in each of those of `together`."""
    strategy = GANStrategy() if processes > 1 else "auto"
    settings: dict[str, Any] = {
        "logger": False,
        "plugins": [AtomicCheckpointIO()],
        "enable_progress_bar": False,
        **trainer,
    }
    made = Trainer(
        max_steps=steps,
        callbacks=callbacks,
        accelerator="cpu",
        devices=processes,
        strategy=strategy,
        enable_model_summary=False,
        enable_checkpointing=any("Checkpoint" in type(callback).__name__ for callback in callbacks or []),
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        **settings,
    )
    made.fit(module, datamodule=data or Digits(batch_size=8), ckpt_path=ckpt_path)
    return made


def differences(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """Return the largest absolute difference between two state dicts."""
    assert a.keys() == b.keys()
    return max(float((a[key].double() - b[key].double()).abs().max()) for key in a)


def forked(function: Callable[[], object]) -> int:
    """Call a function in a process of its own; return its exit code, or minus the signal that killed it."""
    return ended(start(function))


def limit_files(size: int) -> None:
    """Let no file of this process grow beyond a number of bytes, as on a full disk. The limit cannot be taken back."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def together(function: Callable[[], object], processes: int = 2) -> list[int]:
    """Call a function in several processes that train together, as torchrun starts them; return how each ended."""
    return [ended(process) for process in start_together(function, processes)]


def start_together(function: Callable[[], object], processes: int = 2) -> list[int]:
    """Start them; return their ids."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    world = {"TORCHELASTIC_RUN_ID": "test", "WORLD_SIZE": str(processes), "GROUP_RANK": "0", **address}
    return [start(function, **world, RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(processes)]


def start(function: Callable[[], object], **environment: str) -> int:
    """Call a function in a process of its own, which is cheap: all is imported already. Return its id."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.environ.update(environment)
            rank_zero_only.rank = int(environment.get("RANK", 0))
            function()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


def ended(process: int) -> int:
    """Wait for a process; return its exit code, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
