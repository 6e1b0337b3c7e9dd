"""Moving whole pixels: every image with rows and columns of its own."""

import torch
from torch import Tensor


def take(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return images made of other pixels of theirs: out[n, c, i, j] = images[n, c, rows[n, i], columns[n, j]].

    Args:
        images: (N, C, H, W).
        rows: int64 (N, H).
        columns: int64 (N, W).
    """
    n, channels, height, width = images.shape
    images = images.gather(2, rows.view(n, 1, height, 1).expand(n, channels, height, width))
    return images.gather(3, columns.view(n, 1, 1, width).expand(n, channels, height, width))


def shifted(size: int, shifts: Tensor) -> Tensor:
    """Return, for each image's shift (N,), the indices (N, size) of what moves it there; they can leave the image."""
    return torch.arange(size, device=shifts.device) - shifts.long().view(-1, 1)


def mirrored_back(indices: Tensor, size: int) -> Tensor:
    """Reflect indices that left an image at its outer pixels' centers, which are not repeated."""
    period = 2 * (size - 1)
    indices = indices.remainder(period)
    return torch.minimum(indices, period - indices)


def whole_number(draws: Tensor, count: int) -> Tensor:
    """Map uniform numbers in [0, 1) to whole ones in [0, count), in the data type of `draws`."""
    return (draws * count).floor().clamp(max=count - 1)  # rounding may give count itself
