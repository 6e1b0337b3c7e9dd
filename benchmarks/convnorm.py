"""What ConvNorm costs: each distinct layer of three discriminators, then a whole training step of each.

    python -m benchmarks.convnorm --threads 2 --precision bf16

Layers are timed forward and backward in training mode, discriminators as one update of `gan`: hinge loss on a real and
a fake batch, backward, Adam. The two batches take one forward pass, but two with batch norm, whose statistics must not
combine them. Every network has its own process, which keeps its freed memory, as train.py does. All variants take turns
in it, so that other load on the machine affects all of them alike. Printed are medians and quartiles, and for each step
the memory that its forward pass on 64 images saves for the backward pass, without the parameters.

With `--device cuda` a time ends when the device is done. Further lines have each layer and step as a CUDA graph, which
leaves out what the host takes to launch its kernels; how many these are; and the memory of a step's own tensors.

Variants: the layer alone; followed by BatchNorm; with spectral normalization; ConvNorm; and ConvNorm by the plain
operations of `convnorm.functional`.
"""

import argparse
import copy
import time
from collections.abc import Callable, Sequence
from statistics import median, quantiles

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from benchmarks.device import digits, graphed, kernels, peak_mebibytes, synchronize
from benchmarks.processes import alone
from convnorm import ConvNorm, conv_norm, convert, functional
from gan.cli.machine import keep_freed_memory
from gan.networks import DCGANDiscriminator, SNGANCNNDiscriminator, SNGANResNetDiscriminator

NETWORKS = {"SNGAN-CNN": SNGANCNNDiscriminator, "DCGAN": DCGANDiscriminator, "SNGAN-ResNet": SNGANResNetDiscriminator}
BATCH = 64
WHAT = "layers", "steps"


class Functional(ConvNorm):
    """ConvNorm by the plain operations of `convnorm.functional`, without any fast form."""

    def forward(self, x: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        y = functional.normalized_convolution(self.layer, x)
        return F.conv2d(y, self.affine.weight, self.layer.bias, padding=self.affine.padding, groups=y.shape[1])


def convolutions(wrap: Callable[[nn.Conv2d], nn.Module]) -> Callable[[nn.Module], nn.Module]:
    """Return a `wrap` for `convert` that leaves all but convolutions alone."""
    return lambda module: wrap(module) if isinstance(module, nn.Conv2d) else module


VARIANTS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "plain": convolutions(lambda layer: nn.Sequential(layer)),
    "BatchNorm": convolutions(lambda layer: nn.Sequential(layer, nn.BatchNorm2d(layer.out_channels))),
    "spectral": convolutions(lambda layer: nn.Sequential(parametrizations.spectral_norm(layer))),
    "ConvNorm": conv_norm,
    "functional": convolutions(Functional),
}


def layers_of(network: nn.Module, size: int) -> dict[str, tuple[nn.Conv2d, tuple[int, ...]]]:
    """Return the distinct convolutions of a network, with the shape of their input."""
    found: dict[str, tuple[nn.Conv2d, tuple[int, ...]]] = {}

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        channels, kernel, shape = (layer.in_channels, layer.out_channels), layer.kernel_size[0], inputs[0].shape[1:]
        found[f"{channels[0]}->{channels[1]} k{kernel}s{layer.stride[0]} {shape[1]}px"] = layer, tuple(shape)

    hooks = [m.register_forward_hook(note) for m in network.modules() if isinstance(m, nn.Conv2d)]
    network(torch.zeros(1, 3, size, size))
    for hook in hooks:
        hook.remove()
    return found


def interleaved(runs: dict[str, Callable[[], object]], repeats: int, device: torch.device) -> dict[str, list[float]]:
    """Return the milliseconds of each run, all in turn, after two warm-ups.

    With one thread on a CPU this is the thread's CPU time, so that other processes do not count.
    """
    alone_on_cpu = torch.get_num_threads() == 1 and device.type == "cpu"
    clock = time.thread_time if alone_on_cpu else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 2):
        for name, run in runs.items():
            synchronize(device)
            start = clock()
            run()
            synchronize(device)
            if repeat >= 2:
                times[name].append(1e3 * (clock() - start))
    return times


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Return autocast to bfloat16, or none for float32. Its cache is off, as in training: a graph would keep it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype != torch.float32, cache_enabled=False)


def layer_step(layer: nn.Module, x: Tensor, dtype: torch.dtype) -> Callable[[], object]:
    """Return one forward and backward pass of a layer, with gradients of its parameters and, except images, inputs."""
    x = x.to(dtype).requires_grad_(x.shape[1] > 3)

    def step() -> None:
        layer.zero_grad()
        x.grad = None
        with autocast(x.device, dtype):
            y = layer(x)
        y.backward(y.detach())

    return step


def network_step(network: nn.Module, real: Tensor, fake: Tensor, dtype: torch.dtype) -> Callable[[], object]:
    """Return one update of a discriminator."""
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.0, 0.9), fused=True, capturable=real.is_cuda)
    joint = not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())

    def logits() -> tuple[Tensor, Tensor]:
        if not joint:
            return network(real), network(fake)
        judged_real, judged_fake = network(torch.cat([real, fake])).chunk(2)
        return judged_real, judged_fake

    def step() -> None:
        optimizer.zero_grad()
        with autocast(real.device, dtype):
            judged_real, judged_fake = logits()
            loss = F.relu(1 - judged_real).mean() + F.relu(1 + judged_fake).mean()
        loss.backward()
        optimizer.step()

    return step


def memory_for_backward(network: nn.Module, x: Tensor, dtype: torch.dtype) -> float:
    """Return the MiB that a forward pass saves for the backward pass, without the parameters."""
    parameters = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    saved: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            saved[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), autocast(x.device, dtype):
        network(x)
    return sum(storage.nbytes() for storage in saved.values()) / 2**20


def report(name: str, times: dict[str, list[float]]) -> str:
    """Return a line of a table: medians with quartiles, and the ratios ConvNorm / BatchNorm, functional / ConvNorm."""
    cells = []
    for values in times.values():
        low, _, high = quantiles(values, n=4)
        cells.append("{} ({}-{})".format(*map(digits, (median(values), low, high))))
    ours = median(times["ConvNorm"])
    cells += [f"{ours / median(times['BatchNorm']):.2f}", f"{median(times['functional']) / ours:.1f}"]
    return f"| {name} | " + " | ".join(cells) + " |"


def numbers(name: str, values: list[float]) -> str:
    """Return a line of one number for each variant, and the ratio of ConvNorm to BatchNorm."""
    ratio = values[list(VARIANTS).index("ConvNorm")] / values[list(VARIANTS).index("BatchNorm")]
    return f"| {name} | {' | '.join(f'{value:.1f}' for value in values)} | {ratio:.2f} | |"


def on_a_gpu(name: str, runs: dict[str, Callable[[], object]], arguments: argparse.Namespace) -> None:
    """Print the lines that only a GPU has."""
    graphs = {key: graphed(run) for key, run in runs.items()}
    print(report(f"{name}, graph", interleaved(graphs, arguments.repeats, arguments.device)))
    print(numbers(f"{name}, launches", [kernels(run).launches for run in runs.values()]), flush=True)


def prepared(arguments: argparse.Namespace) -> torch.dtype:
    """Prepare a process for measuring; return the data type to measure in."""
    keep_freed_memory()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    return torch.float32 if arguments.precision == "fp32" else torch.bfloat16


def layers(arguments: argparse.Namespace) -> None:
    """Print the lines of the networks' layers."""
    dtype, device = prepared(arguments), arguments.device
    found = {key: value for name in arguments.networks for key, value in layers_of(NETWORKS[name](32), 32).items()}
    for name, (layer, shape) in found.items():
        x = torch.randn(BATCH, *shape, device=device).to(memory_format=torch.channels_last)
        wrapped = {key: wrap(copy.deepcopy(layer)) for key, wrap in VARIANTS.items()}
        runs = {
            key: layer_step(module.to(device).to(memory_format=torch.channels_last), x, dtype)
            for key, module in wrapped.items()
        }
        print(report(name, interleaved(runs, arguments.repeats, device)), flush=True)
        if device.type == "cuda":
            on_a_gpu(name, runs, arguments)


def step(name: str, arguments: argparse.Namespace) -> None:
    """Print the lines of a network's step."""
    dtype, device = prepared(arguments), arguments.device
    real, fake = torch.randn(2, BATCH, 3, 32, 32, device=device).unbind()
    real, fake = (x.to(memory_format=torch.channels_last) for x in (real, fake))
    plain = NETWORKS[name](32)
    networks = {key: convert(copy.deepcopy(plain), wrap) for key, wrap in VARIANTS.items()}
    runs = {
        key: network_step(network.to(device).to(memory_format=torch.channels_last), real, fake, dtype)
        for key, network in networks.items()
    }
    print(report(f"{name}, a step", interleaved(runs, arguments.repeats, device)), flush=True)
    mebibytes = [memory_for_backward(network, real, dtype) for network in networks.values()]
    print(numbers(f"{name}, MiB saved for backward", mebibytes), flush=True)
    if device.type == "cuda":
        print(numbers(f"{name}, MiB of its tensors", [peak_mebibytes(run) for run in runs.values()]))
        on_a_gpu(f"{name}, a step", runs, arguments)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=torch.device, default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--networks", nargs="*", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--what", nargs="*", choices=WHAT, default=WHAT)
    arguments = parser.parse_args()
    if arguments.repeats < 2:
        parser.error("--repeats must be at least 2: quartiles are printed")
    where = f"{arguments.threads} threads" if arguments.device.type == "cpu" else torch.cuda.get_device_name()
    print(f"torch {torch.__version__}, {where}, {arguments.precision}, batch {BATCH}, milliseconds")
    print(f"| | {' | '.join(VARIANTS)} | ConvNorm / BatchNorm | functional / ConvNorm |")
    print(f"|{' --- |' * (len(VARIANTS) + 3)}", flush=True)
    if "layers" in arguments.what:
        alone(layers, arguments)
    if "steps" in arguments.what:
        for name in arguments.networks:
            alone(step, name, arguments)


if __name__ == "__main__":
    main()
