"""A discriminator's update, and each of its layers: eager, as a CUDA graph, and how much of it the kernels take."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from benchmarks.convnorm import NETWORKS, VARIANTS, layer_step, layers_of, network_step
from benchmarks.device import Run, graphed, kernels, peak_mebibytes, timed
from benchmarks.gpu.stage import Line, Stage
from benchmarks.traffic import moved_megabytes
from convnorm import convert
from convnorm.fast import choice
from gan.networks import Discriminator

PRECISIONS = {"bf16": torch.bfloat16, "fp32": torch.float32}
FORMS = "_plain", "_channel_products", "_separable", "_triton"
CASES = [*((name, None) for name in ("plain", "BatchNorm", "spectral", "ConvNorm")), *(("ConvNorm", f) for f in FORMS)]


def steps(stage: Stage) -> None:
    """Measure updates as `benchmarks.convnorm` makes them; bfloat16 and the chosen form first."""
    for precision, dtype in list(PRECISIONS.items())[: 1 if stage.tiny else None]:
        for name in ["DCGAN"] if stage.tiny else NETWORKS:
            for variant, form in CASES if name == "SNGAN-CNN" else CASES[:4]:
                what = {"network": name, "variant": variant, "form": form, "precision": precision}
                stage.measure(what, _step, stage, name, variant, form, dtype)


def _step(stage: Stage, name: str, variant: str, form: str | None, dtype: torch.dtype) -> Line | None:
    torch.manual_seed(0)
    images = torch.randn(2, stage.batch, 3, 32, 32, device=stage.device)
    real, fake = (each.to(memory_format=torch.channels_last) for each in images)
    network = convert(discriminator(name, stage.tiny), VARIANTS[variant])
    network = network.to(stage.device).to(memory_format=torch.channels_last)
    with forced(form) as used:
        run = network_step(network, real, fake, dtype)
        run()
        if form is not None and form not in used:
            return None  # no layer has it
        return {**_line(stage, run), "forms": sorted(used)}


def layers(stage: Stage) -> None:
    """Measure every distinct layer of the three discriminators, forward and backward."""
    found = {key: value for name in NETWORKS for key, value in layers_of(discriminator(name, stage.tiny), 32).items()}
    for name, (layer, shape) in list(found.items())[: 1 if stage.tiny else None]:
        for variant, form in CASES:
            what = {"layer": name, "variant": variant, "form": form, "precision": "bf16"}
            stage.measure(what, _layer, stage, layer, shape, variant, form)


def _layer(stage: Stage, layer: nn.Module, shape: tuple[int, ...], variant: str, form: str | None) -> Line | None:
    x = torch.randn(stage.batch, *shape, device=stage.device).to(memory_format=torch.channels_last)
    module = VARIANTS[variant](copy.deepcopy(layer)).to(stage.device).to(memory_format=torch.channels_last)
    with forced(form) as used:
        run = layer_step(module, x, torch.bfloat16)
        run()
        if form is not None and form not in used:
            return None  # the layer does not have it
        return {**_line(stage, run, blocks=3, seconds=0.02), "forms": sorted(used)}


def _line(stage: Stage, run: Run, **how: Any) -> Line:
    line: Line = {**timed(run, stage.device, **how)._asdict(), "moved_MB": round(moved_megabytes(run, stage.device))}
    if stage.on_gpu:
        line |= {"peak_MiB": round(peak_mebibytes(run)), **kernels(run)._asdict()}
        line["graph_ms"] = timed(graphed(run), stage.device, **how).ms
    return line


def discriminator(name: str, tiny: bool) -> Discriminator:
    """Return a plain discriminator for 32 pixels, a narrow one if it is to be tiny."""
    narrow = {"width_multiplier": 1 / 16} if name == "SNGAN-ResNet" else {"width": 8}
    return NETWORKS[name](32, **(narrow if tiny else {}))


@contextmanager
def forced(form: str | None) -> Iterator[set[str]]:
    """Let one of ConvNorm's forms run wherever it can; None: the cheapest. Yields the names of those that ran."""
    costs, used = choice._costs, set[str]()

    def only(*sizes: Any) -> dict[choice.Algorithm, float]:
        found = costs(*sizes)
        named = {algorithm: cost for algorithm, cost in found.items() if _name(algorithm) == form}
        chosen = named or found
        used.add(_name(min(chosen, key=chosen.__getitem__)))
        return chosen

    choice._costs = only  # type: ignore[assignment]
    try:
        yield used
    finally:
        choice._costs = costs


def _name(algorithm: choice.Algorithm) -> str:
    return getattr(algorithm, "__name__", str(algorithm))
