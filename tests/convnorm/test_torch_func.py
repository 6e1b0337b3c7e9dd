"""The transforms of `torch.func`, against autograd."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.autograd.functional import jacobian
from torch.func import functional_call, functionalize, grad, hessian, jacfwd, jacrev, jvp, linearize, vmap

from convnorm import ConvNorm

LAYERS = {
    "k4s2": nn.Conv2d(3, 4, 4, stride=2, padding=1),
    "reflect": nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
    "transposed": nn.ConvTranspose2d(3, 4, 4, stride=2, padding=1),
    "1d": nn.Conv1d(3, 4, 3),
}

UNSEEN = itertools.count(11)  # widths that no layer has met


@pytest.fixture(params=LAYERS)
def layer(request: pytest.FixtureRequest) -> ConvNorm:
    return ConvNorm(LAYERS[request.param]).double()


def images(
    layer: ConvNorm, layout: torch.memory_format = torch.contiguous_format, size: tuple[int, int] = (7, 6)
) -> Tensor:
    x = torch.randn(3, 3, *size[: layer.layer.weight.dim() - 2], dtype=torch.float64)
    return x.contiguous(memory_format=layout) if x.dim() == 4 else x


@pytest.mark.usefixtures("algorithm")
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_gradients_of_every_image_by_itself(layer: ConvNorm, layout: torch.memory_format) -> None:
    x = images(layer, layout)

    def loss(parameters: dict[str, Tensor], image: Tensor) -> Tensor:
        return functional_call(layer, parameters, (image[None],)).sin().sum()

    found = vmap(grad(loss), (None, 0))(dict(layer.named_parameters()), x)
    for i, image in enumerate(x):
        layer.zero_grad()
        layer(image[None]).sin().sum().backward()
        torch.testing.assert_close(
            {k: v[i] for k, v in found.items()}, {k: v.grad for k, v in layer.named_parameters()}
        )


@pytest.mark.usefixtures("algorithm")
def test_derivatives_in_a_direction_are_adjoint_to_the_gradient(layer: ConvNorm) -> None:
    x, direction = images(layer).requires_grad_(), images(layer)
    y = layer(x)
    weights = torch.randn_like(y)
    (gradient,) = torch.autograd.grad(y, x, weights)
    torch.testing.assert_close((jvp(layer, (x,), (direction,))[1] * weights).sum(), (gradient * direction).sum())


@pytest.mark.usefixtures("algorithm")
def test_an_ensemble_of_weights(layer: ConvNorm) -> None:
    x = images(layer)
    ensemble = {name: torch.stack([value, value.roll(1, 0) + 0.1]).detach() for name, value in layer.named_parameters()}
    found = vmap(lambda parameters: functional_call(layer, parameters, (x,)))(ensemble)
    for i, y in enumerate(found):
        torch.testing.assert_close(y, functional_call(layer, {k: v[i] for k, v in ensemble.items()}, (x,)))


@pytest.mark.usefixtures("algorithm")
@pytest.mark.parametrize("transform", [grad, hessian, functionalize])
def test_constants_outlive_the_transform_that_needed_them_first(transform: Callable[..., Any]) -> None:
    norm, x = ConvNorm(nn.Conv2d(3, 4, 3, padding=1)), torch.randn(1, 3, 2, next(UNSEEN))

    def loss(x: Tensor) -> Tensor:
        return norm(x).square().sum()

    for of_loss in transform(loss), grad(loss), hessian(loss), loss:
        assert of_loss(x).isfinite().all()


def test_forward_mode(layer: ConvNorm) -> None:
    x, direction = images(layer), images(layer)
    truth = jvp(layer, (x,), (direction,))[1]
    torch.testing.assert_close(linearize(layer, x)[1](direction), truth)
    with forward_ad.dual_level():
        found = forward_ad.unpack_dual(layer(forward_ad.make_dual(x, direction))).tangent
    torch.testing.assert_close(found, truth)


@pytest.mark.usefixtures("algorithm")
def test_images_by_themselves_under_autocast() -> None:
    norm, x = ConvNorm(nn.Conv2d(3, 4, 3, padding=1)), torch.randn(2, 3, 7, 7)
    with torch.autocast("cpu", torch.bfloat16):
        found = vmap(lambda image: norm(image[None])[0])(x)
    truth = norm(x)
    assert (found - truth).norm() < 2e-2 * truth.norm()


@pytest.mark.usefixtures("algorithm")
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_jacobians_by_every_way(layer: ConvNorm, layout: torch.memory_format) -> None:
    """`jacobian` makes one backward pass a row; with `vectorize` it applies vmap to the backward pass alone."""
    x = images(layer, layout, (3, 2))[:1]
    rows = jacobian(layer, x)
    for found in jacrev(layer)(x), jacfwd(layer)(x), jacobian(layer, x, vectorize=True):
        torch.testing.assert_close(found, rows)


@pytest.mark.usefixtures("algorithm")
def test_many_gradients_at_once(layer: ConvNorm) -> None:
    """By vmap over the backward pass, in images and parameters; and their gradients, for a penalty on them."""
    x = images(layer).requires_grad_()
    asked = [x, *layer.parameters()]
    y = layer(x).sin()
    directions = torch.randn(3, *y.shape, dtype=y.dtype)
    for create_graph in False, True:
        found = torch.autograd.grad(
            y, asked, directions, retain_graph=True, is_grads_batched=True, create_graph=create_graph
        )
        single = [
            torch.autograd.grad(y, asked, each, retain_graph=True, create_graph=create_graph) for each in directions
        ]
        truth = [torch.stack(each) for each in zip(*single, strict=True)]
        torch.testing.assert_close(list(found), truth)
    second, expected = (
        torch.autograd.grad(sum(each.square().sum() for each in gradients), asked, retain_graph=True)
        for gradients in (found, truth)
    )
    torch.testing.assert_close(second, expected)
