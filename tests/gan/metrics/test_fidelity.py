import pytest
import torch
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from gan.metrics import TorchFidelity

IMAGES = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


class Means(FeatureExtractorBase):
    def __init__(self, name, features_list, feature_extractor_weights_path=None, **kwargs):
        super().__init__(name, features_list)
        if feature_extractor_weights_path == "broken":
            raise RuntimeError("invalid hash value\nmore")
        torch.rand(1)

    @staticmethod
    def get_provided_features_list():
        return "other", "means"

    @staticmethod
    def get_default_feature_layer_for_metric(metric):
        return {"fid": "means"}[metric]

    def forward(self, images):
        assert self.features_list == ["means"]
        assert images.shape[1] == 3
        return (images.float().mean((2, 3)),)


@pytest.fixture(autouse=True)
def means(monkeypatch):
    monkeypatch.setitem(FEATURE_EXTRACTORS_REGISTRY, "means-v1", Means)


def test_features_are_those_of_the_extractor():
    network = TorchFidelity("means-v1")
    assert network.name == "means_v1"
    features, logits = network(IMAGES)
    assert torch.equal(features, IMAGES.float().mean((2, 3)))
    assert logits is None
    assert torch.equal(network(IMAGES[:, :1])[0], features[:, :1].expand(-1, 3))


def test_loading_draws_no_random_number():
    state = torch.get_rng_state()
    TorchFidelity("means-v1")(IMAGES)
    assert torch.equal(torch.get_rng_state(), state)


def test_choices_are_listed():
    with pytest.raises(ValueError, match=r"extractor must be one of .*dinov2-vit-b-14.*vgg16.*InceptionV3.*got 'swav'"):
        TorchFidelity("swav")


def test_weights_that_cannot_be_had_are_explained_in_one_line():
    with pytest.raises(FileNotFoundError) as raised:
        TorchFidelity("means-v1", weights_path="broken")(IMAGES)
    assert str(raised.value) == (
        "means-v1 could not be loaded from weights_path broken (RuntimeError: invalid hash value)"
    )
