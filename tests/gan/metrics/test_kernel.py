import numpy as np
import pytest
import torch
from fakes import statistics_of
from torch_fidelity.metric_kid import kid_features_to_metric

from gan.metrics.kernel import KernelDistance, polynomial_kernel, squared_mmd
from gan.metrics.statistics import FeatureBank, FeatureBatch


def features(n, d=6, seed=0, shift=0.0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + shift


def distance(score, x, y, network="inception"):
    return score.compute(statistics_of(FeatureBank(), x), statistics_of(FeatureBank(), y), network)


def test_kernel_by_hand():
    x, y = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    torch.testing.assert_close(polynomial_kernel(x, y), torch.tensor([[6.5**3, 1.0]]))


def test_squared_mmd_by_hand():
    # k(0, 0) = k(0, 1) = 1 and k(1, 1) = 8: within (0, 1) 1, within (1, 1) 8, between them (1 + 1 + 8 + 8) / 4
    x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [1.0]])
    assert squared_mmd(x, y) == pytest.approx(1 + 8 - 2 * 4.5)


def test_is_unbiased():
    # The mean over all ways of choosing 2 of 4 points a set is the estimate from whole sets
    x, y = features(4).double(), features(4, seed=1).double()
    pairs = [torch.tensor(pair) for pair in ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))]
    mean = np.mean([float(squared_mmd(x[i], y[j])) for i in pairs for j in pairs])
    assert mean == pytest.approx(float(squared_mmd(x, y)), rel=1e-12)


def test_equals_torch_fidelity():
    x, y = features(70), features(60, seed=1, shift=0.3)
    expected = kid_features_to_metric(
        x.double(), y.double(), kid_subsets=10, kid_subset_size=40, rng_seed=2020, verbose=False
    )
    got = distance(KernelDistance(subsets=10, subset_size=40), x, y)
    assert got["kid"] == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-9)
    assert got["kid_std"] == pytest.approx(expected["kernel_inception_distance_std"], rel=1e-9)


def test_is_named_after_any_other_network():
    got = distance(KernelDistance(subsets=1, subset_size=5), features(9), features(9), "digits")
    assert got.keys() == {"kd_digits", "kd_digits_std"}


def test_refuses_what_it_cannot_compute():
    with pytest.raises(ValueError, match="subsets must be at least 1, got 0"):
        KernelDistance(subsets=0)
    with pytest.raises(ValueError, match="subset_size must be at least 2, got 1"):
        KernelDistance(subset_size=1)
    with pytest.raises(ValueError, match="generated and of reference images, 500, got 1000"):
        KernelDistance().check(FeatureBatch(torch.zeros(1, 2), None, 0, 2000), 500)
