import pytest
import torch
from fakes import statistics_of

from gan.metrics.statistics import FeatureBank


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_holds_all_features_in_order(batch_size):
    features = torch.arange(40.0).view(20, 2)
    assert torch.equal(statistics_of(FeatureBank(), features, batch_size=batch_size)["features"], features)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_holds_evenly_spaced_features_beyond_its_limit(batch_size):
    features = torch.arange(10.0)[:, None]
    kept = statistics_of(FeatureBank(max_images=4), features, batch_size=batch_size)["features"]
    assert kept[:, 0].tolist() == [0, 2, 5, 7]  # floor of 0, 2.5, 5, 7.5
