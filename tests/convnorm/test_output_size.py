"""`output_size`, as torch's transposed convolutions have it."""

import copy

import pytest
import reference
import torch
from torch import Tensor, nn

from convnorm import ConvNorm, convert

TRANSPOSED = {
    "1d": nn.ConvTranspose1d(4, 6, 4, stride=3, padding=1),
    "k3s2": nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1),
    "unpadded": nn.ConvTranspose2d(4, 6, (2, 3), stride=(3, 2), output_padding=1),
    "grouped dilated": nn.ConvTranspose2d(4, 6, 3, stride=3, padding=1, dilation=2, groups=2),
    "k1": nn.ConvTranspose2d(4, 6, 1, stride=3),
    "k1 padded": nn.ConvTranspose2d(4, 6, 1, stride=(3, 2), padding=1),
    "3d": nn.ConvTranspose3d(4, 6, 2, stride=2),
}
all_transposed = pytest.mark.parametrize("name", TRANSPOSED)


def layer_image_sizes(name: str) -> tuple[nn.Module, Tensor, list[tuple[int, ...]]]:
    """Return a layer without bias, images for it, and the smallest and the largest output size."""
    layer = copy.deepcopy(TRANSPOSED[name]).double()
    layer.bias = None
    x = torch.randn(2, 4, *(4, 5, 3)[: len(layer.stride)], dtype=torch.float64)
    least = [n - extra for n, extra in zip(layer(x).shape[2:], layer.output_padding, strict=True)]
    return layer, x, [tuple(least), tuple(n + s - 1 for n, s in zip(least, layer.stride, strict=True))]


@all_transposed
@pytest.mark.usefixtures("algorithm")
def test_every_size_is_what_linear_algebra_says(name: str) -> None:
    layer, x, sizes = layer_image_sizes(name)
    norm = ConvNorm(copy.deepcopy(layer), affine=False)
    for size in sizes:
        y = norm(x, output_size=size)
        assert y.shape == layer(x, output_size=size).shape
        layer.output_padding = tuple(n - low for n, low in zip(size, sizes[0], strict=True))
        torch.testing.assert_close(y, reference.output(layer, x))
        torch.testing.assert_close(norm(x[0], torch.Size([6, *size])), norm(x, [2, 6, *size])[0])


@all_transposed
def test_refuses_the_sizes_that_the_layer_refuses(name: str) -> None:
    layer, x, (least, most) = layer_image_sizes(name)
    for size in [n + 1 for n in most], [n - 1 for n in least], [*least, 1], [6, *most]:
        with pytest.raises(ValueError, match=r"output size|output_size"):
            layer(x, size)
        with pytest.raises(ValueError, match=r"output_size must be from \(.*\) to \(.*\), got"):
            ConvNorm(layer)(x, size)


def test_is_for_transposed_convolutions() -> None:
    with pytest.raises(TypeError, match="output_size is an argument of transposed convolutions only, got Conv2d"):
        ConvNorm(nn.Conv2d(3, 4, 3))(torch.randn(1, 3, 8, 8), (6, 6))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ConvTranspose2d(8, 3, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.up(self.down(x).relu(), output_size=x.size())], 1)


@pytest.mark.parametrize("size", [(8, 8), (7, 8), (9, 5)])
def test_a_u_net_of_any_image_size(size: tuple[int, int]) -> None:
    network = convert(UNet())
    y = network(torch.randn(2, 3, *size))
    assert y.shape == (2, 6, *size)
    y.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.slow
def test_compiles_to_one_graph_for_symbolic_sizes() -> None:
    torch.compiler.reset()
    norm, x = ConvNorm(nn.ConvTranspose2d(1, 2, 3, stride=2), affine=False), torch.randn(2, 1, 3, 4)
    compiled = torch.compile(norm, fullgraph=True, backend="eager", dynamic=True)
    torch.testing.assert_close(compiled(x, (8, 9)), norm(x, (8, 9)), rtol=1e-4, atol=1e-5)
