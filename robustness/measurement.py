"""Counts what a classifier gets right, over all processes together."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

import convnorm
from gan.data.loaders import stream
from gan.data.sources import MemorySource, Source
from gan.data.subset import Subset
from gan.distributed import all_reduce, any_process, process_group
from gan.metrics.evaluator import StoppedError
from gan.metrics.exactness import exact_inference
from gan.networks.evaluation_mode import evaluating
from gan.randomness import Stream
from robustness.attacks import Logits, is_wrong, loss_gradient

SEED = 0  # of corruptions and attacks, the same in every run: accuracies differ by the network, not by the noise
Batch = tuple[Tensor, Tensor, list[int]]  # uint8 images, labels, and the number of each image in its split


@dataclass(frozen=True)
class Images:
    """Some images of a split.

    Attributes:
        source: The split.
        indices: Which ones, int64 (n,).
        workers: Processes that decode them, if they do not lie in memory.
    """

    source: Source
    indices: Tensor
    workers: int = 0

    @classmethod
    def choose(cls, source: Source, count: int | None, workers: int = 0) -> "Images":
        """Return some images, the same share of each class; None, or more than there are: all."""
        if count is None or count >= len(source):
            return cls(source, torch.arange(len(source)), workers)
        chosen = Subset(num_images=count, seed=SEED, stream=Stream.TESTED).choose(source.labels)
        assert chosen is not None
        return cls(source, chosen, workers)

    def __len__(self) -> int:
        return len(self.indices)

    def batches(self, size: int) -> Iterator[Batch | None]:
        """Yield this process' batches, and None where only others have one left: all go through as many rounds."""
        rank, world_size = process_group()
        blocks = self.indices.split(size)
        mine = [block.numpy() for block in blocks[rank::world_size]]
        requests = [(block, np.zeros(len(block), np.bool_)) for block in mine]
        workers = 0 if isinstance(self.source, MemorySource) else self.workers
        for block, (images, labels) in zip(mine, stream(self.source, requests, workers), strict=True):
            yield images, labels, block.tolist()
        if rank >= len(blocks) % world_size > 0:
            yield None


@contextmanager
def unchanging(network: nn.Module, device_type: str) -> Iterator[None]:
    """Evaluate exactly, and compute once what follows from the weights alone."""
    convnorm.cache_preconditioners(network)
    try:
        with evaluating(network), exact_inference(device_type), parametrize.cached():
            yield
    finally:
        convnorm.cache_preconditioners(network, enabled=False)


@dataclass
class Meter:
    """Measures a classifier in evaluation mode.

    Attributes:
        logits: The classifier, from images (N, C, H, W) in [0, 1] to logits.
        pixels: Maps uint8 images to what `logits` takes, on its device.
        device: Where that is.
        batch_size: Images at a time, in every process.
        report: Told after every batch how many images it had, all processes together.
        should_stop: Asked after every batch. All processes stop if it returns True in one.
    """

    logits: Logits
    pixels: Callable[[Tensor], Tensor]
    device: torch.device
    batch_size: int
    report: Callable[[int], None] = lambda images: None
    should_stop: Callable[[], bool] = lambda: False

    def accuracy(self, images: Images, change: "Change") -> float:
        """Return the accuracy on changed images, in percent."""

        def right(x: Tensor, labels: Tensor, numbers: list[int]) -> Tensor:
            return ~is_wrong(self.logits, change(self, x, labels, numbers), labels)

        return 100 * self._mean(images, right)

    def gradient_norm(self, images: Images) -> float:
        """Return the Euclidean norm of the loss' gradient at an image, mean over the images."""

        def norms(x: Tensor, labels: Tensor, numbers: list[int]) -> Tensor:
            return loss_gradient(self.logits, self.pixels(x), labels)[0].flatten(1).norm(dim=1)

        return self._mean(images, norms)

    def _mean(self, images: Images, of: Callable[[Tensor, Tensor, list[int]], Tensor]) -> float:
        exact = torch.float32 if self.device.type == "mps" else torch.float64  # which MPS does not have
        total = torch.zeros((), dtype=exact, device=self.device)
        done = 0
        for batch in images.batches(self.batch_size):
            if batch is not None:
                x, labels, numbers = batch
                total += of(x, labels.to(self.device), numbers).sum(dtype=exact)
            before, done = done, min(len(images), done + self.batch_size * process_group()[1])
            self.report(done - before)
            if any_process(self.should_stop(), self.device):
                raise StoppedError
        all_reduce(total)
        return float(total) / len(images)


# From a meter, uint8 images, labels and the images' numbers to what is classified: (N, C, H, W) in [0, 1]
Change = Callable[[Meter, Tensor, Tensor, list[int]], Tensor]
