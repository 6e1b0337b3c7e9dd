"""Writes one trained network, with all that is known of it, to a file that `gan.networks.load` reads."""

import json
import math
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from torch import Tensor, nn

import gan
from gan.images import height_and_width
from gan.module import GAN
from gan.networks import Discriminator, Generator
from gan.networks.exported import FORMAT, KEY, Facts
from gan.runs.checkpoints import find_checkpoint, read_checkpoint
from gan.runs.files import save_tensors, write_atomically
from gan.runs.folder import CONFIG
from gan.runs.records import Protocol, read_run
from gan.sharing.onnx import onnx_model

NETWORKS = "generator", "discriminator"
_PACKAGES = "torch", "pytorch-lightning"


@dataclass(frozen=True)
class Export:
    """A trained network and what is known of it.

    Attributes:
        network: The network in evaluation mode; of a generator the average, if the run kept one.
        facts: See `gan.networks.read_facts`.
        checkpoint: The file that it comes from.
    """

    network: Generator | Discriminator
    facts: Facts
    checkpoint: Path

    def __str__(self) -> str:
        """Say where the network comes from and how it scored."""
        values = [(name, value) for each in self.facts["scores"] for name, value in each["values"].items()]
        scores = "".join(f", {name} {value:.4g}" for name, value in values if value is not None)
        facts = self.facts
        return f"{self.checkpoint}, {facts['kind']}, {facts['weights']} weights, step {facts['step']}{scores}"


def read_trained(run_or_checkpoint: str | Path, network: str = "generator") -> Export:
    """Return the generator or the discriminator of a run's newest checkpoint, or of a checkpoint file.

    Raises:
        FileNotFoundError: if there is no checkpoint.
        ValueError: if the file is damaged or not a checkpoint of this framework.
    """
    checkpoint = read_checkpoint(path := find_checkpoint(run_or_checkpoint))
    module, step = GAN.from_checkpoint(checkpoint), int(checkpoint["global_step"])
    scores = _scores(path.parent.parent, step, f"{module.weights_name} weights")
    return export_of(module, network, step, scores, path)


def export_of(module: GAN, network: str, step: int, scores: list[dict[str, Any]], checkpoint: Path) -> Export:
    """Return the generator or the discriminator of a GAN, with the facts that its file holds."""
    assert network in NETWORKS
    is_generator = network == "generator"
    trained: Generator | Discriminator = module.sampler if is_generator else module.discriminator
    facts: Facts = {
        "format": FORMAT,
        "kind": network,
        "network": module.description[network],
        "norms": module.description[f"{network}_norms"],
        "weights": module.weights_name if is_generator else "raw",
        "conditional": module.conditional if is_generator else module.discriminator.conditional,
        "classes": list(module.classes),
        "image_size": list(height_and_width(trained.image_size)),
        "channels": trained.channels,
        "image_range": [-1, 1],
        **({"latent_dim": module.generator.latent_dim} if is_generator else {}),
        "step": step,
        "seed": module.seed,
        "scores": scores,
        "versions": {"convnorm-gan": gan.__version__, **_versions()},
    }
    return Export(trained, facts, checkpoint)


def write_safetensors(path: Path, export: Export) -> None:
    """Write the weights as safetensors, with the facts as JSON in the header.

    Raises:
        ImportError: if the package is not installed.
        OSError: if the file cannot be written.
    """
    try:
        from safetensors.torch import save
    except ImportError:
        raise ImportError("safetensors is not installed: pip install safetensors") from None
    content = save(_weights(export.network), {"format": "pt", KEY: json.dumps(export.facts, allow_nan=False)})
    write_atomically(path, lambda file: file.write(content))


def write_torch(path: Path, export: Export) -> None:
    """Write weights and facts for `torch.load(weights_only=True)`.

    Raises:
        OSError: if the file cannot be written.
    """
    content = {KEY: export.facts, "weights": _weights(export.network)}
    write_atomically(path, lambda file: save_tensors(content, file))


def write_onnx(path: Path, export: Export) -> None:
    """Write an ONNX model, see `gan.sharing.onnx`, with the facts as JSON in its metadata.

    Raises:
        ImportError: if the exporter needs a package that is not installed.
        OSError: if the file cannot be written.
    """
    metadata = {KEY: json.dumps(export.facts, allow_nan=False)}
    content = onnx_model(export.network, export.facts, metadata)
    write_atomically(path, lambda file: file.write(content))


def write(path: Path, export: Export, kind: str) -> None:
    """Write a file of a format of `FORMATS`; it appears when it is whole.

    Raises:
        ImportError: if a package is not installed.
        OSError: if the file cannot be written.
    """
    writers = {"safetensors": write_safetensors, "torch": write_torch, "onnx": write_onnx}
    assert kind in writers
    writers[kind](path, export)


def _weights(network: nn.Module) -> dict[str, Tensor]:
    """Return the state of a network; each tensor has memory of its own, as safetensors wants it."""
    return {name: tensor.detach().clone().contiguous() for name, tensor in network.state_dict().items()}


def _scores(run: Path, step: int, source: str) -> list[dict[str, Any]]:
    """Return the scores of a run's generator at a step, from the run's records: one entry a protocol."""
    if not (run / CONFIG).is_file():  # the checkpoint was taken out of its run
        return []
    found: dict[Protocol, dict[str, float | None]] = {}
    for (name, protocol), points in read_run(run).scores().items():
        for at, value in points:
            if at == step and dict(protocol).get("source") == source:
                found.setdefault(protocol, {})[name] = value if math.isfinite(value) else None
    return [{"values": values, "protocol": dict(protocol)} for protocol, values in found.items()]


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
