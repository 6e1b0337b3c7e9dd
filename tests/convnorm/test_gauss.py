"""The factors of real products."""

import pytest
import torch

from convnorm.fast.gauss import factors, frequencies


@pytest.mark.parametrize("n", [1, 2, 3, 8, 9])
def test_factors_are_of_the_fourier_transform(n: int) -> None:
    way, column = factors(n, range(n), real=False), torch.randn(n, dtype=torch.complex128)
    order, _ = frequencies(n, real=False)
    transform = torch.fft.fft(column, norm="ortho")[order]
    expected = torch.cat([transform.real + transform.imag, transform.real, transform.imag])
    torch.testing.assert_close(way @ torch.cat([column.real, column.imag]), expected)


@pytest.mark.parametrize("n", [1, 2, 3, 8, 9])
def test_of_conjugate_frequencies_one_is_left_out(n: int) -> None:
    three, one = frequencies(n, real=True)
    assert sorted([*three, *(n - g for g in three), *one]) == list(range(n))
    assert sorted(frequencies(n, real=False)[0]) == list(range(n))
