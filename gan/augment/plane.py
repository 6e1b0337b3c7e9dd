"""Affine maps of the plane, one an image, as homogeneous matrices (N, 3, 3) of points (x, y, 1)."""

import torch
from torch import Tensor


def translation(x: Tensor, y: Tensor) -> Tensor:
    """Return the maps that move points by (x, y), each of shape (N,)."""
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    return _matrices(one, zero, x, zero, one, y)


def scaling(x: Tensor, y: Tensor) -> Tensor:
    """Return the maps that stretch the two axes by factors (N,)."""
    zero = torch.zeros_like(x)
    return _matrices(x, zero, zero, zero, y, zero)


def rotation(angle: Tensor) -> Tensor:
    """Return the maps that rotate by angles (N,) in radians, from the x axis towards the y axis."""
    return turn(angle.cos(), angle.sin())


def turn(cosine: Tensor, sine: Tensor) -> Tensor:
    """Return the rotations by the angles that have these cosines and sines (N,)."""
    zero = torch.zeros_like(cosine)
    return _matrices(cosine, -sine, zero, sine, cosine, zero)


def _matrices(*entries: Tensor) -> Tensor:
    zero, one = torch.zeros_like(entries[0]), torch.ones_like(entries[0])
    return torch.stack([*entries, zero, zero, one], dim=1).view(-1, 3, 3)
