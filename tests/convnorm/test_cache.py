"""The cached preconditioner: used when nothing changed, and never when something did."""

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_modules import LAYERS, all_layers, image
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from convnorm import ConvNorm, cache_preconditioners, convert
from convnorm.fast import preconditioner_cache


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The grids for which a cache computed a preconditioner."""
    grids: list[tuple[int, ...]] = []
    compute = preconditioner_cache.preconditioner

    def note(kernels: Tensor, size: tuple[int, ...], dilation: tuple[int, ...]) -> Tensor:
        grids.append(tuple(size))
        return compute(kernels, size, dilation)

    monkeypatch.setattr(preconditioner_cache, "preconditioner", note)
    return grids


def without_cache(norm: nn.Module) -> nn.Module:
    return cache_preconditioners(copy.deepcopy(norm), enabled=False)


@all_layers
def test_it_computes_once_and_the_same(name: str, computed: list[tuple[int, ...]]) -> None:
    norm, x = ConvNorm(copy.deepcopy(LAYERS[name])).eval(), image(LAYERS[name])
    expected = norm(x)
    cache_preconditioners(norm)
    for _ in range(3):
        assert torch.equal(norm(x), expected)
    assert len(computed) == 1


def assign(norm: ConvNorm) -> None:
    norm.layer.weight = nn.Parameter(norm.layer.weight.flip(0))


def step(norm: ConvNorm) -> None:
    norm(torch.randn(1, 3, 6, 5)).sum().backward()
    torch.optim.Adam(norm.parameters(), lr=0.1, fused=True).step()


def train_a_step(norm: ConvNorm) -> None:
    norm.train()
    step(norm)
    norm.eval()


def change_one_weight(norm: ConvNorm) -> None:
    norm.layer.weight.data[1, 2, 0, 1] += 1


def swap_two_weights(norm: ConvNorm) -> None:
    weight = norm.layer.weight.data
    weight[0], weight[1] = weight[1].clone(), weight[0].clone()


def change_through_numpy(norm: ConvNorm) -> None:
    norm.layer.weight.detach().numpy()[2] *= -2
    norm.layer.weight.detach().numpy()[:, 0] *= 3


def in_inference_mode(norm: ConvNorm) -> None:
    with torch.inference_mode():
        norm.layer.weight.data.normal_()


def load(norm: ConvNorm) -> None:
    norm.load_state_dict(ConvNorm(nn.Conv2d(3, 4, 3)).state_dict())


def load_by_assignment(norm: ConvNorm) -> None:
    norm.load_state_dict(nn.Conv2d(3, 4, 3).state_dict(), assign=True)


CHANGES: list[Callable[[ConvNorm], Any]] = [
    assign,
    step,
    train_a_step,
    change_one_weight,
    swap_two_weights,
    change_through_numpy,
    in_inference_mode,
    load,
    load_by_assignment,
    lambda norm: setattr(norm.layer.weight, "data", torch.randn(4, 3, 3, 3)),
    lambda norm: setattr(norm.layer, "dilation", (2, 1)),
    lambda norm: norm.double(),
    lambda norm: norm.bfloat16(),
    lambda norm: norm.to(memory_format=torch.channels_last),
]


@pytest.mark.parametrize("inference", [True, False])
@pytest.mark.parametrize("change", CHANGES)
def test_it_is_never_stale(change: Callable[[ConvNorm], Any], inference: bool) -> None:
    norm = ConvNorm(nn.Conv2d(3, 4, 3)).eval()
    cache_preconditioners(norm)
    x = torch.randn(2, 3, 7, 6)
    for _ in range(2):
        with torch.inference_mode(inference):
            norm(x)
        change(norm)
        x = x.to(norm.weight.dtype)
        with torch.inference_mode(inference):
            assert torch.equal(norm(x), without_cache(norm)(x))


def test_another_device_another_size(computed: list[tuple[int, ...]]) -> None:
    norm = ConvNorm(nn.Conv2d(3, 4, 3)).eval()
    cache_preconditioners(norm)
    for size in (6, 5), (6, 5), (7, 5), (6, 5):
        x = torch.randn(2, 3, *size)
        assert torch.equal(norm(x), without_cache(norm)(x))
    assert computed == [(8, 7), (9, 7), (8, 7)]
    there = norm.to("meta")
    assert there(torch.empty(2, 3, 6, 5, device="meta")).shape == (2, 4, 4, 3)


def test_what_inference_mode_cached_can_be_differentiated() -> None:
    norm, x = ConvNorm(nn.Conv2d(3, 4, 3)).eval(), torch.randn(2, 3, 6, 5)
    cache_preconditioners(norm)
    with torch.inference_mode():
        norm(x)
    found, expected = (
        torch.autograd.grad(module(x).square().sum(), [*module.parameters()]) for module in (norm, without_cache(norm))
    )
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))


def test_weights_that_are_computed(computed: list[tuple[int, ...]]) -> None:
    norm, x = ConvNorm(parametrizations.weight_norm(nn.Conv2d(3, 4, 3))).eval(), torch.randn(2, 3, 6, 5)
    cache_preconditioners(norm)
    with torch.inference_mode():
        norm(x)
        norm(x)
        assert len(computed) == 1
        norm.layer.parametrizations.weight.original1.data[0].normal_()
        assert torch.equal(norm(x), without_cache(norm)(x))


def test_an_average_needs_none(computed: list[tuple[int, ...]]) -> None:
    norm, x = ConvNorm(nn.Conv2d(3, 4, 3), momentum=0.5), torch.randn(2, 3, 6, 5)
    cache_preconditioners(norm)
    norm(x)
    assert torch.equal(norm.eval()(x), without_cache(norm)(x))
    assert computed == []


def test_training_does_not_use_it(computed: list[tuple[int, ...]]) -> None:
    norm = ConvNorm(nn.Conv2d(3, 4, 3))
    cache_preconditioners(norm)
    norm(torch.randn(2, 3, 6, 5))
    assert computed == []


def test_transforms_do_not_use_it(computed: list[tuple[int, ...]]) -> None:
    norm, x = ConvNorm(nn.Conv2d(3, 4, 3)).eval(), torch.randn(2, 3, 6, 5)
    cache_preconditioners(norm)
    norm(x)
    weights = torch.randn(2, 4, 3, 3, 3)

    def output(weight: Tensor) -> Tensor:
        y: Tensor = torch.func.functional_call(norm, {"layer.weight": weight}, x)
        return y

    expected = torch.stack([output(weight) for weight in weights])
    torch.testing.assert_close(torch.vmap(output)(weights), expected)


def test_copies_and_files_begin_empty() -> None:
    network, x = convert(nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU())).eval(), torch.randn(2, 3, 6, 5)
    file, cached_file = io.BytesIO(), io.BytesIO()
    torch.save(network, file)
    assert cache_preconditioners(network) is network
    expected = network(x)
    torch.save(network, cached_file)
    assert len(cached_file.getvalue()) < len(file.getvalue()) + 500
    assert list(network.state_dict()) == ["0.layer.weight", "0.layer.bias", "0.affine.weight"]
    for twin in copy.deepcopy(network), pickle.loads(pickle.dumps(network)):
        assert twin[0].cache.entry is None
        assert torch.equal(twin(x), expected)
        assert twin[0].cache.entry is not None
    assert cache_preconditioners(network, enabled=False)[0].cache is None
