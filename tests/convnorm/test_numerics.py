"""What comes out where numbers are small, large, few or coarse, and whether it is what linear algebra says."""

import copy

import pytest
import reference
import torch
from test_modules import LAYERS, all_layers, image
from torch import Tensor, nn

from convnorm import ConvNorm
from convnorm.functional import preconditioner

torch.manual_seed(0)  # what other modules drew before must not matter
GEOMETRIES = LAYERS | {
    "all at once": nn.Conv2d(4, 6, (3, 2), stride=(2, 3), padding=(5, 2), dilation=(2, 3)),
    "reflect same": nn.Conv2d(4, 6, (4, 2), padding="same", dilation=(1, 3), padding_mode="reflect"),
    "transposed all at once": nn.ConvTranspose2d(
        4, 6, (3, 2), stride=(1, 3), padding=(1, 0), output_padding=(0, 2), dilation=(2, 3)
    ),
    "transposed o > p": nn.ConvTranspose2d(4, 6, 3, stride=3, padding=1, output_padding=(2, 1)),
    "transposed k1": nn.ConvTranspose2d(3, 3, 1, stride=(2, 2), output_padding=(0, 2), dilation=(2, 3)),
}
all_geometries = pytest.mark.parametrize("name", GEOMETRIES)


def without_bias(name: str) -> tuple[nn.Module, Tensor]:
    """Return a layer in double precision, and images for it."""
    layer = copy.deepcopy(GEOMETRIES[name]).double()
    layer.bias = None
    size = (4, 5, 3)[: layer.weight.dim() - 2]
    return layer, torch.randn(2, layer.in_channels, *size, dtype=torch.float64)


@all_geometries
def test_the_reference_is_the_layer_where_it_does_not_normalize(name: str) -> None:
    layer, x = without_bias(name)
    torch.testing.assert_close(reference.output(layer, x, normalized=False), layer(x))


@all_geometries
@pytest.mark.usefixtures("algorithm")
def test_it_is_what_linear_algebra_says(name: str) -> None:
    layer, x = without_bias(name)
    torch.testing.assert_close(ConvNorm(layer, affine=False)(x), reference.output(layer, x))


@all_layers
@pytest.mark.usefixtures("algorithm")
def test_gradient_in_the_weight_with_the_preconditioner_frozen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    norm = ConvNorm(copy.deepcopy(LAYERS[name]).double())
    frozen: dict[tuple[int, ...], Tensor] = {}

    def constant(weight: Tensor, size: tuple[int, ...], dilation: tuple[int, ...]) -> Tensor:
        return frozen.setdefault(tuple(size), preconditioner(weight, size, dilation))

    monkeypatch.setattr("convnorm.modules.average.preconditioner", constant)
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
@pytest.mark.usefixtures("algorithm")
def test_every_precision(name: str, dtype: torch.dtype) -> None:
    """Relative errors, root mean square, against linear algebra in float64: what README.md says."""
    if dtype == torch.float16 and "transposed 3d" in name:
        pytest.skip("torch has no such convolution of float16 on the CPU")
    layer, x = copy.deepcopy(LAYERS[name]).double(), image(LAYERS[name])
    truth = reference.output(layer, x.double())
    if layer.bias is not None:
        truth += layer.bias.detach().view(-1, *[1] * (x.dim() - 2))
    y = ConvNorm(layer).to(dtype)(x.to(dtype))
    assert y.dtype == dtype
    bound = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}[dtype]
    assert (y.double() - truth).norm() <= bound * truth.norm()


@pytest.mark.usefixtures("algorithm")
@pytest.mark.parametrize("create_graph", [False, True])
def test_gradients_that_are_asked_for_under_autocast(create_graph: bool) -> None:
    """As a gradient penalty does: the preconditioner's own precision stays what it was."""
    norm, x = ConvNorm(copy.deepcopy(LAYERS["k4s2"])), image(LAYERS["k4s2"]).requires_grad_()
    asked = [x, *norm.parameters()]

    def gradients(under: bool) -> tuple[Tensor, ...]:
        with torch.autocast("cpu", torch.bfloat16):
            y = norm(x).float().square().sum()
        with torch.autocast("cpu", torch.bfloat16, enabled=under):
            return torch.autograd.grad(y, asked, create_graph=create_graph)

    for ours, theirs in zip(gradients(True), gradients(False), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.usefixtures("algorithm")
def test_gradients_of_a_layer_that_is_applied_twice() -> None:
    norm = ConvNorm(nn.Conv2d(3, 3, 3, padding=1)).double()
    nn.init.normal_(norm.affine.weight)
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64, requires_grad=True)

    def loss(*inputs: Tensor) -> Tensor:
        return norm(norm(x).sin()).square().sum()

    asked = [x, *norm.parameters()]
    with_graph = torch.autograd.grad(loss(), asked, create_graph=True)
    torch.testing.assert_close(with_graph, torch.autograd.grad(loss(), asked))
    filter_and_bias = norm.affine.weight, norm.layer.bias
    assert torch.autograd.gradcheck(loss, filter_and_bias)
    assert torch.autograd.gradgradcheck(loss, filter_and_bias)


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


@pytest.mark.parametrize("scale", [1e-24, 1e-28, 1e-32, 1e-36, 1e-40, 0.0])
@all_layers
def test_dying_filters_stay_finite(name: str, scale: float) -> None:
    norm = ConvNorm(copy.deepcopy(LAYERS[name]), momentum=0.5)
    with torch.no_grad():
        norm.layer.weight.mul_(scale)
    x = image(norm.layer).requires_grad_()
    y = norm(x)
    found = torch.autograd.grad(y.square().sum(), [x, norm.layer.weight, norm.affine.weight])
    assert all(tensor.isfinite().all() for tensor in (y, *found, norm.running_preconditioner))


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


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-3), (torch.bfloat16, 1e-2), (torch.float16, 3e-3)])
@pytest.mark.usefixtures("algorithm")
def test_a_blur_keeps_its_precision(groups: int, dtype: torch.dtype, bound: float) -> None:
    """At its zero frequency there is next to no power: rounded before it is amplified, all would be error."""
    binomial = torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64)
    layer = nn.Conv2d(4, 4, 3, padding=2, groups=groups, bias=False).double()
    layer.weight.data = torch.rand_like(layer.weight[:, :, :1, :1]) * torch.outer(binomial, binomial)
    norm = ConvNorm(layer)
    x = torch.randn(3, 4, 9, 9, dtype=torch.float64)
    truth, coarse = norm(x), copy.deepcopy(norm).to(dtype)(x.to(dtype)).double()
    assert (coarse - truth).norm() < bound * truth.norm()
    if dtype == torch.bfloat16:
        with torch.autocast("cpu", dtype):
            assert (copy.deepcopy(norm).float()(x.float()) - truth).norm() < bound * truth.norm()
            assert norm(x).dtype == torch.float64, "as a plain layer's"


@pytest.mark.usefixtures("algorithm")
def test_zeros_of_some_frequencies_do_not_make_the_others_overflow() -> None:
    """At the highest frequency of an even grid a blur has no power at all, and V is 10,000 times as large."""
    binomial = torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64)
    layer = nn.Conv2d(16, 16, 3, padding=1, bias=False).double()
    layer.weight.data = torch.rand_like(layer.weight[:, :, :1, :1]) * torch.outer(binomial, binomial)
    norm, x = ConvNorm(layer), torch.rand(8, 16, 32, 32, dtype=torch.float64)  # bright: what is large is the mean
    truth, coarse = norm(x), copy.deepcopy(norm).half()(x.half()).double()
    assert (coarse - truth).norm() < 3e-3 * truth.norm()


@pytest.mark.parametrize("stride", [1, 2])
def test_it_saves_little_for_the_backward_pass(stride: int) -> None:
    """At most 1.5 times what a convolution and a batch norm save."""

    def saved(module: nn.Module) -> int:
        storages = {}

        def pack(tensor: Tensor) -> Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            module(torch.randn(8, 16, 32, 32, requires_grad=True))
        return sum(storage.nbytes() for storage in storages.values())

    layer = nn.Conv2d(16, 16, 2 + stride, stride, padding=1)
    assert saved(ConvNorm(layer)) <= 1.5 * saved(nn.Sequential(layer, nn.BatchNorm2d(16)))
