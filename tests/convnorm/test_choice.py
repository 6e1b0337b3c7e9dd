"""Which form runs where."""

from typing import Any

import pytest
import torch
from test_devices import act_as_another_device
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from convnorm import ConvNorm
from convnorm.fast import choice
from convnorm.fast.costs import Sizes, costs
from convnorm.functional import full_grid


@pytest.mark.parametrize(
    ("layer", "batch", "size", "algorithm"),
    [
        (nn.Conv2d(3, 64, 4, 2, 1), 64, 32, "_separable"),
        (nn.Conv2d(64, 128, 3, 1, 1), 64, 16, "_channel_products"),
        (nn.Conv2d(512, 512, 3, 1, 1), 1, 14, "_plain"),
        (nn.Conv2d(3, 64, 7, 2, 3), 1, 224, "_plain"),
    ],
)
def test_each_algorithm_has_layers_that_it_is_the_cheapest_for(layer, batch: int, size: int, algorithm: str) -> None:
    assert cheapest(layer, torch.zeros(batch, layer.in_channels, size, size)) == algorithm


def cheapest(layer: nn.Conv2d, x: Tensor) -> str:
    found = choice._costs(layer, x, full_grid(layer, x.shape[2:]))
    return min(found, key=found.get).__name__


def test_the_cheapest_form_is_the_one_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    def note(name: str) -> choice.Algorithm:
        run = getattr(choice, name)
        return lambda *args: ran.append(name) or run(*args)

    names = "_plain", "_channel_products", "_separable"
    forms = {name: note(name) for name in names}
    for name in names:
        monkeypatch.setattr(choice, "_costs", lambda *_, name=name: {forms[n]: 0 if n == name else 1 for n in names})
        ConvNorm(nn.Conv2d(3, 4, 3))(torch.zeros(2, 3, 6, 6))
    assert ran == list(names)


@pytest.mark.parametrize("layer", [nn.Conv2d(4, 4, 3, groups=2), nn.Conv1d(4, 4, 3), nn.Conv3d(4, 4, 3)])
def test_layers_without_a_fast_form_take_the_plain_one(layer: nn.Module) -> None:
    assert cheapest(layer, torch.zeros(64, 4, *[8] * (layer.weight.dim() - 2))) == "_plain"


def test_costs_depend_on_the_device() -> None:
    sizes = Sizes(batch=64, inputs=128, outputs=128, taps=9, grid=18 * 18, image=16, crop=16)
    cpu, gpu = costs("cpu", sizes), costs("cuda", sizes)
    assert min(cpu) == cpu.channel_products
    assert min(gpu) == gpu.triton
    assert costs("a device that nobody measured", sizes) == gpu


def test_a_gpu_takes_the_form_with_fewer_launches_unless_another_moves_less() -> None:
    one_image = Sizes(batch=1, inputs=3, outputs=64, taps=16, grid=35 * 35, image=32, crop=16)
    assert min((gpu := costs("cuda", one_image))[:3]) == gpu.plain
    assert min((gpu := costs("cuda", one_image._replace(batch=256)))[:3]) != gpu.plain


def test_a_gpu_takes_the_plain_form_where_kernels_are_more_than_images() -> None:
    sizes = Sizes(batch=1, inputs=512, outputs=512, taps=9, grid=16 * 16, image=14, crop=14)
    assert min(gpu := costs("cuda", sizes)) == gpu.plain
    assert min(gpu := costs("cuda", sizes._replace(batch=128))) == gpu.triton


class Largest(TorchDispatchMode):
    numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.numel = max(self.numel, *(leaf.numel() for leaf in tree_leaves(made) if isinstance(leaf, Tensor)), 0)
        return made


def largest_tensor(norm: ConvNorm, x: Tensor) -> int:
    norm(x).sum().backward()  # makes the constants
    with Largest() as largest:
        norm(x).sum().backward()
    return largest.numel


def test_large_layers_do_not_hold_the_kernels_of_all_frequencies_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    norm, x = ConvNorm(nn.Conv2d(64, 64, 3, padding=1)), torch.randn(1, 64, 16, 16, requires_grad=True)
    kernels = 64 * 64 * 18 * 18 * 3 // 2
    compare = choice._costs

    def without_plain(*args: Any) -> dict[choice.Algorithm, float]:
        found = compare(*args)
        return {choice._channel_products: 0} if choice._channel_products in found else found

    monkeypatch.setattr(choice, "_costs", without_plain)
    monkeypatch.setattr(choice, "MOST_KERNELS", kernels - 1)
    assert largest_tensor(norm, x) < kernels / 5, "a CPU takes one frequency at a time"
    act_as_another_device(monkeypatch)
    assert largest_tensor(norm, x) < kernels / 5, "above the limit the plain form runs"
    monkeypatch.setattr(choice, "MOST_KERNELS", kernels)
    assert largest_tensor(norm, x) >= kernels
