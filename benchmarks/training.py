"""How fast GANs train: through `train.py`, in a bare loop over the same step, and in the loop that is usually written.

    python -m benchmarks.training --threads 2

Three contenders, on the shipped CIFAR-10 configurations with random images:

- train.py: the command line, with logger, progress bar and the callbacks at their own rhythm, evaluation left out;
- bare: the same mathematics without a framework: the loop that `train.py` can at best be as fast as;
- usual: what GAN code usually does: eager float32, contiguous images, real and fake ones judged apart, losses read in
  every step, a DataLoader with workers that transforms image by image.

They and the norms take turns, in a new process for every turn: what a process finds of the machine stays with it. So
the first two, which are to be alike, share theirs, and keep the memory that they free, as train.py does
(`gan.cli.machine`); the third has its own.

A step is a generator step with its `discriminator_steps` updates. Printed are the medians over the rounds in
milliseconds, with the quartiles; train.py's (real) images a second, and relative to the first norm's; its utilization:
the operations of the plain networks' matrix products over its time, relative to what one large product reaches in its
precision; and the most memory that its process had at once (Linux), or that its tensors took on the GPU.

`--device cuda --options=--model.cuda_graphs=true` measures training with CUDA graphs; the other two loops have none.
"""

import argparse
import copy
import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from pytorch_lightning import Callback
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.device import digits, synchronize
from benchmarks.processes import alone
from gan.cli.command import CLI
from gan.cli.machine import fastest_precision, keep_freed_memory
from gan.data import ImageData
from gan.data.decode import Frame
from gan.data.sources import MemorySource
from gan.data.transfer import send
from gan.module import GAN
from gan.networks import Discriminator, Generator
from gan.runs.description import build

BATCH = 64
CONFIGS = Path(__file__).parent.parent / "configs"
NETWORKS = {"SNGAN-CNN": "sngan_cnn", "DCGAN": "dcgan", "SNGAN-ResNet": "sngan_resnet"}
NORMS = "Spectral", "Batch", "Conv"
PRECISIONS = {"bf16-mixed": torch.bfloat16, "32-true": torch.float32}
WARM_UP = 3


class RandomImages(ImageData):
    """Random RGB images of 32 pixels, in memory."""

    def __init__(self, batch_size: int = BATCH, flip: bool = True) -> None:
        super().__init__(batch_size, flip, Frame(size=32, channels=3), num_classes=10, name="random")

    def open(self, split: str) -> MemorySource:
        """Return 10,000 images."""
        draws = torch.Generator().manual_seed(0)
        images = torch.randint(256, (10_000, 3, 32, 32), dtype=torch.uint8, generator=draws)
        return MemorySource(images, torch.randint(10, (10_000,), generator=draws))


class Stopwatch(Callback):
    """Keeps the module that is trained and the seconds a step takes, without the first few and the last one.

    After its last step a run saves and draws what else falls due every thousand steps.
    """

    latest: "Stopwatch"

    def __init__(self) -> None:
        Stopwatch.latest = self

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Start after the warm-up; stop before the last step."""
        if trainer.global_step == WARM_UP:
            synchronize(pl_module.device)
            self._since = time.perf_counter()
        if trainer.global_step == trainer.max_steps - 1:
            synchronize(pl_module.device)
            self.seconds = (time.perf_counter() - self._since) / (trainer.max_steps - 1 - WARM_UP)
            self.module: GAN = pl_module


class Case(NamedTuple):
    """What is trained."""

    network: str
    norm: str
    discriminator_steps: int

    @property
    def config(self) -> Path:
        """The shipped configuration."""
        return CONFIGS / "cifar10" / f"{NETWORKS[self.network]}.yaml"

    @property
    def generator_batch(self) -> int:
        """Images of the generator's update."""
        ratio: int = yaml.safe_load(self.config.read_text())["model"].get("generator_batch_ratio", 1)
        return BATCH * ratio


class Turn(NamedTuple):
    """What one process finds: seconds a step of both loops, train.py's most MiB, and what a checkpoint of it holds."""

    ours: float
    bare: float
    memory: float
    checkpoint: dict[str, Any]


def ours_and_bare(case: Case, arguments: argparse.Namespace) -> Turn:
    """Run `train.py` for some steps, then the bare loop."""
    keep_freed_memory()
    torch.set_num_threads(arguments.threads)
    watch, memory = train(case, arguments), peak(arguments.device)
    module = watch.module.to(arguments.device)  # Lightning brings it back to the host
    bare = seconds_a_step(bare_loop(module, case, PRECISIONS[arguments.precision]), arguments)
    state = {name: tensor.cpu() for name, tensor in module.state_dict().items()}
    checkpoint = {"global_step": 0, "gan": module.facts(), "state_dict": state}
    return Turn(watch.seconds, bare, memory, checkpoint)


def train(case: Case, arguments: argparse.Namespace) -> Stopwatch:
    """Run `train.py` for some steps."""
    with tempfile.TemporaryDirectory() as root:
        sys.argv = [
            "train.py",
            "fit",
            *("--config", str(case.config)),
            f"--data={RandomImages.__module__}.RandomImages",
            f"--data.batch_size={BATCH}",
            f"--model.discriminator_norms=[{case.norm}]",
            f"--model.discriminator_steps={case.discriminator_steps}",
            "--model.decay=null",
            f"--trainer.max_steps={WARM_UP + arguments.steps + 1}",
            f"--trainer.precision={arguments.precision}",
            f"--trainer.accelerator={'gpu' if arguments.device.type == 'cuda' else 'cpu'}",
            "--trainer.devices=1",
            f"--trainer.default_root_dir={root}",
            f"--trainer.callbacks+={Stopwatch.__module__}.Stopwatch",
            *arguments.options,
        ]
        CLI(sys.argv[1:])
    return Stopwatch.latest


def usual(checkpoint: dict[str, Any], case: Case, arguments: argparse.Namespace) -> float:
    """Return the seconds a step of the usual loop takes."""
    return seconds_a_step(usual_loop(GAN.from_checkpoint(checkpoint).train().to(arguments.device), case), arguments)


def bare_loop(gan: GAN, case: Case, dtype: torch.dtype) -> Iterator[None]:
    """Make one generator step after the other, with nothing around it."""
    generator, discriminator, loss = gan.generator, gan.discriminator, gan.loss
    average = copy.deepcopy(generator).requires_grad_(False)
    for_generator, for_discriminator = (
        torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.0, 0.9), fused=True)
        for network in (generator, discriminator)
    )
    source = RandomImages().open("train")

    def fakes(count: int) -> Tensor:
        images: Tensor = generator(torch.randn(count, generator.latent_dim, device=gan.device), None)
        return images

    autocast = torch.autocast(gan.device.type, torch.bfloat16, enabled=dtype != torch.float32)
    while True:
        discriminator.requires_grad_(True)
        for _ in range(case.discriminator_steps):
            indices = torch.randint(len(source), (BATCH,))
            real = send(source.images[indices], gan.device).to(memory_format=torch.channels_last)
            real = real.float().div_(127.5).sub_(1)
            with autocast:
                with torch.no_grad():
                    fake = fakes(BATCH)
                if gan.joint_pass:
                    judged = discriminator(torch.cat([real, fake]), None).float().chunk(2)
                else:
                    judged = [discriminator(images, None).float() for images in (real, fake)]
            for_discriminator.zero_grad()
            loss.discriminator(*judged).backward()
            for_discriminator.step()
        discriminator.requires_grad_(False)
        with autocast:
            logits = discriminator(fakes(case.generator_batch), None).float()
        for_generator.zero_grad()
        loss.generator(logits).backward()
        for_generator.step()
        torch._foreach_lerp_(list(average.parameters()), list(generator.parameters()), 1e-3)
        yield


class TransformedImages(Dataset[tuple[Tensor, int]]):
    """What torchvision's CIFAR-10 with the usual transforms yields."""

    def __init__(self) -> None:
        from torchvision import transforms

        source = RandomImages().open("train")
        self.images: np.ndarray[Any, np.dtype[np.uint8]] = source.images.permute(0, 2, 3, 1).contiguous().numpy()
        steps = [transforms.RandomHorizontalFlip(), transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
        self.transform = transforms.Compose(steps)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.images[index])), 0


def usual_loop(gan: GAN, case: Case) -> Iterator[None]:
    """Make one generator step after the other as GAN code usually does."""
    generator, discriminator, loss = gan.generator, gan.discriminator, gan.loss
    for network in generator, discriminator:
        network.to(memory_format=torch.contiguous_format).requires_grad_(True)
    average = copy.deepcopy(generator)
    for_generator = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.0, 0.9))
    for_discriminator = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.0, 0.9))
    loader = DataLoader(TransformedImages(), BATCH, shuffle=True, num_workers=2, drop_last=True)
    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    while True:
        for _ in range(case.discriminator_steps):
            real = next(batches)[0].to(gan.device)
            fake = generator(torch.randn(BATCH, generator.latent_dim, device=gan.device), None).detach()
            lost = loss.discriminator(discriminator(real, None), discriminator(fake, None))
            for_discriminator.zero_grad()
            lost.backward()
            for_discriminator.step()
            lost.item()
        z = torch.randn(case.generator_batch, generator.latent_dim, device=gan.device)
        lost = loss.generator(discriminator(generator(z, None), None))
        for_generator.zero_grad()
        lost.backward()
        for_generator.step()
        lost.item()
        with torch.no_grad():
            for slow, fast in zip(average.parameters(), generator.parameters(), strict=True):
                slow.copy_(slow * 0.999 + fast * 0.001)
        yield


def seconds_a_step(loop: Iterator[None], arguments: argparse.Namespace) -> float:
    """Return the seconds a step of a loop takes, after the warm-up."""
    torch.set_num_threads(arguments.threads)
    for _ in range(WARM_UP):
        next(loop)
    synchronize(arguments.device)
    since = time.perf_counter()
    for _ in range(arguments.steps):
        next(loop)
    synchronize(arguments.device)
    return (time.perf_counter() - since) / arguments.steps


def operations(
    generator: Generator, discriminator: Discriminator, discriminator_steps: int, generator_batch: int
) -> float:
    """Return the operations (two a multiply-add) of one step's convolutions and products, of plain networks.

    A backward pass counts twice its forward pass; the gradient in the images is left out for the discriminator's first
    layer when the discriminator learns, and that in the weights when the generator does.
    """

    def count(run: Callable[[], Tensor]) -> int:
        with FlopCounterMode(display=False) as counter:
            run().float().sum().backward()
        return counter.get_total_flops()

    def forward(run: Callable[[], object]) -> int:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            run()
        return counter.get_total_flops()

    z, images = torch.randn(BATCH, generator.latent_dim), torch.randn(2 * BATCH, 3, 32, 32)
    learn_discriminator = forward(lambda: generator(z, None)) + count(lambda: discriminator(images, None))
    z, judge = torch.randn(generator_batch, generator.latent_dim), copy.deepcopy(discriminator).requires_grad_(False)
    return discriminator_steps * learn_discriminator + count(lambda: judge(generator(z, None), None))


def matrix_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Return the operations a second of the best of several large matrix products."""
    size = 2048 if device.type == "cpu" else 8192
    a, b = torch.randn(2, size, size, device=device).to(dtype).unbind()
    seconds = []
    for _ in range(8):
        synchronize(device)
        since = time.perf_counter()
        F.linear(a, b)
        synchronize(device)
        seconds.append(time.perf_counter() - since)
    return 2 * size**3 / min(seconds)


def peak(device: torch.device) -> float:
    """Return the most memory that this process had at once, in MiB: on a GPU, or else of the host."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 2**10


def cell(seconds: list[float]) -> str:
    """Return the median and the quartiles, in milliseconds."""
    low, middle, high = map(digits, quantiles([1e3 * value for value in seconds], n=4))
    return f"{middle} ({low}-{high})"


class Measured(NamedTuple):
    """A round of the contenders, in seconds a step, and what else is in the table."""

    ours: float
    bare: float
    usual: float
    utilization: float
    memory: float


def measure(case: Case, arguments: argparse.Namespace) -> Measured:
    """Let the contenders take their turn."""
    turn: Turn = alone(ours_and_bare, case, arguments)
    usual_seconds: float = alone(usual, turn.checkpoint, case, arguments)
    description = turn.checkpoint["gan"]
    generator, discriminator = (
        build(description["generator"], Generator),
        build(description["discriminator"], Discriminator),
    )
    done = operations(generator, discriminator, case.discriminator_steps, case.generator_batch)
    utilization = done / turn.ours / matrix_rate(PRECISIONS[arguments.precision], arguments.device)
    return Measured(turn.ours, turn.bare, usual_seconds, utilization, turn.memory)


def line(case: Case, rounds: Sequence[Measured], first: Sequence[Measured]) -> str:
    """Return a line of the table."""
    ours, floor, usually, utilization, memory = (median(values) for values in zip(*rounds, strict=True))
    cells = [cell([getattr(one, name) for one in rounds]) for name in ("ours", "bare", "usual")]
    cells += [f"{floor / ours:.2f}", f"{usually / ours:.2f}", f"{BATCH * case.discriminator_steps / ours:.0f}"]
    cells += [f"{median(one.ours for one in first) / ours:.2f}", f"{utilization:.0%}", f"{memory:.0f}"]
    return f"| {', '.join(map(str, case))} | {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=torch.device, default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=list(PRECISIONS), help="default: the fastest of the device")
    parser.add_argument("--steps", type=int, default=10, help="of each block")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--networks", nargs="*", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--norms", nargs="*", choices=NORMS, default=NORMS)
    parser.add_argument("--discriminator_steps", nargs="*", type=int, default=[1, 5])
    parser.add_argument("--options", nargs="*", default=[], help="for train.py: --options=--model.compile=true")
    arguments = parser.parse_args()
    if arguments.rounds < 2:
        parser.error("--rounds must be at least 2: quartiles are printed")
    torch.set_num_threads(arguments.threads)
    arguments.precision = arguments.precision or fastest_precision(arguments.device.type)
    rates = [f"{matrix_rate(dtype, arguments.device) / 1e9:.0f} ({name})" for name, dtype in PRECISIONS.items()]
    where = f"{arguments.threads} threads" if arguments.device.type == "cpu" else torch.cuda.get_device_name()
    machine = f"{where}, matrix products: {', '.join(rates)} GFLOP/s"
    print(f"torch {torch.__version__}, batch {BATCH}, {arguments.precision}, {machine}")
    contenders = "train.py, ms | bare, ms | usual, ms | bare / train.py | usual / train.py"
    more = f"images/s | of {arguments.norms[0]}'s | utilization | MiB"
    print(f"| network, norm of D, D's steps | {contenders} | {more} |\n{'| --- ' * 10}|", flush=True)
    for network, steps in itertools.product(arguments.networks, arguments.discriminator_steps):
        cases = [Case(network, norm, steps) for norm in arguments.norms]
        rounds = [[measure(case, arguments) for case in cases] for _ in range(arguments.rounds)]
        measured = list(zip(*rounds, strict=True))
        for case, of_case in zip(cases, measured, strict=True):
            print(line(case, of_case, measured[0]), flush=True)


if __name__ == "__main__":
    main()
