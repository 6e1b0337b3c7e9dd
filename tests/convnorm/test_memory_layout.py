"""The order of gradients in memory."""

from typing import Any, ClassVar

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from convnorm import ConvNorm
from convnorm.memory_format import keep_memory_format


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("other", [torch.channels_last, torch.contiguous_format])
def test_the_gradient_comes_in_the_layout_of_the_image(layout: torch.memory_format, other: torch.memory_format) -> None:
    x = torch.randn(2, 3, 4, 5).to(memory_format=layout).requires_grad_()
    found = []
    y = x * 1
    y.register_hook(found.append)
    grad = torch.randn(2, 3, 4, 5).to(memory_format=other)
    keep_memory_format(y).backward(grad)
    assert found[0].is_contiguous(memory_format=layout)
    torch.testing.assert_close(x.grad, grad, rtol=0, atol=0)


def test_its_gradient_can_be_differentiated() -> None:
    x = torch.randn(2, 3, 2, 2, dtype=torch.float64).to(memory_format=torch.channels_last).requires_grad_()
    torch.autograd.gradgradcheck(lambda x: keep_memory_format(x).pow(3), x)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_function_transforms_pass_through_it(layout: torch.memory_format) -> None:
    x = torch.randn(2, 3, 4, 5).to(memory_format=layout)
    expected = 3 * x**2
    gradients = torch.func.vmap(torch.func.grad(lambda image: keep_memory_format(image[None]).pow(3).sum()))(x)
    torch.testing.assert_close(gradients, expected)
    torch.testing.assert_close(torch.func.jvp(lambda x: keep_memory_format(x).pow(3), (x,), (x,))[1], expected * x)


@pytest.mark.usefixtures("algorithm")
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_a_layer_returns_gradients_in_the_layout_of_its_images(layout: torch.memory_format) -> None:
    layer = ConvNorm(nn.Conv2d(3, 4, 3, padding=1)).to(memory_format=layout)
    x = torch.randn(2, 3, 6, 7).to(memory_format=layout).requires_grad_()
    found = []
    y = x * 1
    y.register_hook(found.append)
    layer(y).sum().backward()
    assert found[0].is_contiguous(memory_format=layout)


@pytest.mark.parametrize("padding", [0, 1])
def test_no_strided_convolution_sees_single_taps(padding: int) -> None:
    """oneDNN's weight gradient for few inputs is wrong then, channels last on CPUs with AVX2."""

    class Strides(TorchDispatchMode):
        found: ClassVar[list[list[int]]] = []

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.ops.aten.convolution.default:
                self.found.append(args[3])
            return func(*args, **(kwargs or {}))

    layer = nn.Conv2d(4, 6, 1, stride=(2, 3), padding=padding, bias=False)
    x = torch.randn(2, 4, 7, 7).to(memory_format=torch.channels_last)
    with Strides() as strides:
        y = ConvNorm(layer, affine=False)(x)
    assert strides.found == [[1, 1]]
    norms = layer.weight.flatten(1).norm(dim=1).view(-1, 1, 1)
    torch.testing.assert_close(y, layer(x) / norms)
