"""The form in Triton, by Triton's interpreter on a CPU, against linear algebra in float64."""

import importlib
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import jvp, vmap

from convnorm import ConvNorm
from convnorm.fast import choice, gpu
from convnorm.fast.dft import positions
from convnorm.fast.gpu import availability
from convnorm.fast.preconditioner import preconditioner
from convnorm.functional import convolve
from convnorm.grid import full_grid
from convnorm.layers import by_output_channel

pytest.importorskip("triton")

# Relative errors (RMS). The interpreter cuts bfloat16 off where a GPU rounds, which doubles its errors.
BOUND = {("ieee", torch.float32): 2e-6, ("tf32", torch.float32): 1e-3, ("tf32", torch.bfloat16): 1.6e-2}


def fresh_copies() -> SimpleNamespace:
    """Import the kernels anew, for the interpreter or a compiler as the environment says."""
    names = "transforms", "products", "spectrum", "launch", "points"
    for name in names:
        sys.modules.pop(f"{gpu.__name__}.{name}", None)
        vars(gpu).pop(name, None)
    return SimpleNamespace(**{name: importlib.import_module(f"{gpu.__name__}.{name}") for name in reversed(names)})


@pytest.fixture(scope="module")
def kernels() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        copies = fresh_copies()
        try:
            copies.launch.to_points(torch.ones(1, 1, 1, 1), (1, 1), (range(1), range(1)), "ieee")
        except Exception as failure:
            if "only 0-dimensional arrays" not in str(failure):
                raise
            pytest.skip("the interpreter of Triton 3.6 needs numpy below 2.4")
        yield copies
    fresh_copies()


def error(found: Tensor, expected: Tensor) -> float:
    found, expected = found.detach(), expected.detach()
    return float((found.double() - expected).norm() / expected.norm())


# ---------------------------------------------------------------- the kernels one by one

# Square, rectangular; even, odd; small, large; the image's pixels and the strided positions of an output.
GRIDS = [
    ((6, 6), (range(4), range(4))),
    ((11, 9), (range(1, 9, 2), range(9))),
    ((9, 12), (range(2, 8, 2), range(1, 11, 3))),
    pytest.param((35, 34), (range(3, 35, 2), range(1, 33)), marks=pytest.mark.slow),
    pytest.param((67, 67), (range(3, 67), range(3, 67)), marks=pytest.mark.slow),
]


def points_of(x: Tensor, size: tuple[int, int], at: tuple[range, range]) -> Tensor:
    """Return what `to_points` returns, by FFT in float64."""
    (n, m), (first, second) = size, at
    grid = x.new_zeros(*x.shape[:2], n, m, dtype=torch.float64)
    grid[:, :, torch.tensor(first)[:, None], torch.tensor(second)] = x.double()
    share = torch.tensor([1 if 2 * f % n == 0 else 2 for f in range(n // 2 + 1)], dtype=torch.float64)
    transform = torch.fft.fft2(grid, norm="ortho")[:, :, : n // 2 + 1] * share.sqrt().unsqueeze(1)
    return torch.view_as_real(transform.permute(2, 3, 0, 1)).flatten(0, 1).transpose(2, 3)


@pytest.mark.parametrize(("size", "at"), GRIDS)
@pytest.mark.parametrize(("precision", "dtype"), BOUND)
@pytest.mark.parametrize("steps", [1, 2])
def test_transforms_and_their_adjoints(kernels, size, at, precision, dtype, steps: int, monkeypatch) -> None:
    if steps == 1 and max(size) > 20:
        pytest.skip("matrices of both axes are for small grids")
    monkeypatch.setattr(kernels.launch, "BOTH_UP_TO", 400 if steps == 1 else 0)
    x = torch.randn(1, 3, *(len(axis) for axis in at)).to(dtype).requires_grad_()
    expected = points_of(x, size, at)
    found = kernels.launch.to_points(x.detach(), size, at, precision)
    assert error(found, expected) < BOUND[precision, dtype]
    z = torch.randn(expected.shape).to(dtype)
    (expected,) = torch.autograd.grad(expected, x, z.double())
    found = kernels.launch.from_points(z, size, at, precision)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert error(found, expected.double()) < BOUND[precision, dtype]


@pytest.mark.parametrize(("precision", "dtype"), BOUND)
@pytest.mark.parametrize("conjugate", [False, True])
@pytest.mark.parametrize("shape", [(3, 5, 20), (130, 70, 67)])
def test_products(kernels, shape: tuple[int, ...], conjugate: bool, precision: str, dtype: torch.dtype) -> None:
    m, n, k = shape
    x, a = torch.randn(2, k, 2, m).to(dtype), torch.randn(2, 2, n, k).to(dtype)
    y, scale = torch.empty(2, m, 2, n, dtype=dtype), torch.rand(m, 2) + 0.5
    kernels.launch.multiply(x.permute(0, 2, 3, 1), a.mT, y.transpose(1, 2), precision, conjugate, scale)
    left = torch.complex(x[:, :, 0].double(), x[:, :, 1].double()).mT
    right = torch.complex(a[:, 0].double(), a[:, 1].double()).mT
    product = left @ (right.conj() if conjugate else right) * scale.double().T.unsqueeze(2)
    assert error(y, torch.stack([product.real, product.imag], 2)) < BOUND[precision, dtype]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("kernel", "dilation"), [((3, 3), (1, 1)), ((4, 2), (2, 3)), ((5, 5), (1, 1))])
def test_kernels_to_points_and_back(kernels, kernel, dilation, layout: torch.memory_format) -> None:
    size, taps = (12, 11), tuple(range(d * (k - 1), -1, -d) for k, d in zip(kernel, dilation, strict=True))
    weight = torch.randn(5, 7, *kernel).contiguous(memory_format=layout).double().requires_grad_()
    v = torch.rand(5, 7, 11) + 0.5
    rows = [torch.fft.fft(torch.eye(n, dtype=torch.complex128))[:, list(t)] for n, t in zip(size, taps, strict=True)]
    transform = torch.einsum("fu,gv,oiuv,ofg->fgoi", rows[0][:7], rows[1], weight.to(torch.complex128), v + 0j)
    expected = torch.stack([transform.real, transform.imag], 2).flatten(0, 1)
    found = kernels.launch.kernels_to_points(weight.detach().float(), v, size, taps, torch.float32)
    assert error(found, expected) < 1e-6
    z = torch.randn(expected.shape)
    (expected,) = torch.autograd.grad(expected, weight, z.double())
    scaled = (z.unflatten(0, (7, 11)) * v.permute(1, 2, 0)[:, :, None, :, None]).flatten(0, 1)
    found = kernels.launch.points_to_kernels(scaled, weight.detach().float(), size, taps, "ieee")
    assert found.stride() == weight.stride()
    assert error(found, expected) < 1e-6


@pytest.mark.parametrize(
    ("weight", "size", "dilation"),
    [
        (torch.randn(3, 5, 3, 3), (6, 6), (1, 1)),
        (torch.randn(2, 70, 4, 4) * 1e-20, (11, 9), (1, 1)),
        (torch.randn(2, 3, 5, 2) * 1e20, (12, 9), (2, 3)),
        (torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]).expand(2, 3, 3, 3), (6, 6), (1, 1)),
        (torch.zeros(2, 3, 3, 3), (6, 6), (1, 1)),
    ],
)
def test_the_preconditioner(kernels, weight: Tensor, size: tuple[int, int], dilation: tuple[int, int]) -> None:
    expected = preconditioner(weight.double(), size, dilation)
    found = kernels.launch.preconditioner(weight, size, dilation)
    torch.testing.assert_close(found.double(), expected, rtol=2e-6, atol=0)


# ---------------------------------------------------------------- whole layers

LAYERS = {
    "k3": (nn.Conv2d(3, 4, 3, 1, 1), (4, 4)),
    "k4s2": (nn.Conv2d(3, 4, 4, 2, 1), (8, 6)),
    "rectangle": (nn.Conv2d(2, 3, (3, 2), (2, 1), (1, 2), dilation=(2, 1)), (6, 5)),
    "transposed": (nn.ConvTranspose2d(3, 4, 4, 2, 1, output_padding=1), (3, 4)),
    "k4s2 of 16 pixels": (nn.Conv2d(3, 4, 4, 2, 1), (16, 16)),
    "k3 of 32 pixels": (nn.Conv2d(3, 4, 3, 1, 1), (32, 32)),
}


def multiply(x: Tensor, a: Tensor, y: Tensor, _: str, conjugate: bool = False, scale: Any = None) -> Tensor:
    """`launch.multiply` in torch: a program at every frequency takes the interpreter seconds."""
    left, right = (torch.complex(t[:, 0].float(), t[:, 1].float()) for t in (x, a))
    product = left @ (right.conj() if conjugate else right)
    if scale is not None:
        product = product * scale.flatten(1).T.unsqueeze(2)
    return y.copy_(torch.stack([product.real, product.imag], 1))


def blur(weight: Tensor) -> Tensor:
    """Return kernels that have (almost) no power at the highest frequencies, where V is largest."""
    rows = [torch.tensor({2: [1.0, 1], 3: [1.0, 2, 1], 4: [1.0, 3, 3, 1]}[k]) for k in weight.shape[2:]]
    return weight[..., :1, :1] * torch.outer(*rows)


@pytest.mark.parametrize(
    ("name", "precision", "dtype"),
    [
        ("k3", "ieee", torch.float32),
        ("k3", "tf32", torch.float32),
        *(
            pytest.param(name, "tf32", torch.bfloat16, marks=pytest.mark.slow if "pixels" in name else ())
            for name in LAYERS
        ),
    ],
)
@pytest.mark.parametrize("blurred", [False, True])
def test_outputs_and_gradients(kernels, name: str, precision: str, dtype, blurred: bool, monkeypatch) -> None:
    layer, size = LAYERS[name]
    if name != "k3" or dtype == torch.float32 or blurred:
        monkeypatch.setattr(kernels.launch, "multiply", multiply)
    grid, weight = full_grid(layer, size), by_output_channel(layer, layer.weight.detach())
    weight = blur(weight) if blurred else weight.clone()
    weight.requires_grad_()
    v = preconditioner(weight, grid.size, layer.dilation)
    x = torch.randn(1, layer.in_channels, *size).to(dtype).requires_grad_()
    exact = [x.detach().double().requires_grad_(), weight.detach().double().requires_grad_()]
    expected = convolve(layer, *exact, v.double(), grid)
    found = kernels.points.convolve(x, weight, v, positions(layer, grid), precision)
    assert found.dtype == dtype
    bound = BOUND[precision, dtype] * (100 if blurred and precision == "ieee" else 1)
    assert error(found, expected) < bound
    grad = torch.randn(expected.shape).to(dtype)
    found = torch.autograd.grad(found, [x, weight], grad)
    for ours, theirs in zip(found, torch.autograd.grad(expected, exact, grad.double()), strict=True):
        assert error(ours, theirs) < bound


def test_gradients_that_nobody_asks_for(kernels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels.launch, "multiply", multiply)
    layer, size = LAYERS["k3"]
    grid, weight = full_grid(layer, size), layer.weight.detach()
    v, at, x = preconditioner(weight, grid.size), positions(layer, grid), torch.randn(2, 3, *size)
    both = [x.clone().requires_grad_(), weight.clone().requires_grad_()]
    expected = torch.autograd.grad(kernels.points.convolve(*both, v, at).square().sum(), both)
    for i in range(2):
        inputs = [x.clone().requires_grad_(i == 0), weight.clone().requires_grad_(i == 1)]
        (found,) = torch.autograd.grad(kernels.points.convolve(*inputs, v, at).square().sum(), inputs[i])
        torch.testing.assert_close(found, expected[i])


# ---------------------------------------------------------------- where it is offered


@pytest.fixture
def everywhere(kernels, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Offer it on the CPU and prefer it; return which forms ran."""
    monkeypatch.setattr(availability, "DEVICE", "cpu")
    monkeypatch.setattr(availability, "usable", lambda device: True)
    monkeypatch.setattr(kernels.launch, "multiply", multiply)
    compare = choice._costs
    ran: list[str] = []

    def costs(*args: Any) -> dict[choice.Algorithm, float]:
        found = compare(*args)
        form = choice._triton if choice._triton in found else choice._plain
        ran.append(form.__name__)
        return {form: 0}

    monkeypatch.setattr(choice, "_costs", costs)
    return ran


def gradient_of_penalty(norm: ConvNorm, x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    (grad,) = torch.autograd.grad(norm(x).sin().sum(), x, create_graph=True)
    return list(torch.autograd.grad(grad.square().sum(), [x, norm.layer.weight]))


def test_second_derivatives(everywhere: list[str]) -> None:
    norm, x = ConvNorm(nn.Conv2d(3, 4, 3, padding=1), affine=False), torch.randn(2, 3, 4, 4)
    found = gradient_of_penalty(norm, x)
    expected = gradient_of_penalty(norm.double(), x.double())
    assert everywhere == ["_triton", "_plain"]
    for ours, theirs in zip(found, expected, strict=True):
        assert error(ours, theirs) < 2e-3


def test_many_gradients_at_once(everywhere: list[str]) -> None:
    norm, x = ConvNorm(nn.Conv2d(3, 4, 3, padding=1), affine=False), torch.randn(2, 3, 4, 4, requires_grad=True)
    y, asked = norm(x), [x, norm.layer.weight]
    assert everywhere == ["_triton"]
    directions = torch.randn(3, *y.shape)
    single = [torch.autograd.grad(y, asked, each, retain_graph=True) for each in directions]
    truth = [torch.stack(each).double() for each in zip(*single, strict=True)]
    batched = torch.autograd.grad(y, asked, directions, retain_graph=True, is_grads_batched=True)
    mapped = vmap(lambda each: torch.autograd.grad(y, asked, each, retain_graph=True))(directions)
    for found in batched, mapped:
        for ours, theirs in zip(found, truth, strict=True):
            assert error(ours, theirs) < 2e-3


def test_precisions(everywhere: list[str]) -> None:
    norm, x = ConvNorm(nn.Conv2d(3, 4, 3, padding=1)), torch.randn(2, 3, 4, 4)
    truth = norm.double()(x.double())
    norm.float()
    with torch.autocast("cpu", torch.bfloat16):
        half = norm(x)
    assert half.dtype == torch.bfloat16
    single = norm(x)
    convolutions = torch.backends.cudnn.conv
    before = convolutions.fp32_precision
    try:
        convolutions.fp32_precision = "ieee"
        norm(x)
    finally:
        convolutions.fp32_precision = before
    norm.half()(x.half())
    assert everywhere == ["_plain", "_triton", "_triton", "_plain", "_plain"]
    assert error(half, truth) < 2e-2
    assert error(single, truth) < 1e-3


def test_transforms_of_torch_func_and_compilers_take_plain_operations(everywhere: list[str]) -> None:
    norm, x = ConvNorm(nn.Conv2d(3, 4, 3, padding=1)), torch.randn(2, 3, 4, 4)
    truth = norm(x)
    assert everywhere.pop() == "_triton"
    found = vmap(lambda image: norm(image[None])[0])(x)
    assert error(found, truth.double()) < 1e-3
    assert error(jvp(norm, (x,), (x,))[1], (truth - norm.layer.bias.view(-1, 1, 1)).double()) < 1e-3
    program = torch.export.export(norm, (x,)).module()
    assert error(program(x), truth.double()) < 1e-3
    assert set(everywhere) == {"_plain"}


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (nn.Conv2d(4, 4, 3, groups=2), (5, 5)),
        (nn.Conv1d(4, 4, 3), (5,)),
        (nn.Conv2d(4, 4, 3, padding=1), (255, 1)),  # a grid of 257
    ],
)
def test_other_layers(layer: nn.Module, size: tuple[int, ...], everywhere: list[str]) -> None:
    ConvNorm(layer)(torch.randn(1, 4, *size))
    assert everywhere == ["_plain"]


def test_an_empty_batch(everywhere: list[str]) -> None:
    assert ConvNorm(nn.Conv2d(3, 4, 3))(torch.zeros(0, 3, 5, 5)).shape == (0, 4, 3, 3)
    assert everywhere == ["_plain"]


def test_a_device_without_a_working_triton_warns_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))

    class NoCompiler:
        def __enter__(self) -> None:
            raise RuntimeError("Failed to find C compiler\nmore")

        def __exit__(self, *_: Any) -> None: ...

    monkeypatch.setattr(torch.cuda, "device", lambda device: NoCompiler())
    availability.usable.cache_clear()
    with pytest.warns(UserWarning, match="Triton does not work on cpu .*C compiler.*slower forms"):
        assert not availability.usable(torch.device("cpu"))
    assert not availability.usable(torch.device("cpu"))
    availability.usable.cache_clear()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert not availability.usable(torch.device("cpu"))
    availability.usable.cache_clear()
