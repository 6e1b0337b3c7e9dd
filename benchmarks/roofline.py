"""How fast a step could be at best: the time of its convolutions and matrix products alone, by torch's own kernels.

    python -m benchmarks.roofline --threads 2

Every layer of both plain networks is timed by itself, on the inputs that a generator step gives it: its forward pass,
and its backward pass with the gradients that the step needs, in its inputs and in its weights. Summed up, that is a
step whose norms, activations, losses, optimizers and data take no time. Printed are the medians, in milliseconds, for
what train.py runs (channels_last, in bfloat16 where there are units for it, or float32) and for what is usual (float32,
contiguous), and how many times as long the usual takes. On a GPU each use is a CUDA graph, so that the host's time to
launch kernels is left out; float32 convolutions then use TF32, as torch's default is.
"""

import argparse
import copy
import time
from collections import Counter
from statistics import median
from typing import Any, NamedTuple

import torch
import yaml
from torch import Tensor, nn

from benchmarks.device import digits, graphed, timed
from benchmarks.training import BATCH, CONFIGS, NETWORKS
from gan.cli.machine import fastest_precision, keep_freed_memory
from gan.networks import Discriminator, Generator
from gan.runs.description import build

LAYERS = nn.Conv2d, nn.ConvTranspose2d, nn.Linear
USUAL = "fp32, contiguous"
HOW = {
    "bf16, channels_last": (torch.bfloat16, torch.channels_last),
    "fp32, channels_last": (torch.float32, torch.channels_last),
    USUAL: (torch.float32, torch.contiguous_format),
}


class Use(NamedTuple):
    """A layer on one shape of input, and the gradients that are needed there."""

    layer: nn.Module
    shape: tuple[int, ...]
    of_input: bool
    of_weight: bool


def uses(network: nn.Module, x: Tensor, learns: bool, passes_on: bool) -> list[Use]:
    """Return what a pass of x through a network uses.

    Args:
        network: plain.
        x: images or latent vectors.
        learns: whether gradients in the weights are needed.
        passes_on: whether gradients in x are; those within the network are whenever any are needed.
    """
    found: list[Use] = []

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        of_input = passes_on or (learns and bool(found))
        found.append(Use(layer, tuple(inputs[0].shape), of_input, learns))

    hooks = [layer.register_forward_hook(note) for layer in network.modules() if isinstance(layer, LAYERS)]
    with torch.no_grad():
        network(x, None)
    for hook in hooks:
        hook.remove()
    return found


def step(config: dict[str, Any], discriminator_steps: int) -> Counter[Use]:
    """Return what a generator step of a shipped configuration uses, and how often."""
    facts = {"image_size": 32, "channels": 3}
    generator = build({**config["generator"], "init_args": facts}, Generator)
    discriminator = build({**config["discriminator"], "init_args": facts}, Discriminator)
    more = BATCH * config.get("generator_batch_ratio", 1)
    latent, images = torch.randn(more, generator.latent_dim), torch.randn(2 * BATCH, 3, 32, 32)
    update = uses(generator, latent[:BATCH], learns=False, passes_on=False)
    update += uses(discriminator, images, learns=True, passes_on=False)
    last = uses(generator, latent, learns=True, passes_on=False)
    last += uses(discriminator, torch.randn(more, 3, 32, 32), learns=False, passes_on=True)
    return Counter(update * discriminator_steps + last)


def milliseconds(
    use: Use, dtype: torch.dtype, layout: torch.memory_format, device: torch.device, repeats: int
) -> float:
    """Return the milliseconds that a use takes."""
    layer, x = copy.deepcopy(use.layer).to(device, dtype), torch.randn(use.shape, dtype=dtype, device=device)
    if x.dim() == 4:
        layer, x = layer.to(memory_format=layout), x.to(memory_format=layout)
    wanted = [x.requires_grad_()] if use.of_input else []
    layer.requires_grad_(use.of_weight)
    wanted += list(layer.parameters()) if use.of_weight else []
    grad = torch.randn_like(layer(x))

    def run() -> None:
        y = layer(x)
        if wanted:
            torch.autograd.grad(y, wanted, grad)

    if device.type == "cuda":
        return timed(graphed(run), device, blocks=repeats, seconds=0.01).ms
    times = []
    for _ in range(repeats + 2):
        since = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - since))
    return median(times[2:])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=torch.device, default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--discriminator_steps", type=int, default=1)
    parser.add_argument("--networks", nargs="*", choices=list(NETWORKS), default=list(NETWORKS))
    arguments = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(arguments.threads)
    device = arguments.device
    where = f"{arguments.threads} threads" if device.type == "cpu" else torch.cuda.get_device_name()
    print(f"torch {torch.__version__}, batch {BATCH}, {where}")
    half = fastest_precision(device.type) != "32-true"
    ways = {name: how for name, how in HOW.items() if how[0] == torch.float32 or half}
    print(f"| network | {' | '.join(f'{name}, ms' for name in ways)} | as long |")
    print(f"|{' --- |' * (len(ways) + 2)}")
    for name in arguments.networks:
        config = yaml.safe_load((CONFIGS / "cifar10" / f"{NETWORKS[name]}.yaml").read_text())
        counted = step(config["model"], arguments.discriminator_steps)
        sums = {
            way: sum(count * milliseconds(use, *how, device, arguments.repeats) for use, count in counted.items())
            for way, how in ways.items()
        }
        cells = " | ".join(digits(value) for value in sums.values())
        ratios = ", ".join(f"{sums[USUAL] / value:.2f}" for way, value in sums.items() if way != USUAL)
        print(f"| {name} | {cells} | {ratios} |", flush=True)


if __name__ == "__main__":
    main()
