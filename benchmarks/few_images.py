"""What augmentation, regularization and relativistic pairing cost: the table in docs/guides/few_images.md.

    python -m benchmarks.few_images
    python -m benchmarks.few_images --image_size 64 --batch 32

One generator step of a DCGAN (width 64, batch norm in the generator, spectral norm in the discriminator, hinge loss,
Adam, float32, channels_last): one update of each network, from uint8 images on, with the losses, penalties and
augmentations that `gan fit` uses. Logging and the reading of files are left out. All take turns in every round, in one
process. Printed are the median over the rounds of what each adds to the plain step of its round, and the quartiles.
The clock is the processor time of the thread.

A lazy penalty is in one of 16 updates: its step is the mean of one with it and 15 plain ones of the same round.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import NamedTuple

import torch

from benchmarks.turns import in_turns, relative
from gan.augment import ADA, Augment, DiffAugment, Unchanged
from gan.cli.machine import keep_freed_memory
from gan.images import to_float
from gan.losses import (
    R1,
    R2,
    BalancedConsistency,
    Consistency,
    Hinge,
    LatentConsistency,
    LeCam,
    Loss,
    Penalties,
    Penalty,
    Relativistic,
)
from gan.networks import DCGANDiscriminator, DCGANGenerator
from gan.norms import Batch as BatchNorm
from gan.norms import Spectral, normalize
from gan.training.batch import Batch, DrawSizes
from gan.training.objective import Losses, Objective

LAZY = 16


class Means(NamedTuple):
    """What is compared."""

    augment: Callable[[], Augment] = Unchanged
    penalties: tuple[Callable[[], Penalty], ...] = ()
    loss: Callable[[], Loss] = Hinge


MEANS = {
    "none": Means(),
    "DiffAugment": Means(DiffAugment),
    "ADA": Means(ADA),
    "LeCam": Means(penalties=(partial(LeCam, start=0),)),
    "Consistency (CR)": Means(penalties=(Consistency,)),
    "BalancedConsistency (bCR)": Means(penalties=(BalancedConsistency,)),
    "LatentConsistency (zCR)": Means(penalties=(LatentConsistency,)),
    "R1": Means(penalties=(R1,)),
    "R2": Means(penalties=(R2,)),
    "R1 and R2": Means(penalties=(R1, R2)),
    "R1, every 16th update": Means(penalties=(partial(R1, every=LAZY),)),
    "R2, every 16th update": Means(penalties=(partial(R2, every=LAZY),)),
    "Relativistic": Means(loss=Relativistic),
    "Relativistic, R1 and R2": Means(penalties=(R1, R2), loss=Relativistic),
}


class Training:
    """A GAN whose steps can be timed.

    Args:
        means: What it trains with.
        image_size: Height and width of the images.
        batch: Images of a batch.
    """

    def __init__(self, means: Means, image_size: int, batch: int) -> None:
        torch.manual_seed(0)
        generator = normalize(DCGANGenerator(image_size), [BatchNorm()])
        discriminator = normalize(DCGANDiscriminator(image_size), [Spectral()])
        for network in generator, discriminator:
            network.to(memory_format=torch.channels_last)
        penalties = Penalties(make() for make in means.penalties)
        self.objective = Objective(generator, discriminator, means.loss(), penalties, means.augment(), joint_pass=True)
        self.optimizers: dict[torch.nn.Module, torch.optim.Optimizer] = {
            network: torch.optim.Adam(network.parameters(), 2e-4, (0.5, 0.999), fused=True)
            for network in (generator, discriminator)
        }
        numbers = self.objective.augment.numbers, penalties.numbers(generator.latent_dim)
        self.sizes = DrawSizes(generator.latent_dim, 0, *numbers)
        self.images = torch.randint(256, (2, batch, 3, image_size, image_size), dtype=torch.uint8)

    def step(self, number: int) -> None:
        """Make a generator step whose update of the discriminator has this number."""
        objective = self.objective
        judged = partial(objective.for_discriminator, number=number, seen=0)
        reported = self._update(objective.discriminator, judged, number, 0)
        objective.augment.observe(reported["logits/real_sign"], len(self.images[0]), number)
        objective.penalties.observe(reported["logits/real"], reported["logits/fake"])
        self._update(objective.generator, objective.for_generator, number, 1)

    def _update(
        self, network: torch.nn.Module, losses: Callable[[Batch], Losses], number: int, update: int
    ) -> dict[str, torch.Tensor]:
        other = next(each for each in self.optimizers if each is not network)
        network.requires_grad_(True), other.requires_grad_(False)
        self.optimizers[network].zero_grad()
        loss, reported = losses(self._batch(number, update))
        loss.backward()
        self.optimizers[network].step()
        return reported

    def _batch(self, number: int, update: int) -> Batch:
        images = self.images[update]
        needed = update == 0 or self.objective.loss.pairs
        real = to_float(images if needed else images[:0]).contiguous(memory_format=torch.channels_last)
        labels = torch.zeros(len(real), dtype=torch.int64)
        return Batch(real, labels, self.sizes.draw(len(images), 0, number, update))


def measure(rounds: int, image_size: int, batch: int) -> None:
    """Print the table."""
    # The number of the update is one that a lazy penalty is in, and not the run's first, which LeCam leaves out.
    runs = {name: partial(Training(means, image_size, batch).step, LAZY) for name, means in MEANS.items()}
    seconds = in_turns(runs, rounds, time.thread_time)
    print(f"none: {1000 * median(seconds['none']):.0f} ms a step, median of {rounds} rounds; the others add, in %")
    for name, times in seconds.items():
        if name.endswith("update"):
            times = [(one + (LAZY - 1) * plain) / LAZY for one, plain in zip(times, seconds["none"], strict=True)]
        added = [100 * (ratio - 1) for ratio in relative(times, seconds["none"])]
        print("{:26} {:4.0f}  ({:.0f} to {:.0f})".format(name, *added))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--image_size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    measure(options.rounds, options.image_size, options.batch)


if __name__ == "__main__":
    main()
