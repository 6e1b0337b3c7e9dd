"""Check the model of docs/scaling.md with two processes of one machine, and extrapolate it.

    OMP_NUM_THREADS=1 python -m benchmarks.scaling
    python -m benchmarks.scaling --device cuda             # two GPUs of one machine, with NCCL

Measured are, with one thread a process, generator steps of `configs/cifar10/sngan_cnn.yaml` on random images: one
process alone; two that know nothing of each other, which shows what they take from each other by sharing memory; and
two that train together. The model adds to the second the collectives of the third, each measured by itself.

On GPUs each process has its own, so two trainings apart share the host alone.

The second table is arithmetic on assumed constants, given in the code: nothing in it was measured.
"""

import argparse
import itertools
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from benchmarks.device import digits, synchronize
from benchmarks.training import BATCH, CONFIGS, RandomImages, operations
from gan.distributed import average_gradients
from gan.networks import SNGANCNNDiscriminator, SNGANCNNGenerator, SNGANResNetDiscriminator, SNGANResNetGenerator
from gan.norms import NormSite

STEPS, EVERY = 20, 5


class Collectives(NamedTuple):
    """What the collectives of one kind of machine take.

    Attributes:
        latency: seconds of one, however small, for each number of processes.
        bandwidth: bytes a second, as NCCL counts them ("bus bandwidth"), likewise.
    """

    latency: dict[int, float]
    bandwidth: dict[int, float]

    def seconds(self, processes: int, size: float) -> float:
        """Return how long a ring takes to sum `size` bytes over the processes."""
        if processes == 1:
            return 0.0
        return self.latency[processes] + 2 * (processes - 1) / processes * size / self.bandwidth[processes]


# Assumptions: eight GPUs behind NVLink, eight such machines with a 400 Gbit/s adapter for each GPU.
GPUS = Collectives({8: 20e-6, 64: 60e-6}, {8: 300e9, 64: 40e9})
RATE = 250e12  # operations a second: a quarter of an H100's bfloat16 rate, no figure of this code


def small_collectives(generator: nn.Module, discriminator_steps: int) -> int:
    """Return the collectives of a generator's synchronized batch norms in one step: one a norm, forward and backward.

    In a discriminator's update the generator runs forward only.
    """
    norms = sum(isinstance(module, NormSite) for module in generator.modules())
    return norms * (discriminator_steps + 2)


def gradient_bytes(network: nn.Module) -> int:
    """Return the size of a network's gradients, which are float32."""
    return 4 * sum(parameter.numel() for parameter in network.parameters())


def step_seconds(processes: int, images: int, norm: str, device_type: str, copies: int = 1) -> float:
    """Return the median seconds of a generator step of `train.py`, each process with so many images.

    With several copies, each is a training of its own; all run at the same time.
    """
    with tempfile.TemporaryDirectory() as root:
        command = [
            *(sys.executable, "train.py", "fit", "--config", str(CONFIGS / "cifar10" / "sngan_cnn.yaml")),
            *(f"--data={RandomImages.__module__}.RandomImages", f"--data.batch_size={images * processes}"),
            *(f"--model.generator_norms=[{norm}]", "--model.decay=null"),
            *(f"--trainer.accelerator={device_type}", f"--trainer.devices={processes}"),
            "--trainer.enable_progress_bar=false",
            *("--trainer.callbacks=null", "--trainer.callbacks+=gan.callbacks.Monitor"),
            *(f"--trainer.callbacks.every_n_steps={EVERY}", f"--trainer.max_steps={STEPS}"),
        ]
        environment = {**os.environ, "PYTHONPATH": ".", "OMP_NUM_THREADS": "1"}
        own = [{"CUDA_VISIBLE_DEVICES": str(copy)} if copies > 1 else {} for copy in range(copies)]
        running = [
            subprocess.Popen(
                [*command, f"--trainer.default_root_dir={root}/{copy}"],
                env={**environment, **own[copy]},
                stdout=subprocess.DEVNULL,
            )
            for copy in range(copies)
        ]
        if any(process.wait() for process in running):
            raise SystemExit("a training failed")
        lines = [json.loads(line) for path in Path(root).rglob("metrics.jsonl") for line in path.open()]
        return median(images * processes / line["images_per_second"] for line in lines if line["step"] > EVERY)


def over_two_processes(makers: list[Callable[[torch.device], Callable[[], object]]], device_type: str) -> list[float]:
    """Return the median seconds of each call when two processes make it together. Each is made for a device."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    child = os.fork()
    rank = int(child == 0)
    device = torch.device(device_type, rank) if device_type == "cuda" else torch.device(device_type)
    if device_type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device_type == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=address, rank=rank, world_size=2)
    found = []
    for make in makers:
        times, call = [], make(device)
        for _ in range(30):
            dist.barrier()
            synchronize(device)
            since = time.perf_counter()
            call()
            synchronize(device)
            times.append(time.perf_counter() - since)
        found.append(median(times))
    dist.destroy_process_group()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return found


def averaging(network: nn.Module) -> Callable[[torch.device], Callable[[], Tensor]]:
    """Return what makes a call, on a device, that averages a network's gradients."""

    def make(device: torch.device) -> Callable[[], Tensor]:
        network.to(device)
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        values = torch.zeros(2, device=device)
        return lambda: average_gradients(network.parameters(), values)

    return make


def summing(size: int) -> Callable[[torch.device], Callable[[], object]]:
    """Return what makes a call, on a device, that sums so many numbers."""

    def make(device: torch.device) -> Callable[[], object]:
        numbers = torch.zeros(size, device=device)
        return lambda: dist.all_reduce(numbers)

    return make


def measured(device_type: str) -> None:
    """Print what two processes take, and what the model says."""
    generator, discriminator = SNGANCNNGenerator(32), SNGANCNNDiscriminator(32)
    makers = [averaging(generator), averaging(discriminator), summing(512)]
    of_g, of_d, small = over_two_processes(makers, device_type)
    for name, network, seconds in ("generator", generator, of_g), ("discriminator", discriminator, of_d):
        size = gradient_bytes(network) / 2**20
        print(f"averaging the {name}'s gradients, {size:.1f} MiB: {1e3 * seconds:.1f} ms")
    print(f"summing a batch norm's statistics: {1e3 * small:.2f} ms\n")
    print("| norm of G | images a process | one process, ms | two apart, ms | model, ms | two together, ms |")
    print("| --- | --- | --- | --- | --- | --- |")
    for norm in "Batch", "Layer":
        statistics_too = small_collectives(generator, discriminator_steps=1) * small if norm == "Batch" else 0.0
        for images in 32, 64:
            alone = step_seconds(1, images, norm, device_type)
            apart = step_seconds(1, images, norm, device_type, copies=2)
            together = step_seconds(2, images, norm, device_type)
            row = alone, apart, apart + of_g + of_d + statistics_too, together
            print(f"| {norm} | {images} | {' | '.join(digits(1e3 * value) for value in row)} |", flush=True)


def extrapolated() -> None:
    """Print what the model says of many GPUs."""
    generator, discriminator = SNGANResNetGenerator(32), SNGANResNetDiscriminator(32)
    print("| images a GPU | D's steps | norm of G | 1 GPU, ms | 8 GPUs, ms | 64 GPUs, ms | efficiency of 64 |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for images, discriminator_steps, norm in itertools.product((64, 16), (5, 1), ("Batch", "Layer")):
        compute = operations(generator, discriminator, discriminator_steps, 2 * BATCH) * images / BATCH / RATE
        small = small_collectives(generator, discriminator_steps) if norm == "Batch" else 0
        seconds = [
            compute
            + discriminator_steps * GPUS.seconds(processes, gradient_bytes(discriminator))
            + GPUS.seconds(processes, gradient_bytes(generator))
            + small * GPUS.seconds(processes, 2048)
            for processes in (1, 8, 64)
        ]
        cells = " | ".join(f"{1e3 * value:.1f}" for value in seconds)
        print(f"| {images} | {discriminator_steps} | {norm} | {cells} | {seconds[0] / seconds[-1]:.0%} |")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    device_type = parser.parse_args().device
    if device_type == "cuda" and torch.cuda.device_count() < 2:
        parser.error(f"--device cuda needs two GPUs, found {torch.cuda.device_count()}")
    torch.set_num_threads(1)
    measured(device_type)
    print()
    extrapolated()


if __name__ == "__main__":
    main()
