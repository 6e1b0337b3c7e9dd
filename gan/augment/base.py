"""Base class of augmentations."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Augment(nn.Module, ABC):
    """A random change of images, applied to real and generated ones before the discriminator sees them.

    It draws nothing itself: the random numbers of each image come with the images, so that they can be a function of
    the position in the run. The result is differentiable, any number of times, with respect to the images.

    Attributes:
        numbers: Random numbers an image, uniform in [0, 1).
    """

    numbers: int

    @abstractmethod
    def transform(self, images: Tensor, draws: Tensor) -> Tensor:
        """Change images (N, C, H, W) in [-1, 1] as their random numbers (N, numbers) say, in the images' data type."""

    def forward(self, images: Tensor, draws: Tensor) -> Tensor:
        """Return the changed images, in the data type and memory format that they came in.

        Half precision is too coarse for coordinates: computation is in float32 at least, whatever autocast is set to.
        """
        dtype = torch.promote_types(images.dtype, torch.float32)
        layout = torch.channels_last if _is_channels_last(images) else torch.contiguous_format
        with torch.autocast(images.device.type, enabled=False):
            changed = self.transform(images.to(dtype), draws.to(dtype))
        return changed.to(images.dtype).contiguous(memory_format=layout)

    def begin(self, images: int) -> None:
        """Take note of how many real images the discriminator has been shown, before a generator step."""

    def observe(self, real_sign: Tensor, count: int, update: int) -> None:
        """Take note of an update of the discriminator that was made.

        Args:
            real_sign: Mean sign of the logits of its real images, over all processes: a scalar on the device.
            count: Its real images, of all processes.
            update: Its number in the run, from 0.
        """

    def watched(self) -> dict[str, Tensor]:
        """Return scalars to log, on the device."""
        return {}


class Unchanged(Augment):
    """No augmentation."""

    numbers = 0

    def transform(self, images: Tensor, draws: Tensor) -> Tensor:
        return images

    def forward(self, images: Tensor, draws: Tensor) -> Tensor:
        return images


def _is_channels_last(images: Tensor) -> bool:
    return images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
