"""What other devices than a CPU compute, tried on a CPU."""

import copy
from typing import Any

import pytest
import torch
from test_modules import LAYERS, image
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from convnorm import ConvNorm
from convnorm.fast import channel_products, choice, gauss, transform

one_block = gauss.spans

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
