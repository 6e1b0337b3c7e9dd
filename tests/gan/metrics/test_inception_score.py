import pytest
import torch
from fakes import statistics_of
from torch_fidelity.metric_isc import isc_features_to_metric

from gan.metrics.inception_score import ClassMarginals, InceptionScore, split_of_image
from gan.metrics.statistics import FeatureBatch


def score(logits, splits=10, batch_size=7):
    inception_score = InceptionScore(splits)
    return inception_score.compute(
        statistics_of(inception_score.statistics, torch.zeros(len(logits), 1), logits, batch_size), {}, "inception"
    )


def test_is_one_where_nothing_is_recognized():
    assert score(torch.zeros(40, 10)) == pytest.approx({"is": 1, "is_std": 0}, abs=1e-12)


def test_is_the_number_of_classes_where_all_are_recognized_and_equally_frequent():
    assert score(1e3 * torch.eye(10).repeat(4, 1), splits=1) == pytest.approx({"is": 10, "is_std": 0}, abs=1e-12)


def test_of_two_splits_is_their_mean_and_deviation():
    # One class in the first split, two in the second: scores 1 and 2
    first = split_of_image(total=8, splits=2) == 0
    logits = torch.zeros(8, 2)
    logits[first, 0] = 1e3
    logits[~first, torch.tensor([0, 0, 1, 1])] = 1e3
    assert score(logits, splits=2) == pytest.approx({"is": 1.5, "is_std": 0.5}, abs=1e-12)


@pytest.mark.parametrize("n", [100, 103])
def test_equals_torch_fidelity(n):
    logits = 3 * torch.randn(n, 12, generator=torch.Generator().manual_seed(0))
    expected = isc_features_to_metric(logits, splits=10, shuffle=True, rng_seed=2020)
    got = score(logits)
    assert got["is"] == pytest.approx(expected["inception_score_mean"], rel=1e-12)
    assert got["is_std"] == pytest.approx(expected["inception_score_std"], rel=1e-9)


def test_does_not_depend_on_the_batches():
    logits = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    assert score(logits, batch_size=50) == pytest.approx(score(logits, batch_size=3), rel=1e-12)


def test_is_named_after_any_other_network():
    sums = statistics_of(ClassMarginals(1), torch.zeros(5, 1), torch.zeros(5, 3))
    assert InceptionScore(1).compute(sums, {}, "digits").keys() == {"is_digits", "is_digits_std"}


def test_refuses_what_it_cannot_compute():
    with pytest.raises(ValueError, match="splits must be at least 1, got 0"):
        InceptionScore(splits=0)
    with pytest.raises(ValueError, match="splits must be at most half the number of generated images, 19, got 10"):
        InceptionScore().check(FeatureBatch(torch.zeros(1, 2), torch.zeros(1, 2), 0, 19), 1000)
    InceptionScore().check(FeatureBatch(torch.zeros(1, 2), torch.zeros(1, 2), 0, 20), 1000)
