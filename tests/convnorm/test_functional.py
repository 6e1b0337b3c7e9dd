from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import convnorm.fast.preconditioner
from convnorm import functional
from convnorm.fast.preconditioner import _power
from convnorm.functional import all_frequencies, precondition, preconditioner

both_forms = pytest.mark.parametrize(
    "preconditioner", [functional.preconditioner, convnorm.fast.preconditioner.preconditioner], ids=["plain", "fast"]
)


def inverse_norms(weight: Tensor, size: tuple[int, ...]) -> Tensor:
    """The definition, on kernels wrapped around the grid, in float64."""
    padded = torch.zeros(*weight.shape[:2], *size, dtype=torch.float64)
    for tap in torch.cartesian_prod(*(torch.arange(k) for k in weight.shape[2:])).view(-1, weight.dim() - 2):
        where = tuple(int(t) % n for t, n in zip(tap, size, strict=True))
        padded[(..., *where)] += weight[(..., *tap)].double()
    power = torch.fft.fftn(padded, dim=tuple(range(2, weight.dim()))).abs().square().sum(1)
    return power[:, : size[0] // 2 + 1].rsqrt()


@both_forms
@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((64, 1, 3, 3), (34, 34)),  # the two where cancellation is worst
        ((32, 1, 5, 5), (20, 20)),
        ((8, 16, 4, 4), (19, 19)),
        ((5, 3, 3, 3), (9, 12)),
        ((5, 3, 1, 3), (7, 9)),
        ((6, 4, 1, 1), (5, 5)),
        ((6, 4, 5, 5), (5, 5)),  # an image of one pixel: lags wrap
        ((6, 4, 5, 4), (4, 3)),  # a grid smaller than the kernel
        ((6, 4, 7), (20,)),
        ((4, 3, 2, 3, 3), (5, 6, 4)),
        ((8, 1, 13, 13), (20, 21)),  # from here on the kernels are transformed
        ((8, 1, 12, 13), (7, 6)),
        ((4, 2, 12, 16), (40, 40)),
        ((3, 2, 300), (320,)),
    ],
)
def test_preconditioner_is_its_definition(preconditioner, shape: tuple[int, ...], size: tuple[int, ...]) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected = inverse_norms(weight, size)
    v = preconditioner(weight, size)
    assert v.dtype == torch.float32
    torch.testing.assert_close(v.double(), expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(preconditioner(weight.double(), size), expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("shape", [(5, 3, 7), (5, 3, 3, 4), (4, 1, 13, 13), (3, 2, 2, 3, 3)])
def test_power_needs_no_scatter_and_few_operations(shape: tuple[int, ...]) -> None:
    """A scatter in float64 adds in any order on a GPU, and each operation is a launch there."""
    names: list[str] = []

    class Note(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if "view" not in str(func) and not func.is_view:
                names.append(str(func))
            return func(*args, **(kwargs or {}))

    arguments = torch.randn(shape), [20] * (len(shape) - 2), [1] * (len(shape) - 2)
    _power(*arguments)  # makes the constants
    with Note():
        _power(*arguments)
    assert not any("index" in name or "scatter" in name for name in names)
    assert len(names) <= 10


@both_forms
def test_preconditioner_dilated_is_that_of_the_kernel_with_zeros_between(preconditioner) -> None:
    weight = torch.randn(4, 3, 3, 2, dtype=torch.float64)
    spread = torch.zeros(4, 3, 5, 4, dtype=torch.float64)
    spread[:, :, ::2, ::3] = weight
    torch.testing.assert_close(preconditioner(weight, (9, 8), (2, 3)), preconditioner(spread, (9, 8)))


@both_forms
def test_preconditioner_of_a_delta_is_flat(preconditioner) -> None:
    weight = torch.zeros(1, 1, 3, 3)
    weight[0, 0, 0, 2] = -4
    torch.testing.assert_close(preconditioner(weight, (6, 7)), torch.full((1, 4, 7), 0.25))


@both_forms
@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e15, 1e20])
def test_preconditioner_is_inverse_to_scale(preconditioner, scale: float) -> None:
    weight = torch.randn(4, 3, 3, 3)
    torch.testing.assert_close(preconditioner(weight * scale, (8, 8)) * scale, preconditioner(weight, (8, 8)))


@both_forms
def test_spectral_zero_and_zero_kernel_stay_bounded(preconditioner) -> None:
    weight = torch.ones(2, 1, 3, 3)  # a box has zeros on every grid that 3 divides
    weight[1] = 0
    v = preconditioner(weight, (12, 12))
    assert v[0].max() == pytest.approx(1e4 / 3)
    assert torch.equal(v[1], torch.ones(7, 12))


@both_forms
@pytest.mark.parametrize(("argument", "size", "dilation"), [("size", (8,), None), ("dilation", (8, 8), (0, 1))])
def test_preconditioner_names_what_is_wrong(
    preconditioner, argument: str, size: tuple[int, ...], dilation: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=f"{argument} must be 2 positive numbers"):
        preconditioner(torch.ones(1, 1, 3, 3), size, dilation)


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 5), (6, 6), (7, 4), (19, 19), (34, 34)])
def test_precondition_filters_by_v(size: tuple[int, int]) -> None:
    y = torch.randn(2, 3, *size)
    v = preconditioner(torch.randn(3, 2, 3, 3), size)
    whole = all_frequencies(v, size)
    assert whole.shape == (3, *size)
    expected = torch.fft.ifft2(torch.fft.fft2(y.double()) * whole)
    assert expected.imag.abs().max() < 1e-12
    atol = 1e-6 * float(expected.abs().max())
    torch.testing.assert_close(precondition(y, v).double(), expected.real, rtol=0, atol=atol)


def test_precondition_is_its_own_adjoint() -> None:
    u, v = torch.randn(2, 1, 3, 9, 8, dtype=torch.float64)
    filter_ = preconditioner(torch.randn(3, 2, 4, 4, dtype=torch.float64), (9, 8))
    torch.testing.assert_close((precondition(u, filter_) * v).sum(), (u * precondition(v, filter_)).sum())


@pytest.mark.parametrize("shape", [(1, 8, 8), (4, 8, 9), (4, 10, 8), (4, 8, 1), (4, 8), (4, 2, 8, 8)])
def test_precondition_refuses_the_preconditioner_of_other_channels_or_another_grid(shape: tuple[int, ...]) -> None:
    v = preconditioner(torch.randn(shape[0], 2, *[1] * len(shape[1:])), shape[1:])
    with pytest.raises(ValueError, match="preconditioner must be of shape"):
        precondition(torch.randn(2, 4, 8, 8), v)


def test_precondition_exports_with_any_batch() -> None:
    class Filter(torch.nn.Module):
        def forward(self, y: Tensor, v: Tensor) -> Tensor:
            return precondition(y, v)

    y, v = torch.randn(2, 3, 9, 8), preconditioner(torch.randn(3, 2, 3, 3), (9, 8))
    batch = torch.export.Dim("batch")
    program = torch.export.export(Filter(), (y, v), dynamic_shapes={"y": {0: batch}, "v": None})
    y = torch.randn(5, 3, 9, 8)
    torch.testing.assert_close(program.module()(y, v), precondition(y, v))
