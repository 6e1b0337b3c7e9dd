"""Check of the batches that a data loader yields: those of `ImageData` are right, those of one's own may not be."""

from typing import Any

import torch
from torch import Tensor

EXPECTED = "a batch must be (images, labels): uint8 (N, C, H, W) in [0, 255] and int64 (N,)"


def check_batch(batch: Any) -> int:
    """Return the number of images of a batch.

    Raises:
        ValueError: If the batch is not uint8 images with int64 labels. Floats would be scaled to [-1, 1] twice.
    """
    if not isinstance(batch, tuple | list) or len(batch) != 2 or not all(isinstance(part, Tensor) for part in batch):
        raise ValueError(f"{EXPECTED}; got {_in_words(batch)}")
    images, labels = batch
    if images.is_floating_point():
        low, high = (float(bound) for bound in images.aminmax())
        raise ValueError(
            f"{EXPECTED}; got {_in_words(images)} in [{low:.3g}, {high:.3g}]. {_remedy(low)} makes them uint8"
        )
    if images.dtype != torch.uint8 or images.dim() != 4:
        raise ValueError(f"{EXPECTED}; got images {_in_words(images)}")
    if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
        raise ValueError(f"{EXPECTED}; got labels {_in_words(labels)} for {len(images)} images")
    return len(images)


def _remedy(low: float) -> str:
    return "gan.images.to_uint8(images)" if low < 0 else "images.mul(255).round().byte()"


def _in_words(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    if isinstance(value, tuple | list):
        return f"({', '.join(map(_in_words, value))})"
    return type(value).__name__
