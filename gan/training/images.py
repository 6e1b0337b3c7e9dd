"""The images of a training: how many a step takes, and this process' share of them."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from gan.data import ImageData
from gan.data.transfer import send
from gan.training.real_images import check_batch


class ImagesModule(LightningModule, ABC):
    """A module that trains on batches of images, of an `ImageData` or of a data loader of one's own."""

    def __init__(self) -> None:
        super().__init__()
        self._own_batch_size: int | None = None

    @property
    @abstractmethod
    def batches_per_step(self) -> int:
        """Batches of `data.batch_size` images that one training step takes."""

    def check_share(self, images: int) -> None:
        """Check the number of images of one batch that this process has.

        Raises:
            ValueError: if the configuration cannot divide them.
        """

    def check_own_images(self, images: Tensor, labels: Tensor) -> None:
        """Check the first batch of a data loader that is no `ImageData`.

        Raises:
            ValueError: if the networks do not take such images or labels.
        """

    @property
    def batch_size(self) -> int:
        """Images of one batch, all processes together. A data loader of one's own tells with its first batch.

        Raises:
            ValueError: before that.
        """
        if (data := self.image_data) is not None:
            return data.batch_size
        if self._own_batch_size is None:
            raise ValueError("the size of a batch is not known before the first one, with data that are no ImageData")
        return self._own_batch_size

    @property
    def image_data(self) -> ImageData | None:
        """The data of the training; None if they come from a data loader of one's own."""
        data = getattr(self.trainer, "datamodule", None)
        return data if isinstance(data, ImageData) else None

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Check what the data loader yields.

        Raises:
            ValueError: if it is not what `training_step` takes.
        """
        images, batches = check_batch(batch), self.batches_per_step
        if self.image_data is not None:
            return
        if images % batches:
            raise ValueError(f"a training step takes {batches} equal batches, got {images} images")
        total = images // batches * self.trainer.world_size
        if self._own_batch_size is None:
            self.check_own_images(*batch)
            self.check_share(images // batches)
            self._own_batch_size = total
        if total != self._own_batch_size:
            sizes = f"{self._own_batch_size}, now {total}"
            raise ValueError(f"every batch must have as many images as the first: {sizes} (drop_last=True?)")

    def local_slice(self, drawn: Tensor, batches: int = 1) -> Tensor:
        """Return this process' slice of what was drawn for each of some global batches, on the device."""
        own = [batch.chunk(self.trainer.world_size)[self.trainer.global_rank] for batch in drawn.chunk(batches)]
        return send(torch.cat(own) if batches > 1 else own[0], self.device)
