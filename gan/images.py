"""Pixel ranges: datasets and files hold uint8 in [0, 255]; networks see floats in [-1, 1]."""

from torch import Tensor


def to_float(images: Tensor) -> Tensor:
    """Map uint8 [0, 255] to float32 [-1, 1], in the same memory format."""
    return images.float().div_(127.5).sub_(1)


def to_uint8(images: Tensor) -> Tensor:
    """Map [-1, 1] to uint8 [0, 255], rounding to the nearest, as a saved PNG holds it; values outside are clamped."""
    return images.float().add(1).mul_(127.5).round_().clamp_(0, 255).byte()
