"""What inference with ConvNorm costs: ResNet-18 plain, converted, and converted with cached preconditioners.

    python -m benchmarks.inference --batches 1 8

All three take turns in one process with one thread, so that other load on the machine affects them alike. Printed are
medians of the process's CPU time, and of the ratios to the plain network in the same round.
"""

import argparse
import copy
import time
from statistics import median

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from convnorm import cache_preconditioners, convert


def seconds(network: nn.Module, x: Tensor) -> float:
    """Return the CPU time of one forward pass."""
    start = time.process_time()
    network(x)
    return time.process_time() - start


@torch.inference_mode()
def row(networks: list[nn.Module], x: Tensor, rounds: int) -> str:
    """Return a line of the table: each network's median time, and its ratio to the first one's."""
    for network in networks:
        network(x)
    times = [[seconds(network, x) for network in networks] for _ in range(rounds)]
    cells = []
    for own in range(len(networks)):
        ratio = median(found[own] / found[0] for found in times)
        cells.append(f"{median(found[own] for found in times) * 1e3:.0f} ms ({ratio:.1f})")
    return f"| {len(x)} | {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=11)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    plain = resnet18().eval()
    converted = convert(copy.deepcopy(plain))
    cached = cache_preconditioners(copy.deepcopy(converted))
    print(f"torch {torch.__version__}, 1 thread, {asked.size}x{asked.size}, median of {asked.rounds}")
    print("| batch | plain | ConvNorm | with the cache |\n| --- | --- | --- | --- |")
    for batch in asked.batches:
        x = torch.randn(batch, 3, asked.size, asked.size)
        print(row([plain, converted, cached], x, asked.rounds), flush=True)


if __name__ == "__main__":
    main()
