import pytest
import torch

from convnorm.modules import ConvNorm
from gan.norms import Conv, Spectral, normalize
from robustness.networks import ResNet, ResNet18, ResNet20


@pytest.mark.parametrize(("kind", "parameters"), [(ResNet18, 11_173_962), (ResNet20, 272_474)])
def test_has_the_published_number_of_parameters(kind, parameters):
    assert sum(each.numel() for each in kind().parameters()) == parameters


@pytest.mark.parametrize("norms", [[], [Conv()], [Spectral()], [Conv(), Spectral()]])
@pytest.mark.parametrize("size", [32, 48])
def test_every_norm_maps_images_to_logits_and_every_parameter_learns(norms, size):
    network = normalize(ResNet20(width=4, channels=1, num_classes=7), norms)
    logits = network(torch.randn(3, 1, size, size))
    assert logits.shape == (3, 7)
    logits.square().sum().backward()
    assert all(each.grad is not None for each in network.parameters())


def test_batch_norm_stays_behind_conv_norm():
    plain = sum(isinstance(each, torch.nn.BatchNorm2d) for each in ResNet20().modules())
    network = normalize(ResNet20(), [Conv()])
    assert sum(isinstance(each, torch.nn.BatchNorm2d) for each in network.modules()) == plain == 21
    assert sum(isinstance(each, ConvNorm) for each in network.modules()) == 21


def test_refuses_data_without_classes_and_empty_stages():
    with pytest.raises(ValueError, match="at least 2 classes, got 0"):
        ResNet20(num_classes=0)
    with pytest.raises(ValueError, match=r"widths and blocks_per_stage must be at least 1, got \[0, 0, 0\] and 3"):
        ResNet20(width=0)
    with pytest.raises(ValueError, match=r"got \[\] and 1"):
        ResNet([], 1)
