"""Products of a constant matrix with the first axis of (R, N, C), in the memory order that suits the device.

Such a product is either one wide product, R x (N C), or N small ones, R x C. On a CPU in float32 the small ones are
faster: they fit in the cache, and MKL divides them among threads better than one wide product. Half precision on a CPU
(oneDNN) and GPUs take the wide product. The shape is (R, N, C) either way; only the strides differ.
"""

import torch
from torch import Tensor


def small_products(x: Tensor, dtype: torch.dtype | None = None) -> bool:
    """Return whether x takes small products in `dtype` (default: its own)."""
    return x.device.type == "cpu" and (dtype or x.dtype).itemsize > 2


def transform(matrix: Tensor, x: Tensor, out: Tensor | None = None) -> Tensor:
    """Return the product of a matrix (..., R', R) and x, (..., R, N, C), over R: (..., R', N, C).

    Args:
        matrix: a constant, whose leading axes broadcast with x's.
        x: the tensor to transform.
        out: memory for the result from `empty`, if there are no leading axes.
    """
    if small_products(x):
        if x.dim() == 3 and matrix.dim() == 2:
            batches, to = x.transpose(0, 1), None if out is None else out.transpose(0, 1)
            return torch.bmm(matrix.expand(len(batches), -1, -1), batches, out=to).transpose(0, 1)
        return (matrix.unsqueeze(-3) @ x.transpose(-3, -2)).transpose(-3, -2)
    if out is not None:
        return torch.mm(matrix, x.flatten(1), out=out.flatten(1)).view_as(out)
    return (matrix @ x.flatten(-2)).unflatten(-1, x.shape[-2:])


def empty(like: Tensor, *shape: int) -> Tensor:
    """Return memory for (..., R, N, C) in the order in which `transform` writes it, in the dtype of `like`."""
    if not small_products(like):
        return like.new_empty(shape)
    *leading, r, n, c = shape
    return like.new_empty(*leading, n, r, c).transpose(-3, -2)


def to_frequencies(matrix: Tensor, x: Tensor) -> Tensor:
    """Transform the height of images, (B, C, H, W), by a matrix (2F, H) to (F, 2W, B, C)."""
    batch, channels, height, width = x.shape
    if small_products(x):
        images = x.permute(0, 2, 3, 1).reshape(batch, height, width * channels)
        y = torch.bmm(matrix.expand(batch, -1, -1), images)
        return y.view(batch, len(matrix) // 2, 2 * width, channels).permute(1, 2, 0, 3)
    y = matrix @ x.permute(2, 3, 0, 1).reshape(height, width * batch * channels)
    return y.view(len(matrix) // 2, 2 * width, batch, channels)


def from_frequencies(matrix: Tensor, z: Tensor) -> Tensor:
    """Transform (F, 2W, B, C) by a matrix (H, 2F) to images, (B, C, H, W)."""
    frequencies, width, batch, channels = len(z), z.shape[1] // 2, z.shape[2], z.shape[3]
    if small_products(z):
        columns = z.permute(2, 0, 1, 3).reshape(batch, 2 * frequencies, width * channels)
        y = torch.bmm(matrix.expand(batch, -1, -1), columns)
        return y.view(batch, len(matrix), width, channels).permute(0, 3, 1, 2)
    # In two steps, because torch 2.11 exports a single flatten for one batch size only.
    y = matrix @ z.flatten(1).view(2 * frequencies, width * batch * channels)
    return y.view(len(matrix), width, batch, channels).permute(2, 3, 0, 1)
