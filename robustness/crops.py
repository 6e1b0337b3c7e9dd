"""How training images are cropped."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from gan.data.decode import Frame
from gan.randomness import Stream, rng

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class ResizedCrop(Frame):
    """Photographs as classifiers of ImageNet usually see them, by torchvision's transforms.

    Training sees a random part of 8 to 100 % of the area, whose sides are as 3:4 to 4:3 (Szegedy et al., CVPR 2015).
    Otherwise the shorter side is resized to 256/224 of the size, and the centre is cut out.

    Attributes:
        place: Seed and position of a training image; None: the image is not for training.
    """

    place: tuple[int, int] | None = None

    varies: ClassVar[bool] = True

    def at(self, seed: int, position: int) -> "ResizedCrop":
        """Return the frame of a training image."""
        return replace(self, place=(seed, position))

    def resized(self, image: "Image.Image") -> "Image.Image":
        """Return the part of the image, in the size of the frame."""
        from torchvision.transforms import v2  # slow to import

        size = [self.height, self.width]
        if self.place is None:
            resized = v2.functional.resize(image, [round(min(size) * 256 / 224)])
            return v2.functional.center_crop(resized, size)
        seed, position = self.place
        with torch.random.fork_rng(devices=[]):  # torchvision draws from torch's own generator
            torch.default_generator.manual_seed(int(rng(seed, Stream.RESIZED_CROP, position).integers(2**63)))
            return v2.RandomResizedCrop(size)(image)


def cropped(images: Tensor, corners: Tensor, border: int) -> Tensor:
    """Move images within a black border: cut their size out of it again, at corners (N, 2) from 0 to 2 * border."""
    count, _, height, width = images.shape
    windows = F.pad(images, (border,) * 4).unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(count, device=images.device), :, corners[:, 0], corners[:, 1]]
