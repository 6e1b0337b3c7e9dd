"""Base class of the data sets."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from gan.checks import check_at_least
from gan.data.decode import Frame
from gan.data.loaders import MemoryLoader, StreamLoader, TrainLoader, stream, usable_cores
from gan.data.order import Order
from gan.data.report import found, slow_start
from gan.data.sources import FileSource, MemorySource, Source
from gan.data.subset import Subset
from gan.data.transfer import send

# A split beyond either is streamed. The second is what one core decodes in about ten seconds.
MAX_DECODED_BYTES = 2**30
MAX_ENCODED_BYTES = 2**28
_REFERENCE_BATCH = 256
FULL_TRAIN = "full_train"  # the split of all training images, also of those that a subset leaves out


@runtime_checkable
class TrainsOnImages(Protocol):
    """The attributes of a training module that `ImageData` reads."""

    @property
    def seed(self) -> int:
        """Seed of the run."""

    @property
    def batches_per_step(self) -> int:
        """Batches of `ImageData.batch_size` images that one training step takes."""

    @property
    def stop_requested(self) -> bool:
        """Whether this process was asked to stop."""

    def training_part(self, source: Source) -> Source:
        """Return what the module learns from of the split "train"."""


class ImageData(LightningDataModule, ABC):
    """Images of one size, read from memory if they are few and streamed if they are many.

    Everything that networks are built from is known after construction, which reads listings and no image.

    Args:
        batch_size: Real images of one discriminator update, all processes together.
        flip: Mirror each image left to right with probability one half.
        frame: What the images are made to fit.
        num_classes: Number of classes; 0 if there are no labels.
        name: Name of the set.
        num_workers: Worker processes of a streamed set, at most one for each core that this process may use.
        classes: Names of the classes; empty: their numbers.
        subset: Which of the training images to use.

    Attributes:
        image_size: Height and width: a number, or (height, width) if they differ.
        channels: 1 or 3.
        num_classes: Number of classes; 0 if there are no labels.
        classes: Names of the classes, in the order of their labels.
        name: Name of the set.
        splits: Names of the splits of the set. Wherever a split is named, "full_train" means all training images, and
            "train" those of `subset`.
        passed_over: The number of files that are no images, by suffix.
    """

    splits: tuple[str, ...] = ("train", "test")
    passed_over: Mapping[str, int] = {}

    def __init__(
        self,
        batch_size: int,
        flip: bool,
        frame: Frame,
        num_classes: int,
        name: str,
        num_workers: int = 0,
        *,
        classes: Sequence[str] = (),
        subset: Subset = Subset(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__()
        check_at_least(1, batch_size=batch_size, image_size=min(frame.height, frame.width))
        check_at_least(0, num_workers=num_workers)
        if frame.channels not in (1, 3):
            raise ValueError(f"channels must be 1 (gray) or 3 (RGB), got {frame.channels}")
        self.batch_size = batch_size
        self.flip = flip
        self.frame = frame
        self.image_size = frame.size
        self.channels = frame.channels
        self.num_classes = num_classes
        self.classes = tuple(classes) or tuple(map(str, range(num_classes)))
        self.subset = subset
        self.name = name
        self.num_workers = min(num_workers, usable_cores())
        self._sources: dict[str, Source] = {}

    @abstractmethod
    def open(self, split: str) -> Source:
        """Return one of the `splits`, whole. The result is kept."""

    def source(self, split: str) -> Source:
        """Return the images and labels of a split.

        Raises:
            ValueError: If there is no such split.
        """
        key = self._key(split)
        if key not in self._sources:
            source = self.open("train" if key == FULL_TRAIN else key)
            chosen = self.subset.choose(source.labels) if key == "train" else None
            self._sources[key] = source if chosen is None else source.select(chosen)
        return self._sources[key]

    def _key(self, split: str) -> str:
        """Return the name under which a split is kept: without a subset "full_train" is "train"."""
        known = (*self.splits, FULL_TRAIN) if "train" in self.splits else self.splits
        if split not in known:
            raise ValueError(f"split must be one of {', '.join(known)}, got {split!r}")
        return "train" if split == FULL_TRAIN and self.subset.takes_all else split

    def setup(self, stage: str) -> None:
        """Decode the training images, if they are to lie in memory.

        Raises:
            ValueError: If there are none.
        """
        if stage == "fit":
            if "train" not in self.splits:
                raise ValueError(f"{self.name} has no split train to learn from, only {', '.join(self.splits)}")
            self._say_if_slow(self.source("train"))
            self._say_what_was_found(self.loaded("train").labels)

    @rank_zero_only
    def _say_what_was_found(self, labels: Tensor) -> None:
        print(found(str(self.name), self.classes, labels, self.passed_over))

    @rank_zero_only
    def _say_if_slow(self, source: Source) -> None:
        if not isinstance(source, FileSource) or source.frame.varies:  # the advice is to convert to the final size
            return
        if hint := slow_start(source, streamed=self._is_large(source)):
            print(hint)

    def train_dataloader(self) -> TrainLoader:
        """Return the endless batches of this process, from the trainer's step on."""
        trainer = self.trainer
        assert trainer is not None
        module = trainer.lightning_module
        if not isinstance(module, TrainsOnImages):
            raise ValueError(f"ImageData needs a module with seed and batches_per_step, got {type(module).__name__}")
        source = module.training_part(self.loaded("train"))
        order = Order(
            num_images=len(source),
            batch_size=self.batch_size,
            batches_per_step=module.batches_per_step,
            seed=module.seed,
            flip=self.flip,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
        )
        if isinstance(source, MemorySource):
            return MemoryLoader(source.images, source.labels, order, lambda: trainer.global_step, source.fingerprint)

        def should_stop() -> bool:  # with several processes the others would wait for this one's gradients
            return trainer.world_size == 1 and module.stop_requested

        return StreamLoader(
            source, order, lambda: trainer.global_step, self.num_workers, source.fingerprint, should_stop
        )

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Send a training batch on its way without waiting for it; those of the other loops are no images."""
        return batch if isinstance(batch, int) else tuple(send(tensor, device) for tensor in batch)

    # Evaluation happens in callbacks: the loops of validate, test and predict run once, over nothing.

    def val_dataloader(self) -> range:
        """Return a loader of one empty batch."""
        return range(1)

    def test_dataloader(self) -> range:
        """Return a loader of one empty batch."""
        return range(1)

    def predict_dataloader(self) -> range:
        """Return a loader of one empty batch."""
        return range(1)

    def num_images(self, split: str) -> int:
        """Return the number of images of a split."""
        return len(self.source(split))

    def labels(self, split: str) -> Tensor:
        """Return the label of each image of a split: int64 (n,)."""
        return self.source(split).labels

    def images_at(self, split: str, indices: Iterable[int]) -> Tensor:
        """Return some images of a split, unmirrored: uint8 (n, channels, height, width)."""
        source = self.loaded(split)
        return torch.stack([source[index] for index in indices])

    def reference(self, split: str, blocks: Iterable[tuple[int, int]] | None = None) -> Iterator[Tensor]:
        """Yield images of a split, unmirrored: uint8 (n, channels, height, width) a block.

        Args:
            split: The split.
            blocks: Number of the first image and n of each block: no other image of a streamed set is decoded. None:
                all images in their order.
        """
        source = self.loaded(split)
        if blocks is None:
            starts = range(0, len(source), _REFERENCE_BATCH)
            blocks = ((start, min(_REFERENCE_BATCH, len(source) - start)) for start in starts)
        if isinstance(source, MemorySource):
            yield from (source.images[start : start + n] for start, n in blocks)
            return
        requests = ((np.arange(start, start + n), np.zeros(n, np.bool_)) for start, n in blocks)
        for images, _ in stream(source, requests, self.num_workers):
            yield images

    def content_hash(self, split: str) -> str:
        """Return a sha256 (hex) that changes when the images of a split do.

        It covers the pixels at this size, in their order, of a split that lies in memory; of a streamed one the content
        of its files and what they are made to fit, since decoding all of them only to name them would take minutes.
        """
        return self.loaded(split).content_hash

    def loaded(self, split: str) -> Source:
        """Return a split, from memory if it is small enough."""
        source = self.source(split)
        if self._is_large(source):
            return source
        if not isinstance(source, MemorySource):
            source = self._sources[self._key(split)] = MemorySource(source.load(), source.labels)
        return source

    def _is_large(self, source: Source) -> bool:
        if source.frame.varies:  # each time from the whole image
            return True
        return source.decoded_bytes > MAX_DECODED_BYTES or source.encoded_bytes > MAX_ENCODED_BYTES
