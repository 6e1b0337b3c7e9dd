"""What comes out where numbers are small, large, few or coarse, and whether it is what linear algebra says."""

import copy

import pytest
import torch
from test_modules import LAYERS, all_layers, image, responses
from torch import Tensor, nn

from convnorm import ConvNorm
from convnorm.functional import preconditioner
from convnorm.geometry import extend, geometry, rows

FLAT = [name for name, layer in LAYERS.items() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]


def through_linear_algebra(layer: nn.Module, x: Tensor) -> Tensor:
    """Preconditioned output by dense matrices: circulant from pixel to grid, circulant filter, rows that are kept."""
    x = extend(layer, x)
    grid, kernels = geometry(layer, x.shape[2:]), rows(layer, layer.weight).detach()
    (n, m), outputs, per_group = grid.size, len(kernels), kernels.shape[1]
    placed = torch.zeros(outputs, per_group, n, m, dtype=x.dtype)
    for u, tap_row in zip(grid.taps[0], kernels.unbind(2), strict=True):
        for v, tap in zip(grid.taps[1], tap_row.unbind(2), strict=True):
            placed[:, :, u % n, v % m] += tap
    impulse = torch.fft.ifft2(torch.fft.fft2(placed).abs().square().sum(1).rsqrt()).real  # of the filter, (O, n, m)
    result = torch.zeros(len(x), outputs, n, m, dtype=x.dtype)
    for o in range(outputs):
        first = o // (outputs // layer.groups) * per_group
        full = torch.zeros(len(x), n, m, dtype=x.dtype)
        for p, row in zip(grid.image[0], x[:, first : first + per_group].unbind(2), strict=True):
            for q, pixel in zip(grid.image[1], row.unbind(2), strict=True):
                for u, tap_row in zip(grid.taps[0], kernels[o].unbind(1), strict=True):
                    for v, tap in zip(grid.taps[1], tap_row.unbind(1), strict=True):
                        full[:, (p + u) % n, (q + v) % m] += pixel @ tap
        for a in range(n):
            for b in range(m):
                shifted = impulse[o].roll((a, b), (0, 1))
                result[:, o] += full[:, a, b].view(-1, 1, 1) * shifted
    vertical, horizontal = (list(places) for places in grid.window)
    return result[:, :, vertical][:, :, :, horizontal]


@pytest.mark.parametrize("name", FLAT)
@pytest.mark.usefixtures("algorithm")
def test_it_is_what_linear_algebra_says(name: str) -> None:
    layer = copy.deepcopy(LAYERS[name]).double()
    x = torch.randn(2, layer.in_channels, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    layer.bias = None
    torch.testing.assert_close(ConvNorm(layer, affine=False)(x), through_linear_algebra(layer, x))


@all_layers
@pytest.mark.usefixtures("algorithm")
def test_gradient_in_the_weight_with_the_spectrum_frozen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    norm = ConvNorm(copy.deepcopy(LAYERS[name]).double())
    frozen: dict[tuple[int, ...], Tensor] = {}

    def constant(weight: Tensor, size: tuple[int, ...], dilation: tuple[int, ...]) -> Tensor:
        return frozen.setdefault(tuple(size), preconditioner(weight, size, dilation))

    monkeypatch.setattr("convnorm.modules.preconditioner", constant)
    x = image(norm.layer, batch=1).double()

    def of_weight(weight: Tensor) -> Tensor:
        return torch.func.functional_call(norm, {"layer.weight": weight}, x)

    assert torch.autograd.gradcheck(of_weight, norm.layer.weight.detach().requires_grad_(), fast_mode=True)


@all_layers
@pytest.mark.usefixtures("algorithm")
def test_algorithms_agree_in_single_precision(name: str) -> None:
    single = ConvNorm(copy.deepcopy(LAYERS[name]))
    found = []
    for norm in single, copy.deepcopy(single).double():
        leaf = image(norm.layer).to(norm.layer.weight.dtype).requires_grad_()
        y = norm(leaf)
        found.append((y, *torch.autograd.grad(y.square().sum(), [leaf, norm.layer.weight, norm.affine.weight])))
    for ours, exact in zip(*found, strict=True):
        assert (ours - exact).norm() < 1e-5 * exact.norm()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@all_layers
def test_every_precision(name: str, dtype: torch.dtype) -> None:
    """Relative errors, root mean square, against float64: what README.md says."""
    if dtype == torch.float16 and "transposed 3d" in name:
        pytest.skip("torch has no such convolution of float16 on the CPU")
    exact, x = ConvNorm(copy.deepcopy(LAYERS[name]).double()), image(LAYERS[name])
    truth = exact(x.double())
    y = copy.deepcopy(exact).to(dtype)(x.to(dtype))
    assert y.dtype == dtype
    bound = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}[dtype]
    assert (y.double() - truth).norm() <= bound * truth.norm()


@all_layers
def test_autocast(name: str) -> None:
    norm = ConvNorm(copy.deepcopy(LAYERS[name]))
    x = image(norm.layer).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = norm(x)
    assert y.dtype == torch.bfloat16
    y.float().square().sum().backward()
    assert all(
        p.grad is not None and p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in norm.parameters()
    )
    truth = norm(x)
    assert (y - truth).norm() <= 2e-2 * truth.norm()


@pytest.mark.parametrize("scale", [1e-20, 1e20])
@all_layers
def test_tiny_and_huge_weights_are_those_of_order_one(name: str, scale: float) -> None:
    norm = ConvNorm(copy.deepcopy(LAYERS[name]))
    x = image(norm.layer).requires_grad_()
    before = norm(x)
    norm.layer.weight.data *= scale
    after = norm(x)
    torch.testing.assert_close(after, before)
    gradients = torch.autograd.grad(after.sum(), [x, norm.layer.weight, norm.affine.weight])
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("kernel", ["zero", "spectral zero"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@all_layers
def test_kernels_without_power(name: str, dtype: torch.dtype, kernel: str) -> None:
    if dtype == torch.float16 and "transposed 3d" in name:
        pytest.skip("torch has no such convolution of float16 on the CPU")
    norm = ConvNorm(copy.deepcopy(LAYERS[name])).to(dtype)
    nn.init.zeros_(norm.layer.weight)
    if kernel == "spectral zero":  # [1, -1] along the last axis: no power at frequency zero
        norm.layer.weight.data[..., :2] = torch.tensor([1.0, -1.0])[: norm.layer.weight.shape[-1]]
    x = image(norm.layer).to(dtype).requires_grad_()
    y = norm(x)
    gradients = torch.autograd.grad(y.sum(), [x, norm.layer.weight, norm.affine.weight])
    assert y.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients)


@all_layers
def test_empty_batch(name: str) -> None:
    norm = ConvNorm(copy.deepcopy(LAYERS[name]))
    x = image(norm.layer)[:0].requires_grad_()
    y = norm(x)
    assert y.shape == LAYERS[name](x).shape
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.shape == x.shape


@all_layers
def test_images_of_one_pixel(name: str) -> None:
    layer = copy.deepcopy(LAYERS[name])
    x = torch.randn(3, layer.in_channels, *[1] * (layer.weight.dim() - 2)).requires_grad_()
    try:
        shape = layer(x).shape
    except RuntimeError:
        with pytest.raises((ValueError, RuntimeError)):
            ConvNorm(layer)(x)
        return
    y = ConvNorm(layer)(x)
    assert y.shape == shape
    y.square().sum().backward()
    assert y.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_rows_stay_of_norm_one_in_half_precision() -> None:
    """A kernel of little power at one frequency, where rounding it first would be all error."""
    layer = nn.Conv2d(1, 1, 3, padding=2, bias=False).double()
    nn.init.ones_(layer.weight)
    norm = ConvNorm(layer, affine=False)
    x = torch.eye(36, dtype=torch.float64).view(36, 1, 6, 6)
    truth = responses(norm, x)
    coarse = copy.deepcopy(norm).bfloat16()(x.bfloat16()).double().flatten(1).T
    assert (coarse - truth).norm() < 1e-2 * truth.norm()


@pytest.mark.parametrize("stride", [1, 2])
def test_it_keeps_little_for_the_backward_pass(stride: int) -> None:
    """At most 1.5 times what a convolution and a batch norm keep: their inputs, and ours are a little larger."""

    def kept(module: nn.Module) -> int:
        storages = {}

        def pack(tensor: Tensor) -> Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            module(torch.randn(8, 16, 32, 32, requires_grad=True))
        return sum(storage.nbytes() for storage in storages.values())

    layer = nn.Conv2d(16, 16, 2 + stride, stride, padding=1)
    assert kept(ConvNorm(layer)) <= 1.5 * kept(nn.Sequential(layer, nn.BatchNorm2d(16)))
