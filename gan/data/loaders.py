"""Endless training batches, from memory or streamed; both give the same bits."""

import atexit
import os
import signal
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import count
from multiprocessing.synchronize import Event
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gan.data.decode import DamagedError
from gan.data.order import Flips, Indices, Order
from gan.data.sources import Source
from gan.distributed import warn

Batch = tuple[Tensor, Tensor]
ArrayBatch = tuple[NDArray[np.uint8], NDArray[np.int64]]
Place = tuple[int, int]  # the seed of a run, and a position in the order of its images
Request = tuple[Indices, Flips] | tuple[Indices, Flips, list[Place]]

SECONDS_BETWEEN_CHECKS = 2  # while a step waits for images
SECONDS_UNTIL_STALLED = 600
START_METHOD = "fork" if sys.platform == "linux" else None  # workers share the images' memory only if forked


class TrainLoader(ABC):
    """An endless iterable with one batch for each training step.

    A batch is (images, labels): uint8 (n, channels, height, width), contiguous, and int64 (n,), with n being
    batches_per_step * local batch.

    There is no length, so Lightning sees one endless epoch; `max_steps` ends the training.

    Args:
        order: Which images, where, mirrored or not.
        first_step: Returns the training step to start at. Called when the iteration starts: a run that resumes knows
            its step only then.
        fingerprint: Tells the set of images from others; "" where that does not matter.
    """

    def __init__(self, order: Order, first_step: Callable[[], int], fingerprint: str = "") -> None:
        self.order = order
        self.first_step = first_step
        self.fingerprint = fingerprint

    @abstractmethod
    def __iter__(self) -> Iterator[Batch]: ...

    def state_dict(self) -> dict[str, Any]:
        """Return what the order depends on beside the step, for Lightning to put into its checkpoints."""
        names = ("num_images", "batch_size", "batches_per_step", "seed", "flip")
        return {**{name: getattr(self.order, name) for name in names}, "images": self.fingerprint}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Warn if order or images are not those that the checkpoint was trained with. The position is the step's."""
        current = self.state_dict()
        known = {name: state.get(name, value) for name, value in current.items()}
        changes = [f"{name} was {known[name]}, is {value}" for name, value in current.items() if known[name] != value]
        if known["images"] != current["images"]:
            changes[-1] = "the set of images has changed"
        if changes:
            warn(f"The order of the images is not the checkpoint's: {'; '.join(changes)}")


class MemoryLoader(TrainLoader):
    """Batches of a set that lies in memory, a few microseconds an image and no worker processes.

    Args:
        images: uint8 (n, channels, height, width).
        labels: int64 (n,).
        order: See `TrainLoader`.
        first_step: See `TrainLoader`.
        fingerprint: See `TrainLoader`.
    """

    def __init__(
        self, images: Tensor, labels: Tensor, order: Order, first_step: Callable[[], int], fingerprint: str = ""
    ) -> None:
        super().__init__(order, first_step, fingerprint)
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
        fingerprint: See `TrainLoader`.
        should_stop: Whether to end while waiting for a batch.
    """

    def __init__(
        self,
        source: Source,
        order: Order,
        first_step: Callable[[], int],
        num_workers: int,
        fingerprint: str = "",
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(order, first_step, fingerprint)
        self.source = source
        self.num_workers = num_workers
        self.should_stop = should_stop

    def __iter__(self) -> Iterator[Batch]:
        requests = map(self._request, count(self.first_step()))
        return stream(self.source, requests, self.num_workers, self.should_stop)

    def _request(self, step: int) -> Request:
        return *self.order.batch(step), [(self.order.seed, int(each)) for each in self.order.positions(step)]


def stream(
    source: Source,
    requests: Iterable[Request],
    num_workers: int,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Batch]:
    """Decode one batch per request, (indices, flips), ahead of their use if there are workers.

    A request of training also has the seed and the position of each image, see `Source.at`. Ends early if `should_stop`
    returns True while it waits for a worker.

    Raises:
        ValueError: If an image cannot be read; the message names its file.
        RuntimeError: If a worker has died, or none has sent a batch for ten minutes.
    """
    closing = torch.multiprocessing.get_context(START_METHOD).Event()
    atexit.register(closing.set)  # before multiprocessing ends its children
    loader = DataLoader(
        _Batches(source),
        batch_size=None,  # a request is a whole batch
        collate_fn=_unchanged,  # the default makes tensors of arrays
        sampler=requests,
        num_workers=num_workers,
        timeout=SECONDS_BETWEEN_CHECKS if num_workers else 0,
        multiprocessing_context=START_METHOD if num_workers else None,
        generator=torch.Generator(),  # else it draws its workers' seed from the global generator
        worker_init_fn=partial(_leave_signals_to_the_training, closing),
    )
    batches = iter(loader)
    try:
        while (received := _next(batches, should_stop)) is not None:
            batch, damaged = received
            source.say_damaged(damaged)  # a worker's own notes stay in the worker
            if isinstance(batch, DamagedError):
                raise DamagedError(f"{batch}{source.advice}")
            if isinstance(batch, ValueError):
                raise batch
            images, labels = map(torch.from_numpy, batch)
            yield images, labels
    finally:
        closing.set()
        atexit.unregister(closing.set)


def _next(batches: Iterator[Any], should_stop: Callable[[], bool]) -> Any:
    """Wait for the next batch of the workers; None if there is none, or `should_stop` returns True."""
    since = time.monotonic()
    while True:
        try:
            return next(batches, None)
        except RuntimeError as error:
            if "timed out" not in str(error):
                raise
            if should_stop():
                return None
            if time.monotonic() - since > SECONDS_UNTIL_STALLED:
                raise RuntimeError(f"DataLoader workers have sent no images for {SECONDS_UNTIL_STALLED} s") from None


def _unchanged(batch: Any) -> Any:
    return batch


def _leave_signals_to_the_training(closing: Event, worker: int) -> None:
    """Ignore signals that go to a whole group of processes: the training first finishes its step.

    When the training has no use for the worker any more, SIGTERM ends it, even while it waits for a disk.
    """
    for number in signal.SIGINT, signal.SIGUSR1:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0) if closing.is_set() else None)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(training: int) -> None:
    """End this worker when the training's process has ended, if only by SIGKILL.

    By itself it would wait for ever, to write its last images into a pipe that it also reads from. While it lives, so
    do the sockets that it inherited, and the other processes of the training do not learn that one has ended.
    """
    while os.getppid() == training:
        time.sleep(1)
    os._exit(1)


class _Batches(Dataset[tuple[ArrayBatch | ValueError, dict[str, str]]]):
    """Batches by request, and what has been found damaged.

    They are arrays: a tensor of a worker would travel through /dev/shm, of which containers have 64 MB by default.
    Errors are returned: raised in a worker, they arrive with a traceback as message.
    """

    def __init__(self, source: Source) -> None:
        self.source = source

    def __getitem__(self, request: Request) -> tuple[ArrayBatch | ValueError, dict[str, str]]:
        return self._read(*request), dict(self.source.damaged)

    def _read(self, indices: Indices, flips: Flips, places: Iterable[Place] = ()) -> ArrayBatch | ValueError:
        sources = [self.source.at(*place) for place in places] or [self.source] * len(indices)
        try:
            images = [source[int(index)] for source, index in zip(sources, indices, strict=True)]
        except ValueError as error:
            return error
        mirrored = [image.flip(-1) if flip else image for image, flip in zip(images, flips, strict=True)]
        return torch.stack(mirrored).numpy(), self.source.labels[torch.from_numpy(indices)].numpy()


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
