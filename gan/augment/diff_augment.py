"""DiffAugment (Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training", NeurIPS 2020)."""

import torch
from torch import Tensor

from gan.augment.base import Augment
from gan.augment.pixels import shifted, take, whole_number


class DiffAugment(Augment):
    """Colour, translation and cutout, each applied to every image, in this order and with the authors' ranges.

    The authors use all three for a hundred to a few thousand images, and leave out colour or translation for full
    CIFAR-10. With tens of thousands of images it can do harm.

    Args:
        color: Add U(-0.5, 0.5) to the brightness; scale saturation by U(0, 2), contrast by U(0.5, 1.5). Saturation
            changes nothing in gray images.
        translation: Move by up to an eighth of the size in whole pixels, filling with 0, which is middle gray.
        cutout: Fill a square of half the size with 0. Its center is anywhere; what is outside is cut off.

    Raises:
        ValueError: if nothing is left to do.
    """

    numbers = 7

    def __init__(self, color: bool = True, translation: bool = True, cutout: bool = True) -> None:
        super().__init__()
        if not (color or translation or cutout):
            raise ValueError("DiffAugment: color, translation and cutout are all false, so it would do nothing")
        self.color, self.translation, self.cutout = color, translation, cutout

    def transform(self, images: Tensor, draws: Tensor) -> Tensor:
        if self.color:
            images = change_color(images, *draws[:, 0:3].unbind(1))
        if self.translation:
            images = translate(images, *draws[:, 3:5].unbind(1))
        return cut_out(images, *draws[:, 5:7].unbind(1)) if self.cutout else images


def change_color(images: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """Change images (N, C, H, W) as numbers (N,) in [0, 1) say."""
    brightness, saturation, contrast = (each.view(-1, 1, 1, 1) for each in (brightness, saturation, contrast))
    images = images + (brightness - 0.5)
    gray = images.mean(1, keepdim=True)
    images = gray + 2 * saturation * (images - gray)
    level = images.mean((1, 2, 3), keepdim=True)
    return level + (contrast + 0.5) * (images - level)


def translate(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Move images (N, C, H, W) as numbers (N,) in [0, 1) say."""
    height, width = images.shape[2:]
    rows, columns = _moved(height, down), _moved(width, right)
    inside = _within(rows, height)[:, :, None] & _within(columns, width)[:, None, :]
    moved = take(images, rows.clamp(0, height - 1), columns.clamp(0, width - 1))
    return moved * inside.unsqueeze(1).to(images.dtype)


def cut_out(images: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Blank a square of images (N, C, H, W), centered where numbers (N,) in [0, 1) say."""
    height, width = images.shape[2:]
    hole = _hole(height, row)[:, :, None] & _hole(width, column)[:, None, :]
    return images * (~hole).unsqueeze(1).to(images.dtype)


def _moved(size: int, draws: Tensor) -> Tensor:
    most = int(size / 8 + 0.5)
    return shifted(size, whole_number(draws, 2 * most + 1) - most)


def _within(indices: Tensor, size: int) -> Tensor:
    return (indices >= 0) & (indices < size)


def _hole(size: int, draws: Tensor) -> Tensor:
    length = int(size / 2 + 0.5)
    centers = whole_number(draws, size + 1 - length % 2)
    first = (centers - length // 2).view(-1, 1)
    pixels = torch.arange(size, device=draws.device)
    return (pixels >= first) & (pixels < first + length)
