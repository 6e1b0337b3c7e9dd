"""The norm of each layer as it acts, against Lanczos on the layer itself."""

import pytest
import torch
from small_trainings import small_networks
from test_norms import Around
from torch import nn

from convnorm.spectra import operator_norm
from gan.norms import SpectralOperator, normalize

CONVOLUTIONS = [
    lambda: nn.Conv2d(6, 5, 3, padding=1),
    lambda: nn.Conv2d(6, 5, 4, stride=2, padding=1),
    lambda: nn.Conv2d(6, 9, 1),
    lambda: nn.Conv2d(6, 6, 3, stride=2, padding=1, groups=3),
    lambda: nn.Conv2d(4, 5, (3, 2), stride=(3, 1), dilation=2, padding=(2, 0)),
    lambda: nn.ConvTranspose2d(6, 5, 4, stride=2, padding=1),
    lambda: nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1, output_padding=1, groups=2),
]


@pytest.mark.parametrize("size", [(8, 8), (9, 7)])
@pytest.mark.parametrize("make", CONVOLUTIONS)
def test_a_converged_layer_has_the_norm_of_its_scale(make, size):
    torch.manual_seed(0)
    layer = make()
    network = normalize(Around(layer, torch.zeros(1, layer.in_channels, *size)), [SpectralOperator(scale=1.7)])
    for _ in range(1000):
        network.layer.weight  # noqa: B018 (each look is a step)
    assert operator_norm(network.layer, size) == pytest.approx(1.7, rel=1e-3)


def test_matrices_have_the_norm_of_their_scale():
    torch.manual_seed(0)
    for layer in nn.Linear(7, 5), nn.Embedding(6, 4):
        layer = SpectralOperator(scale=0.5)(layer)
        for _ in range(500):
            layer.weight  # noqa: B018
        assert float(torch.linalg.matrix_norm(layer.weight.detach(), 2)) == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize("part", [0, 1])
def test_sizes_are_those_that_the_layers_see(part, architecture):
    """In a whole network: every convolution's operator norm is 1, found from its own input."""
    network = small_networks(architecture)[part]
    inputs = network.example_inputs()
    network = normalize(network, [SpectralOperator(power_iterations=200)])
    sizes = {}
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_pre_hook(lambda _, x, name=name: sizes.update({name: x[0].shape[2:]}))
    with torch.no_grad():
        for _ in range(6):
            network(*inputs)
    layers = dict(network.named_modules())
    assert sizes
    for name, size in sizes.items():
        assert operator_norm(layers[name], tuple(size)) == pytest.approx(1, rel=2e-3), name


def test_training_passes_iterate_and_evaluation_does_not():
    layer = nn.Conv2d(3, 4, 3, padding=1)
    layer = normalize(Around(layer, torch.zeros(1, 3, 6, 6)), [SpectralOperator()]).layer
    before = layer.parametrizations.weight[0].v.clone()
    layer.eval().weight  # noqa: B018
    assert torch.equal(layer.parametrizations.weight[0].v, before)
    layer.train().weight  # noqa: B018
    assert not torch.equal(layer.parametrizations.weight[0].v, before)


def test_the_gradient_is_that_of_the_quotient():
    layer = nn.Conv2d(2, 3, 3, padding=1, dtype=torch.float64)
    layer = normalize(Around(layer.float(), torch.zeros(1, 2, 5, 5)), [SpectralOperator(2.0)]).double().layer.eval()
    divide = layer.parametrizations.weight[0]
    assert torch.autograd.gradcheck(divide, layer.parametrizations.weight.original)


class Mute(nn.Module):
    """A network that says what it takes and never calls its layer."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 3)

    def forward(self, x):
        return x

    def example_inputs(self):
        return (torch.zeros(1, 1, 4, 4),)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda: nn.Sequential(nn.Conv2d(1, 1, 3)), "Sequential must have a method example_inputs"),
        (Mute, "never calls Conv2d"),
        (lambda: Around(nn.Conv2d(1, 1, 3, padding="same"), torch.zeros(1, 1, 4, 4)), "padding must be a number"),
        (
            lambda: Around(nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"), torch.zeros(1, 1, 4, 4)),
            "must be a number of zeros",
        ),
    ],
)
def test_what_cannot_be_normalized(network, message):
    with pytest.raises(ValueError, match=message):
        normalize(network(), [SpectralOperator()])
