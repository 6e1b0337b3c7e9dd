"""Whole trainings on random images, by the module and Lightning's loop as `gan fit` runs them."""

import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor, nn

from benchmarks.device import synchronize
from benchmarks.gpu.stage import Line, Stage
from benchmarks.gpu.updates import discriminator
from benchmarks.training import RandomImages
from gan import norms
from gan.callbacks import EMA, AtomicCheckpointIO, Monitor
from gan.losses import R1, Hinge
from gan.module import GAN
from gan.networks import DCGANGenerator, Generator, SNGANCNNGenerator, SNGANResNetGenerator
from gan.norms import Norm, NormSite

GENERATORS = {"SNGAN-CNN": SNGANCNNGenerator, "DCGAN": DCGANGenerator, "SNGAN-ResNet": SNGANResNetGenerator}
NORMS: dict[str, type[Norm]] = {"Conv": norms.Conv, "Spectral": norms.Spectral, "Batch": norms.Batch}
WAYS: dict[str, dict[str, Any]] = {
    "eager": {},
    "graphs": {"cuda_graphs": True},
    "compile": {"compile": True},
    "compile, graphs": {"compile": True, "cuda_graphs": True},
}


class Waiting(Norm):
    """No norm: an activation that makes the host wait for the device, which a graph cannot hold."""

    sites = (NormSite,)

    def apply(self, site: nn.Module) -> nn.Module:
        return _Waiting()


class _Waiting(nn.Module):
    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return x * (1 + 0 * float(x.detach().sum()))


class Dropping(Norm):
    """No norm: dropout, whose random numbers torch draws on the device."""

    sites = (NormSite,)

    def apply(self, site: nn.Module) -> nn.Module:
        return _Dropping()


class _Dropping(nn.Module):
    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return nn.functional.dropout(x, 0.2, self.training)


def train(
    stage: Stage,
    network: str,
    discriminator_norms: list[Norm],
    steps: int,
    callbacks: list[Callback],
    precision: str = "bf16-mixed",
    deterministic: bool = False,
    ckpt_path: str | None = None,
    **arguments: Any,
) -> Trainer:
    """Train a pair of networks for some generator steps: hinge loss, batch norm in the generator, EMA, Monitor."""
    for library in "pytorch_lightning", "lightning_fabric":
        logging.getLogger(library).setLevel(logging.ERROR)
    torch.manual_seed(0)
    narrow = {"width_multiplier": 1 / 16} if network == "SNGAN-ResNet" else {"width": 8}
    generator: Generator = GENERATORS[network](32, **(narrow if stage.tiny else {}))
    networks = generator, discriminator(network, stage.tiny)
    module = GAN(*networks, Hinge(), [norms.Batch()], discriminator_norms, channels_last=True, **arguments)
    trainer = Trainer(
        max_steps=steps,
        accelerator="gpu" if stage.on_gpu else "cpu",
        devices=1,
        precision=precision if stage.on_gpu else "32-true",  # type: ignore[arg-type]
        deterministic=deterministic,
        callbacks=[EMA(10_000), Monitor(50), *callbacks],
        plugins=[AtomicCheckpointIO()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    trainer.fit(module, datamodule=RandomImages(stage.batch), ckpt_path=ckpt_path)
    return trainer


class Clock(Callback):
    """Milliseconds a step between two steps, until the device is done and until the host is."""

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Start and stop."""
        if trainer.global_step == self.first:
            synchronize(pl_module.device)
            self._since = time.perf_counter()
        if trainer.global_step == self.last:
            host = time.perf_counter() - self._since
            synchronize(pl_module.device)
            took = time.perf_counter() - self._since
            self.ms, self.host_ms = (round(1e3 * each / (self.last - self.first), 3) for each in (took, host))


def training(stage: Stage) -> None:
    """Measure generator steps, eager and with CUDA graphs."""
    for network in ["DCGAN"] if stage.tiny else GENERATORS:
        for norm in ["Conv"] if stage.tiny else NORMS:
            for way in "eager", "graphs":
                what = {"network": network, "norm": norm, "way": way}
                stage.measure(what, _timed_training, stage, network, norm, way)


def compilation(stage: Stage) -> None:
    """Measure generator steps of SNGAN-CNN with `torch.compile`, alone and with CUDA graphs.

    A part is a norm whose compilation is only to fill the cache, beside other processes: its times say nothing.
    """
    for norm in [stage.part] if stage.part else NORMS:
        for way in ["compile"] if stage.part or stage.tiny else ["compile", "compile, graphs"]:
            what = {"network": "SNGAN-CNN", "norm": norm, "way": way, "part": stage.part}
            stage.measure(what, _timed_training, stage, "SNGAN-CNN", norm, way)


def _timed_training(stage: Stage, network: str, norm: str, way: str) -> Line:
    first, last = (1, 2) if stage.tiny else (4, 6) if stage.part else (12, 62 if way == "eager" else 112)
    if stage.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    clock, since = Clock(first, last), time.perf_counter()
    train(stage, network, [NORMS[norm]()], last + 1, [clock], **WAYS[way])
    line = {"ms": clock.ms, "host_ms": clock.host_ms, "images_s": round(1e3 * stage.batch / clock.ms)}
    line["all_s"] = round(time.perf_counter() - since, 1)
    return line | ({"peak_MiB": round(torch.cuda.max_memory_allocated() / 2**20)} if stage.on_gpu else {})


class Watchman(Callback):
    """Lets torch raise an error where a step waits for the device; not in the first steps, which load and record."""

    first, last = 6, 9

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Start and stop."""
        if pl_module.device.type == "cuda" and trainer.global_step in (self.first, self.last):
            torch.cuda.set_sync_debug_mode("error" if trainer.global_step == self.first else "default")

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Stop."""
        if pl_module.device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")


def waits(stage: Stage) -> None:
    """Does a step wait for the device? Health checks do, every tenth step, so steps 7 to 9 are watched.

    A norm that waits is to keep its updates out of graphs, with a warning.
    """
    cases: dict[str, tuple[list[Norm], dict[str, Any]]] = {
        **{name: ([norm()], {}) for name, norm in NORMS.items()},
        "Conv, R1": ([norms.Conv()], {"penalty": R1()}),
        "Spectral, graphs": ([norms.Spectral()], {"cuda_graphs": True}),
        "one that waits, graphs": ([Waiting()], {"cuda_graphs": True}),
    }
    for network in ["DCGAN"] if stage.tiny else GENERATORS:
        for case, (applied, arguments) in cases.items():
            what = {"network": network, "case": case}
            stage.measure(what, _watched_training, stage, network, applied, arguments)


def _watched_training(stage: Stage, network: str, applied: list[Norm], arguments: dict[str, Any]) -> Line:
    waiting = any(isinstance(norm, Waiting) for norm in applied)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(stage, network, applied, Watchman.last + 2, [] if waiting else [Watchman()], **arguments)
    said = sorted({str(each.message) for each in caught if "cuda_graphs" in str(each.message)})
    return {"waits": waiting, **({"said": said} if said else {})}


class Bits(NamedTuple):
    """A training of which bits are compared.

    Attributes:
        norms: of the discriminator.
        precision: Lightning's name.
        deterministic: whether torch is to take deterministic kernels only.
    """

    norms: list[Norm]
    precision: str
    deterministic: bool


def resume(stage: Stage) -> None:
    """Is a second run, a continued run, a run with CUDA graphs the same bit for bit?"""
    cases = {
        "Conv, bf16": Bits([norms.Conv()], "bf16-mixed", False),
        "Spectral, bf16": Bits([norms.Spectral()], "bf16-mixed", False),
        "Spectral, fp32": Bits([norms.Spectral()], "32-true", False),
        "Spectral, fp32, deterministic": Bits([norms.Spectral()], "32-true", True),
        "Conv, fp32, deterministic": Bits([norms.Conv()], "32-true", True),
        "Batch, bf16": Bits([norms.Batch()], "bf16-mixed", False),
        "dropout, bf16": Bits([norms.Spectral(), Dropping()], "bf16-mixed", False),
    }
    for name, case in list(cases.items())[: 1 if stage.tiny else None]:
        stage.measure({"case": name}, _bits, stage, case)


def _bits(stage: Stage, case: Bits) -> Line:
    half, whole = (1, 2) if stage.tiny else (10, 20)

    def run(steps: int, **arguments: Any) -> Trainer:
        network = "DCGAN" if stage.tiny else "SNGAN-CNN"
        return train(stage, network, case.norms, steps, [], case.precision, case.deterministic, **arguments)

    def continued(**arguments: Any) -> Trainer:
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder, "half.ckpt"))
            run(half, **arguments).save_checkpoint(path)
            return run(whole, ckpt_path=path, **arguments)

    expected = _state(run(whole))
    others: dict[str, Callable[[], Trainer]] = {
        "second": lambda: run(whole),
        "continued": continued,
        "graphs": lambda: run(whole, cuda_graphs=True),
        "graphs, continued": lambda: continued(cuda_graphs=True),
    }
    unequal = {}
    for name, other in others.items():
        state = _state(other())
        unequal[name] = sum(not torch.equal(expected[key], state[key]) for key in expected)
    return {"tensors": len(expected), "unequal": unequal}


def _state(trainer: Trainer) -> dict[str, Tensor]:
    assert trainer.model is not None
    return {name: tensor.detach().cpu() for name, tensor in trainer.model.state_dict().items()}
