import pytest
import torch
from fakes import Corners
from torch import nn

from gan.metrics.features import BFloat16, FeatureNetwork, checked, name_of, resize_of, weights_hash_of


def test_a_network_is_named_by_its_attribute_else_by_its_class():
    network = Corners()
    assert (name_of(network), resize_of(network)) == ("corners", "the network's own")
    network.name, network.resize = "swav", "none"
    assert (name_of(network), resize_of(network)) == ("swav", "none")


def test_weights_are_known_by_their_hash():
    network, other = Corners(), Corners()
    assert weights_hash_of(network) == weights_hash_of(BFloat16(other))
    other.scale.data.fill_(2)
    assert weights_hash_of(network) != weights_hash_of(BFloat16(other))
    other.weights_hash = 40 * "a"
    assert weights_hash_of(BFloat16(other)) == 16 * "a"


def test_a_feature_network_stays_in_evaluation_mode():
    network = FeatureNetwork()
    network.dropout = nn.Dropout()
    assert not network.train().dropout.training


def test_features_and_logits_are_passed_on_in_float32():
    features, logits = checked((torch.ones(2, 3, dtype=torch.bfloat16), torch.ones(2, 4, dtype=torch.float64)))
    assert features.dtype == logits.dtype == torch.float32
    assert checked((features, None))[1] is None


@pytest.mark.parametrize(
    ("returned", "described"),
    [
        (torch.ones(2, 3), r"a tensor \(2, 3\)"),
        ((torch.ones(2, 3, 1, 1), None), r"\(a tensor \(2, 3, 1, 1\), NoneType\)"),
        ((torch.ones(2, 3), 1, 2), r"\(a tensor \(2, 3\), int, int\)"),
        (None, "NoneType"),
    ],
)
def test_anything_else_is_refused(returned, described):
    with pytest.raises(ValueError, match=rf"must return \(features \(N, D\), .* got {described}"):
        checked(returned)


def test_bfloat16_rounds_and_says_so():
    class Linear(nn.Module):
        def forward(self, images):
            return images.flatten(1).float() @ torch.eye(4), None

    network = BFloat16(Linear())
    assert (network.name, network.resize) == ("linear_bf16", "the network's own")
    features, logits = network(torch.tensor([[[[1, 127], [129, 255]]]], dtype=torch.uint8))
    assert features.dtype == torch.float32
    assert logits is None
    assert features.tolist() == [[1, 127, 129, 255]]  # 8 bits of mantissa
    with torch.no_grad():
        assert BFloat16(_Thirds())(torch.zeros(1, 1, 1, 1))[0].item() != pytest.approx(1 / 3, rel=1e-4)


class _Thirds(nn.Module):
    def forward(self, images):
        return torch.full((1, 1), 1 / 3) @ torch.ones(1, 1), None
