"""A layer's weight as the matrices of its kernels, for what is said of matrices."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class Kernels(NamedTuple):
    """How a weight is read as one matrix a group: a row for each output channel, a column for each number it takes.

    Attributes:
        groups: Number of groups; a layer that is no convolution has one.
        transposed: Whether the weight has the input channels first, as that of a transposed convolution.
    """

    groups: int
    transposed: bool

    @staticmethod
    def of(layer: nn.Module) -> "Kernels":
        """Return how the weight of a layer is read."""
        return Kernels(int(getattr(layer, "groups", 1)), isinstance(layer, nn.ConvTranspose2d))

    def matrices(self, weight: Tensor) -> Tensor:
        """Return (groups, outputs / groups, inputs / groups · k · k) of a weight as the layer has it."""
        kernels = weight.unflatten(0, (self.groups, -1))
        return (kernels.transpose(1, 2) if self.transposed else kernels).flatten(2)

    def weight(self, matrices: Tensor, shape: torch.Size) -> Tensor:
        """Return the weight, of the given shape, of its matrices."""
        if not self.transposed:
            return matrices.reshape(shape)
        kernels = matrices.unflatten(2, (shape[0] // self.groups, *shape[2:]))
        return kernels.transpose(1, 2).flatten(0, 1)


@torch.no_grad()
def draw_if_zero(layer: nn.Module) -> bool:
    """Draw a layer's weight from N(0, 1 / fan in) if it is zero: no norm can divide by the length of zeros.

    R3GAN's blocks begin as the identity, with such a weight in their last convolution.

    Returns:
        Whether it was zero.
    """
    weight = layer.weight
    assert isinstance(weight, Tensor)
    if weight.any():
        return False
    drawn = torch.randn_like(weight) * Kernels.of(layer).matrices(weight).shape[2] ** -0.5
    if parametrize.is_parametrized(layer, "weight"):
        layer.weight = drawn
    else:
        weight.copy_(drawn)
    return True


def at_least_float32(x: Tensor) -> Tensor:
    """Return x in float32 if it is in half precision."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def check_positive(where: str, **values: float) -> None:
    """Raise a ValueError that names the first value which is not above 0."""
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{where}: {name} must be positive, got {value}")
