"""The two ways from columns to points and back."""

import pytest
import torch

from convnorm.columns import forms, frequencies

CPU = torch.device("cpu")


@pytest.mark.parametrize("n", [1, 2, 3, 8, 9])
def test_additions_give_what_the_matrix_gives(n: int) -> None:
    way = forms(n, range(2, 7), False, torch.float64, CPU)
    assert way.half is not None
    column, room = torch.randn(10, 4, dtype=torch.float64), torch.full((2 * n * 4,), torch.nan, dtype=torch.float64)
    points, back = torch.empty(3 * n, 4, dtype=torch.float64), torch.empty_like(column)
    way.points(column, points, room)
    torch.testing.assert_close(points, way.matrix @ column)
    any_points = torch.randn_like(points)
    expected = way.matrix.T @ any_points
    way.columns(any_points, back, room)
    torch.testing.assert_close(back, expected)


@pytest.mark.parametrize("n", [1, 2, 3, 8, 9])
def test_points_are_of_the_fourier_transform(n: int) -> None:
    way, column = forms(n, range(n), False, torch.float64, CPU), torch.randn(n, dtype=torch.complex128)
    order, _ = frequencies(n, real=False)
    transform = torch.fft.fft(column, norm="ortho")[order]
    expected = torch.cat([transform.real + transform.imag, transform.real, transform.imag])
    torch.testing.assert_close(way.matrix @ torch.cat([column.real, column.imag]), expected)


@pytest.mark.parametrize("n", [1, 2, 3, 8, 9])
def test_of_conjugate_frequencies_one_is_left_out(n: int) -> None:
    three, one = frequencies(n, real=True)
    assert sorted([*three, *(n - g for g in three), *one]) == list(range(n))
    assert sorted(frequencies(n, real=False)[0]) == list(range(n))


def test_half_precision_takes_one_product() -> None:
    assert forms(8, range(8), False, torch.bfloat16, CPU).half is None
