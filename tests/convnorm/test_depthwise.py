"""The depthwise filter's own gradients against those of the convolution that it is."""

import pytest
import torch
import torch.nn.functional as F

from convnorm.fast.depthwise import filter_channels


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (4, 4), (9, 3), (12, 16)])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (1, 5), (5, 1), (5, 5), (7, 5), (3, 11)])
def test_gradients(kernel: tuple[int, int], size: tuple[int, int]) -> None:
    leaves = [torch.randn(shape, dtype=torch.float64) for shape in ((3, 4, *size), (4, 1, *kernel), (4,))]
    outcomes = []
    for convolve in (
        filter_channels,
        lambda x, weight, bias: F.conv2d(x, weight, bias, padding=[k // 2 for k in kernel], groups=4),
    ):
        inputs = [leaf.clone().requires_grad_() for leaf in leaves]
        y = convolve(*inputs)
        outcomes.append((y, *torch.autograd.grad((y * y.detach().cos()).sum(), inputs)))
    torch.testing.assert_close(*outcomes)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_the_gradient_of_a_wide_weight_comes_in_its_layout(layout: torch.memory_format) -> None:
    weight = torch.randn(4, 1, 5, 5).to(memory_format=layout).requires_grad_()
    x = torch.randn(2, 4, 8, 8).to(memory_format=layout)
    (gradient,) = torch.autograd.grad(filter_channels(x, weight, None).sum(), weight)
    assert gradient.stride() == weight.stride()
