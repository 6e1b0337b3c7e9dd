"""What other devices than a CPU compute, tried on a CPU."""

import copy
from typing import Any

import pytest
import torch
from test_modules import LAYERS, image
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from convnorm import ConvNorm
from convnorm.fast import choice, frequency, maps, separable

pytestmark = pytest.mark.usefixtures("algorithm")
MIXING = pytest.mark.parametrize("algorithm", ["_mix", "_mix_few"], indirect=True)


def act_as_another_device(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in frequency, separable, maps:
        monkeypatch.setattr(module, "piece_by_piece", lambda x: False)


def gradients(norm: ConvNorm, x: Tensor, learns: bool, image_learns: bool) -> list[Tensor]:
    norm, x = copy.deepcopy(norm), x.detach().clone().requires_grad_(image_learns)
    norm.layer.weight.requires_grad_(learns)
    y = norm(x)
    asked = [tensor for tensor in (x, *norm.parameters()) if tensor.requires_grad]
    return [y, *torch.autograd.grad(y.square().sum(), asked)]


@MIXING
@pytest.mark.parametrize("name", ["k3", "k4s2", "transposed k4s2"])
@pytest.mark.parametrize(("learns", "image_learns"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("kernels_at_once", [1, frequency.KERNELS_AT_ONCE])
def test_outputs_and_gradients_are_the_same(
    name: str, learns: bool, image_learns: bool, kernels_at_once: int, monkeypatch
) -> None:
    monkeypatch.setattr(frequency, "KERNELS_AT_ONCE", kernels_at_once)
    norm, x = ConvNorm(copy.deepcopy(LAYERS[name])).double(), image(LAYERS[name]).double()
    expected = gradients(norm, x, learns, image_learns)
    act_as_another_device(monkeypatch)
    for ours, theirs in zip(gradients(norm, x, learns, image_learns), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_the_kernels_of_all_frequencies_are_never_in_memory_at_once(monkeypatch) -> None:
    monkeypatch.setattr(frequency, "KERNELS_AT_ONCE", 8 * 8 * 3 * 18)  # those of one frequency
    act_as_another_device(monkeypatch)
    norm, x = ConvNorm(nn.Conv2d(8, 8, 3, padding=1)), torch.randn(2, 8, 16, 16, requires_grad=True)
    monkeypatch.setattr(choice, "_costs", lambda *_: {choice._mix: 0})
    with Largest() as largest:
        norm(x).sum().backward()
    assert largest.numel < 2 * 8 * 8 * 3 * 18 * 2  # of ten frequencies


class Largest(TorchDispatchMode):
    numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.numel = max(self.numel, *(leaf.numel() for leaf in tree_leaves(made) if isinstance(leaf, Tensor)), 0)
        return made


class Count(TorchDispatchMode):
    number = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.number += 1
        return func(*args, **(kwargs or {}))


@MIXING
def test_larger_images_need_no_more_operations(monkeypatch) -> None:
    """On a CPU they do, one step a frequency: launching each would take a GPU longer than computing it."""
    norm = ConvNorm(copy.deepcopy(LAYERS["k3"]))

    def operations(size: int) -> int:
        x = torch.randn(2, norm.layer.in_channels, size, size, requires_grad=True)
        norm(x).sum().backward()  # makes the constants
        with Count() as count:
            norm(x).sum().backward()
        return count.number

    assert operations(8) < operations(16)
    act_as_another_device(monkeypatch)
    assert operations(8) == operations(16)
