"""Endless training batches, from memory or streamed; both give the same bits."""

import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gan.data.order import Flips, Indices, Order
from gan.data.sources import Source

Batch = tuple[Tensor, Tensor]


class TrainLoader(ABC):
    """What one generator step after the other consumes, without an end.

    A batch is (images, labels): uint8 (batches_per_step * local batch, channels, size, size), contiguous, and int64.

    There is no length, so Lightning sees one endless epoch; `max_steps` ends the training.

    Args:
        order: Which images, where, mirrored or not.
        first_step: Returns the generator step to start at. Called when the iteration starts: a run that resumes knows
            its step only then.
    """

    def __init__(self, order: Order, first_step: Callable[[], int]) -> None:
        self.order = order
        self.first_step = first_step

    @abstractmethod
    def __iter__(self) -> Iterator[Batch]: ...

    def state_dict(self) -> dict[str, Any]:
        """Return what the order depends on beside the step, for Lightning to put into its checkpoints."""
        names = ("num_images", "batch_size", "batches_per_step", "seed", "flip")
        return {name: getattr(self.order, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Warn if the order is not the one that the checkpoint was trained with. The position comes from the step."""
        current = self.state_dict()
        changes = [f"{name} was {state[name]}, is {current[name]}" for name in current if state[name] != current[name]]
        if changes:
            rank_zero_warn(f"The order of the images is not the checkpoint's: {'; '.join(changes)}")


class MemoryLoader(TrainLoader):
    """Batches of a set that lies in memory, a few microseconds an image and no worker processes.

    Args:
        images: uint8 (n, channels, size, size).
        labels: int64 (n,).
        order: See `TrainLoader`.
        first_step: See `TrainLoader`.
    """

    def __init__(self, images: Tensor, labels: Tensor, order: Order, first_step: Callable[[], int]) -> None:
        super().__init__(order, first_step)
        self.images = images
        self.labels = labels

    def __iter__(self) -> Iterator[Batch]:
        for step in count(self.first_step()):
            indices, flips = map(torch.from_numpy, self.order.batch(step))
            images = self.images.index_select(0, indices)  # several times faster than images[indices]
            mirrored = flips.nonzero().squeeze(1)
            images[mirrored] = images.index_select(0, mirrored).flip(-1)
            yield images, self.labels.index_select(0, indices)


class StreamLoader(TrainLoader):
    """Batches of a set that is decoded anew every time, by worker processes.

    Args:
        source: The images.
        order: See `TrainLoader`.
        first_step: See `TrainLoader`.
        num_workers: Worker processes; 0 decodes in the training process. The batches do not depend on it.
    """

    def __init__(self, source: Source, order: Order, first_step: Callable[[], int], num_workers: int) -> None:
        super().__init__(order, first_step)
        self.source = source
        self.num_workers = num_workers

    def __iter__(self) -> Iterator[Batch]:
        steps = count(self.first_step())
        return stream(self.source, map(self.order.batch, steps), self.num_workers)


def stream(source: Source, requests: Iterable[tuple[Indices, Flips]], num_workers: int) -> Iterator[Batch]:
    """Decode one batch per request, (indices, flips), ahead of their use if there are workers.

    Raises:
        ValueError: If an image cannot be read; the message names its file.
    """
    loader = DataLoader(
        _Batches(source),
        batch_size=None,  # a request is a whole batch
        sampler=requests,
        num_workers=num_workers,
        # Workers share the memory of the images: elsewhere, and by default since Python 3.14, each gets a copy.
        multiprocessing_context="fork" if num_workers and sys.platform == "linux" else None,
        generator=torch.Generator(),  # else it draws its workers' seed from the global generator
        worker_init_fn=_leave_signals_to_the_training,
    )
    for batch in loader:
        if isinstance(batch, ValueError):
            raise batch
        yield batch


def _leave_signals_to_the_training(worker: int) -> None:
    """Go on when a whole group of processes gets a signal: the training finishes its step, and then its workers."""
    for number in signal.SIGINT, signal.SIGTERM, signal.SIGUSR1:
        signal.signal(number, signal.SIG_IGN)


class _Batches(Dataset[Batch | ValueError]):
    """Batches by (indices, flips). Errors are returned: raised in a worker, they arrive with a traceback as message."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def __getitem__(self, request: tuple[Indices, Flips]) -> Batch | ValueError:
        indices, flips = request
        try:
            images = [self.source[int(index)] for index in indices]
        except ValueError as error:
            return error
        mirrored = [image.flip(-1) if flip else image for image, flip in zip(images, flips, strict=True)]
        return torch.stack(mirrored), self.source.labels[torch.from_numpy(indices)]
