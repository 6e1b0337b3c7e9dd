"""Images as tensors: their ranges and sizes, and pictures made of them.

Data sets and files hold uint8 in [0, 255]; networks see floats in [-1, 1].
"""

import io
import math
from collections.abc import Sequence

from torch import Tensor

ImageSize = int | tuple[int, int]  # height and width: one number if they are equal, else (height, width)


def height_and_width(image_size: int | Sequence[int]) -> tuple[int, int]:
    """Return the height and the width that an image size means: a number is both.

    Raises:
        ValueError: if it is neither a number nor two.
    """
    sides = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(sides) != 2 or not all(isinstance(side, int) for side in sides):
        raise ValueError(f"image_size must be a number or [height, width], got {image_size!r}")
    return sides


def as_image_size(image_size: int | Sequence[int]) -> ImageSize:
    """Return an image size in its one form: a number if the height equals the width, else (height, width)."""
    height, width = height_and_width(image_size)
    return height if height == width else (height, width)


def size_text(image_size: int | Sequence[int]) -> str:
    """Return an image size as the command line takes it: 64, or [64,96]."""
    height, width = height_and_width(image_size)
    return str(height) if height == width else f"[{height},{width}]"


def to_float(images: Tensor) -> Tensor:
    """Map uint8 [0, 255] to float32 [-1, 1], in the same memory format."""
    return images.float().div_(127.5).sub_(1)


def to_uint8(images: Tensor) -> Tensor:
    """Map [-1, 1] to uint8 [0, 255], rounding to the nearest, as a saved PNG holds it; values outside are clamped."""
    return images.float().add(1).mul_(127.5).round_().clamp_(0, 255).byte()


def tile(images: Tensor, columns: int) -> Tensor:
    """Arrange uint8 images (N, C, H, W) in rows with gaps of two black pixels: (C, height, width)."""
    gap = 2
    rows = math.ceil(len(images) / columns)
    channels, height, width = images.shape[1:]
    grid = images.new_zeros(channels, rows * (height + gap) + gap, columns * (width + gap) + gap)
    for number, image in enumerate(images):
        top = gap + number // columns * (height + gap)
        left = gap + number % columns * (width + gap)
        grid[:, top : top + height, left : left + width] = image
    return grid


def encoded(image: Tensor, kind: str = "png") -> bytes:
    """Return a uint8 image (1 or 3, H, W) as the content of a file: "png", or "webp" without loss."""
    from PIL import Image  # not needed before the first picture

    file = io.BytesIO()
    settings = {"lossless": True} if kind == "webp" else {}
    Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy()).save(file, kind, **settings)
    return file.getvalue()
