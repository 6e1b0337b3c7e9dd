"""What other devices than a CPU compute, tried on a CPU."""

import copy
import itertools
from typing import Any

import pytest
import torch
from test_modules import LAYERS, image
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from convnorm import ConvNorm, cache_preconditioners
from convnorm.fast import channel_products, choice, gauss, transform
from convnorm.spectra import operator_norm, singular_values

one_block = gauss.spans
UNSEEN = itertools.count(8)  # widths that no layer has met, so that constants are made anew

pytestmark = pytest.mark.usefixtures("algorithm")
FAST = pytest.mark.parametrize("algorithm", ["_channel_products", "_separable"], indirect=True)


def act_as_another_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute all frequencies at once, in one block, and by wide products."""
    for module in channel_products, choice:
        monkeypatch.setattr(module, "all_at_once", lambda x: True)
    for module in channel_products, transform:
        monkeypatch.setattr(module, "small_products", lambda x, dtype=None: False)
    monkeypatch.setattr(gauss, "spans", lambda n, _: one_block(n, torch.device("cuda")))
    monkeypatch.setattr(choice, "matrices", gauss.matrices.__wrapped__)  # past the cache


def gradients(norm: ConvNorm, x: Tensor, learns: bool, image_learns: bool) -> list[Tensor]:
    norm, x = copy.deepcopy(norm), x.detach().clone().requires_grad_(image_learns)
    norm.layer.weight.requires_grad_(learns)
    y = norm(x)
    asked = [tensor for tensor in (x, *norm.parameters()) if tensor.requires_grad]
    return [y, *torch.autograd.grad(y.square().sum(), asked)]


@FAST
@pytest.mark.parametrize("name", ["k3", "k4s2", "transposed k4s2"])
@pytest.mark.parametrize(("learns", "image_learns"), [(True, True), (True, False), (False, True)])
def test_outputs_and_gradients_are_the_same(name: str, learns: bool, image_learns: bool, monkeypatch) -> None:
    norm, x = ConvNorm(copy.deepcopy(LAYERS[name])).double(), image(LAYERS[name]).double()
    expected = gradients(norm, x, learns, image_learns)
    act_as_another_device(monkeypatch)
    for ours, theirs in zip(gradients(norm, x, learns, image_learns), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


class Count(TorchDispatchMode):
    number = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.number += 1
        return func(*args, **(kwargs or {}))


@FAST
def test_larger_images_need_no_more_operations(algorithm: str, monkeypatch) -> None:
    """Channel products do on a CPU, one frequency at a time; a GPU would wait for the launches."""
    norm = ConvNorm(copy.deepcopy(LAYERS["k3"]))

    def operations(size: int) -> int:
        x = torch.randn(2, norm.layer.in_channels, size, size, requires_grad=True)
        norm(x).sum().backward()  # makes the constants
        with Count() as count:
            norm(x).sum().backward()
        return count.number

    if algorithm == "_channel_products":
        assert operations(8) < operations(16)
    act_as_another_device(monkeypatch)
    assert operations(8) == operations(16)


def passes(norm: ConvNorm, x: Tensor) -> list[Tensor]:
    """Return outputs in training and evaluation, gradients, and gradients of gradients."""
    x = x.detach().clone().requires_grad_()
    asked = [x, *norm.parameters()]
    y = norm(x)
    slopes = torch.autograd.grad(y.square().sum(), asked, create_graph=True)
    with torch.autocast("cpu", torch.bfloat16):
        coarse = norm(x)
    cached = cache_preconditioners(copy.deepcopy(norm)).eval()(x)
    return [y, coarse, cached, *slopes, *torch.autograd.grad(slopes[0].square().sum(), asked)]


@pytest.mark.parametrize("name", ["k3", "k4s2", "k1", "grouped", "reflect", "transposed k4s2", "1d"])
def test_the_default_device_does_not_matter(name: str) -> None:
    layer = copy.deepcopy(LAYERS[name])
    x = torch.randn(2, layer.in_channels, *(next(UNSEEN), 6)[: layer.weight.dim() - 2])
    with torch.device("meta"):
        norm = ConvNorm(layer, momentum=0.5)
        found = passes(copy.deepcopy(norm), x)
    assert {tensor.device.type for tensor in [*found, *norm.state_dict().values()]} == {"cpu"}
    for ours, theirs in zip(found, passes(norm, x), strict=True):
        assert torch.equal(ours, theirs)


def test_singular_values_do_not_depend_on_the_default_device() -> None:
    norm, size = ConvNorm(copy.deepcopy(LAYERS["k3"])), (2, 3)
    with torch.device("meta"):
        found, values = operator_norm(norm, size), singular_values(norm, size)
    assert found == operator_norm(norm, size)
    assert torch.equal(values, singular_values(norm, size))
