import math

import pytest
import torch
from fakes import statistics_of
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from gan.metrics.frechet import Frechet, Gaussian, frechet_distance, mean_and_covariance
from gan.metrics.statistics import FeatureBatch


def distance(x, y):
    return Frechet().compute(statistics_of(Gaussian(), x), statistics_of(Gaussian(), y), "inception")["fid"]


def diagonal(*variances):
    return torch.diag(torch.tensor(variances, dtype=torch.float64))


def random_features(n, d, seed=0, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=generator, dtype=torch.float64)
    return torch.randn(n, d, generator=generator, dtype=torch.float64) @ mix + shift


def test_of_two_gaussians_on_a_line():
    # (0 - 3)^2 + (1 - 2)^2 for standard deviations 1 and 2
    mean1, mean2 = torch.zeros(1, dtype=torch.float64), torch.full((1,), 3.0, dtype=torch.float64)
    assert frechet_distance(mean1, diagonal(1), mean2, diagonal(4)) == pytest.approx(10, rel=1e-12)


def test_does_not_depend_on_the_coordinates():
    rotation = torch.linalg.qr(random_features(3, 3))[0]
    zero = torch.zeros(3, dtype=torch.float64)
    rotated = [rotation @ covariance @ rotation.T for covariance in (diagonal(1, 4, 9), diagonal(25, 0, 9))]
    expected = (1 - 5) ** 2 + (2 - 0) ** 2 + (3 - 3) ** 2
    assert frechet_distance(zero, rotated[0], zero, rotated[1]) == pytest.approx(expected, rel=1e-7)


def test_of_covariances_that_do_not_commute():
    # tr((A B)^(1/2)) of 2x2 matrices is (tr(AB) + 2 det(AB)^(1/2))^(1/2), by Cayley and Hamilton
    a = torch.tensor([[2.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
    b = diagonal(1, 3)
    zero = torch.zeros(2, dtype=torch.float64)
    trace_of_root = math.sqrt((a @ b).trace() + 2 * math.sqrt(torch.linalg.det(a @ b)))
    assert frechet_distance(zero, a, zero, b) == pytest.approx(8 - 2 * trace_of_root, rel=1e-12)


def test_of_equal_sets_is_zero():
    x = random_features(50, 8)
    assert abs(distance(x, x.flip(0))) < 1e-9


def test_of_a_shifted_set_is_the_squared_shift():
    x = random_features(50, 8)
    assert distance(x, x + 2.0) == pytest.approx(8 * 4.0, rel=1e-9)


def test_of_fewer_images_than_features():
    # Two images each, at ±1 and at ±2 along different axes: variances 2 and 8, nothing in common
    x, y = torch.zeros(2, 2, 100, dtype=torch.float64)
    x[0, 0], x[1, 0], y[0, 1], y[1, 1] = 1, -1, 2, -2
    assert distance(x, y) == pytest.approx(10, rel=1e-12)
    # Along the same axis
    assert distance(x, 2 * x) == pytest.approx((math.sqrt(8) - math.sqrt(2)) ** 2, rel=1e-12)


def test_of_fewer_images_than_features_has_no_rounding_noise():
    # With centred features X and Y, tr((C1 C2)^(1/2)) is the sum of the singular values of X Y^T, divided by n - 1
    x, y = random_features(10, 200, seed=1), random_features(10, 200, seed=2)
    (X, C1), (Y, C2) = ((z - z.mean(0), torch.cov(z.T)) for z in (x, y))
    root = torch.linalg.svdvals(X @ Y.T).sum() / 9
    expected = (x.mean(0) - y.mean(0)).square().sum() + C1.trace() + C2.trace() - 2 * root
    assert distance(x, y) == pytest.approx(float(expected), rel=1e-10)


@pytest.mark.parametrize(("n", "m", "d"), [(500, 400, 16), (30, 50, 64)])
def test_equals_torch_fidelity(n, m, d):
    x, y = random_features(n, d, seed=1), random_features(m, d, seed=2, shift=0.5)
    expected = fid_statistics_to_metric(fid_features_to_statistics(x), fid_features_to_statistics(y), verbose=False)
    assert distance(x, y) == pytest.approx(expected["frechet_inception_distance"], rel=1e-6)


def test_statistics_are_the_mean_and_the_unbiased_covariance():
    x = random_features(23, 5, shift=100.0)
    mean, covariance = mean_and_covariance(statistics_of(Gaussian(), x.float()))
    torch.testing.assert_close(mean, x.float().double().mean(0), rtol=1e-12, atol=0)
    torch.testing.assert_close(covariance, torch.cov(x.float().double().T), rtol=1e-9, atol=1e-9)


def test_is_called_fid_for_the_papers_network_only():
    sums = statistics_of(Gaussian(), random_features(9, 2))
    assert Frechet().compute(sums, sums, "digits").keys() == {"fd_digits"}


@pytest.mark.parametrize(("samples", "references"), [(1, 1000), (1000, 1)])
def test_one_image_has_no_covariance(samples, references):
    with pytest.raises(ValueError, match=f"at least 2 images on either side, got {samples} .*and {references} of"):
        Frechet().check(FeatureBatch(torch.zeros(1, 64), None, 0, samples), references)


@pytest.mark.parametrize(("samples", "references"), [(64, 1000), (1000, 64)])
def test_warns_of_too_few_images(samples, references):
    with pytest.warns(UserWarning, match="64 images and 64 features"):
        Frechet().check(FeatureBatch(torch.zeros(1, 64), None, 0, samples), references)
