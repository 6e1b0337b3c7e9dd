"""TF32, cuDNN's default for float32 on a GPU, in the plain form: emulated on a CPU, against linear algebra."""

import copy
from collections.abc import Callable

import pytest
import reference
import torch
from test_modules import LAYERS
from torch import Tensor, nn

from convnorm import ConvNorm, functional
from convnorm.fast import choice
from convnorm.functional import preconditioner
from convnorm.grid import full_grid
from convnorm.layers import by_output_channel

UNIT = 2.0**-11  # the largest relative error of rounding to 10 bits behind the leading one


def rounded(x: Tensor) -> Tensor:
    mantissa, exponent = torch.frexp(x)
    return torch.ldexp((mantissa * 2**11).round() / 2**11, exponent)


def test_rounding_is_to_the_nearest_of_eleven_bits() -> None:
    spacing = 2.0**-10
    x = torch.tensor([1, 1 + 0.4 * spacing, 1 + 0.6 * spacing, -(2**-30), 0], dtype=torch.float64)
    assert rounded(x).tolist() == [1, 1, 1 + spacing, -(2**-30), 0]
    many = torch.randn(10_000, dtype=torch.float64)
    worst = float(((rounded(many) - many) / many).abs().max())
    assert 0.9 * UNIT < worst <= UNIT


@pytest.fixture
def tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the plain form run everywhere, by convolutions that round their factors."""
    monkeypatch.setattr(choice, "_costs", lambda *_: {choice._plain: 0})

    def rounding(convolve: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda x, weight, *settings: convolve(rounded(x), rounded(weight), *settings)

    for name in "CONVOLVE", "CONVOLVE_TRANSPOSED":
        exact = getattr(functional, name)
        monkeypatch.setattr(functional, name, {axes: rounding(convolve) for axes, convolve in exact.items()})


def blurs(layer: nn.Module) -> nn.Module:
    """Return a layer whose kernels are blurs, almost: V is large where its transfer matrices are nearly zero."""
    means = layer.weight.flatten(2).mean(2).view(*layer.weight.shape[:2], *[1] * (layer.weight.dim() - 2))
    layer.weight.data = means + 1e-3 * layer.weight
    return layer


def bound(layer: nn.Module, x: Tensor) -> Tensor:
    """Return what `functional.convolve` says the error is at most, for each image and output channel."""
    kernels = by_output_channel(layer, layer.weight.detach())  # (O, I / groups, *k)
    v = preconditioner(kernels, full_grid(layer, x.shape[2:]).size, layer.dilation)
    of_kernels = kernels.abs().flatten(2).sum(2).unflatten(0, (layer.groups, -1))
    of_images = x.flatten(2).norm(dim=2).unflatten(1, (layer.groups, -1))
    return 2.0**-10 * v.flatten(1).amax(1) * torch.einsum("goi,ngi->ngo", of_kernels, of_images).flatten(1)


@pytest.mark.usefixtures("tf32")
@pytest.mark.parametrize("name", ["k3", "k4s2", "grouped", "transposed k4s2", "1d", "3d"])
@pytest.mark.parametrize("make", [lambda layer: layer, blurs], ids=["random", "blurs"])
def test_the_error_is_at_most_what_is_documented(name: str, make: Callable[[nn.Module], nn.Module]) -> None:
    layer = copy.deepcopy(LAYERS[name]).double()
    layer.bias = None
    layer = make(layer)
    size = (12, 11, 5)[: layer.weight.dim() - 2]
    x = torch.randn(4, layer.in_channels, *size, dtype=torch.float64)
    truth = reference.output(layer, x)
    error = ConvNorm(layer, affine=False)(x).detach() - truth
    assert (error.flatten(2).norm(dim=2) <= (1 + UNIT) * bound(layer, x)).all()
    relative = float(error.norm() / truth.norm())
    assert 1e-5 < relative < (4e-2 if make is blurs else 1e-3)
