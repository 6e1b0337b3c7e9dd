"""Products with constant matrices, in both orders in memory, against explicit sums and an explicit DFT."""

import pytest
import torch
from torch import Tensor

from convnorm.fast import transform
from convnorm.fast.gauss import alternating

both_orders = pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
both_formats = pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])


def tolerance(dtype: torch.dtype) -> dict[str, float]:
    return {"rtol": 0, "atol": 1e-12} if dtype == torch.float64 else {"rtol": 0.02, "atol": 0.05}


def test_the_two_data_types_have_the_two_orders() -> None:
    assert transform.small_products(torch.empty(0, dtype=torch.float64))
    assert not transform.small_products(torch.empty(0, dtype=torch.bfloat16))
    assert not transform.small_products(torch.empty(0, dtype=torch.float64), torch.bfloat16)
    assert not transform.small_products(torch.empty(0, device="meta"))


@both_orders
@pytest.mark.parametrize("leading", [(), (2,)])
@pytest.mark.parametrize("per_matrix", [False, True])
def test_every_matrix_is_multiplied(dtype: torch.dtype, leading: tuple[int, ...], per_matrix: bool) -> None:
    matrix = torch.randn(*([2] if per_matrix else []), 5, 3, dtype=dtype)
    x = torch.randn(*leading, 3, 4, 6, dtype=dtype)
    expected = torch.einsum("...sr,...rnc->...snc", matrix, x)
    torch.testing.assert_close(transform.transform(matrix, x), expected, **tolerance(dtype))


@both_orders
def test_it_writes_into_memory_of_its_own_order(dtype: torch.dtype) -> None:
    matrix, x = torch.randn(5, 3, dtype=dtype), torch.randn(3, 4, 6, dtype=dtype)
    out = transform.empty(x, 5, 4, 6)
    transform.transform(matrix, x, out=out)
    torch.testing.assert_close(out, torch.einsum("sr,rnc->snc", matrix, x), **tolerance(dtype))


@both_orders
@pytest.mark.parametrize("shape", [(5, 4, 6), (2, 5, 4, 6)])
def test_empty_has_the_order_of_a_product(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    out = transform.empty(torch.empty(0, dtype=dtype), *shape)
    assert out.shape == shape
    assert out.dtype == dtype
    matrix, x = torch.randn(5, 3, dtype=dtype), torch.randn(*shape[:-3], 3, *shape[-2:], dtype=dtype)
    assert out.stride() == transform.transform(matrix, x).stride()
    assert len({*out.copy_(torch.arange(out.numel()).view(shape)).flatten().tolist()}) == out.numel()


def explicit_dft(x: Tensor) -> Tensor:
    """The DFT along the height of (B, C, H, W) at the non-negative frequencies, by its sum, complex (F, W, B, C)."""
    n = x.shape[2]
    at = torch.arange(n, dtype=torch.float64)
    wave = torch.exp(-2j * torch.pi / n * torch.outer(at[: n // 2 + 1], at))
    return torch.einsum("fh,bchw->fwbc", wave, x.to(torch.complex128))


@both_orders
@both_formats
@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_to_frequencies_is_the_dft_of_the_height(
    dtype: torch.dtype, memory_format: torch.memory_format, n: int
) -> None:
    x = torch.randn(2, 3, n, 4, dtype=dtype).to(memory_format=memory_format)
    u = transform.to_frequencies(alternating(n, range(n)).to(dtype), x)
    expected = explicit_dft(x)
    # Orthonormal, and each frequency stands for its conjugate too.
    scale = torch.tensor([(1 if 2 * f % n == 0 else 2) / n for f in range(n // 2 + 1)], dtype=torch.float64).sqrt()
    expected = torch.cat([expected.real, expected.imag], 1) * scale.view(-1, 1, 1, 1)
    torch.testing.assert_close(u, expected.to(dtype), **tolerance(dtype))


@both_orders
@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_from_frequencies_is_the_inverse_dft(dtype: torch.dtype, n: int) -> None:
    x = torch.randn(2, 3, n, 4, dtype=dtype)
    matrix = alternating(n, range(n)).to(dtype)
    torch.testing.assert_close(
        transform.from_frequencies(matrix.T, transform.to_frequencies(matrix, x)), x, **tolerance(dtype)
    )


@both_orders
def test_from_frequencies_computes_only_the_positions_of_its_matrix(dtype: torch.dtype) -> None:
    z = torch.randn(4, 10, 2, 3, dtype=dtype).transpose(0, 1).contiguous().transpose(0, 1)  # in another order
    matrix = torch.randn(3, 8, dtype=dtype)
    expected = torch.einsum("hfp,fpwbc->bchw", matrix.view(3, 4, 2), z.view(4, 2, 5, 2, 3))
    torch.testing.assert_close(transform.from_frequencies(matrix, z), expected, **tolerance(dtype))


@pytest.mark.parametrize("small", [True, False])
def test_gradients_can_be_differentiated(small: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transform, "small_products", lambda x, dtype=None: small)
    matrix = torch.randn(6, 5, dtype=torch.float64)
    x = torch.randn(2, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    z = torch.randn(3, 4, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: transform.to_frequencies(matrix, x), x)
    assert torch.autograd.gradgradcheck(lambda x: transform.to_frequencies(matrix, x).pow(3), x)
    assert torch.autograd.gradcheck(lambda z: transform.from_frequencies(matrix.T, z), z)
    assert torch.autograd.gradgradcheck(lambda z: transform.from_frequencies(matrix.T, z).pow(3), z)
    matrices = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: transform.transform(matrix, x).pow(3), matrices)
