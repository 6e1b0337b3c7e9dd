"""Linear maps of rows, in both orders in memory."""

import pytest
import torch

from convnorm.fast import maps

DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])


def tolerance(dtype: torch.dtype) -> dict[str, float]:
    return {"rtol": 0, "atol": 1e-12 if dtype == torch.float64 else 0.05}


@DTYPES
def test_every_matrix_is_mapped(dtype: torch.dtype) -> None:
    matrix, x = torch.randn(5, 3, dtype=dtype), torch.randn(3, 4, 2, dtype=dtype)
    out = maps.empty(x, 5, 4, 2)
    maps.apply(matrix, maps.ordered(x, dtype), out)
    torch.testing.assert_close(out, torch.einsum("sr,rnc->snc", matrix, x), **tolerance(dtype))


@DTYPES
def test_memory_in_two_orders_is_the_same_memory(dtype: torch.dtype) -> None:
    both = maps.orders(torch.empty(0, dtype=dtype), 3, 4, 2)
    both.points.copy_(torch.arange(24).view(3, 4, 2))
    assert both.maps.shape == both.points.shape == (3, 4, 2)
    assert sorted(both.maps.flatten().tolist()) == list(range(24))
    rows, numbers, columns = both.maps.stride()
    assert columns == 1
    assert (numbers > rows) == maps.matrices_outermost(dtype)


@DTYPES
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_first_axis_is_transformed_there_and_back(dtype: torch.dtype, layout: torch.memory_format) -> None:
    x = torch.randn(2, 3, 5, 4, dtype=dtype).to(memory_format=layout)
    there, back = torch.randn(6, 5, dtype=dtype), torch.randn(7, 6, dtype=dtype)
    columns = maps.to_columns(there, x)
    expected = torch.einsum("fph,bchw->fpwbc", there.view(3, 2, 5), x)
    torch.testing.assert_close(columns, expected, **tolerance(dtype))
    in_any_order = torch.randn(3, 2, 4, 2, 3, dtype=dtype)
    expected = torch.einsum("hfp,fpwbc->bchw", back.view(7, 3, 2), in_any_order)
    torch.testing.assert_close(maps.from_columns(back, in_any_order), expected, **tolerance(dtype))


def test_their_gradients_can_be_differentiated() -> None:
    matrix = torch.randn(6, 5, dtype=torch.float64)
    x = torch.randn(2, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    columns = torch.randn(3, 2, 4, 2, 3, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradgradcheck(lambda x: maps.to_columns(matrix, x).pow(3), x)
    torch.autograd.gradcheck(lambda columns: maps.from_columns(matrix.T, columns), columns)
    torch.autograd.gradgradcheck(lambda columns: maps.from_columns(matrix.T, columns).pow(3), columns)
