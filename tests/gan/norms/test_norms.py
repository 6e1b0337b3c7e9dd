import copy
from itertools import product

import pytest
import torch
from small_trainings import small_networks
from torch import nn

from convnorm import ConvNorm
from gan.losses import Hinge
from gan.module import GAN
from gan.norms import (
    LAYERS,
    ONI,
    Batch,
    BatchNorm,
    ConditionalBatch,
    ConditionalBatchNorm,
    Conv,
    Group,
    Instance,
    Layer,
    Mixture,
    Norm,
    NormSite,
    Orthogonal,
    Spectral,
    SpectralOperator,
    Weight,
    normalize,
)

OF_LAYERS = [Spectral(), Weight(), Conv(), Conv(affine=False), ONI(scale=2.0), Orthogonal(), SpectralOperator()]
OF_ACTIVATIONS = [Batch(), ConditionalBatch(), Layer(), Instance(), Group(4), Mixture()]
NORMS = [*OF_LAYERS, *OF_ACTIVATIONS]
COMBINATIONS = [
    [],
    *([norm] for norm in NORMS),
    [Spectral(), Batch()],
    [Conv(), Spectral()],
    [Spectral(), Conv()],
    [Conv(), Batch()],
    [Weight(), Layer()],
    [Spectral(), ConditionalBatch()],
    [Conv(), SpectralOperator()],
    [SpectralOperator(), Mixture()],
    [ONI(), Batch()],
]


def name(norms):
    return "+".join(type(norm).__name__ for norm in norms) or "none"


def test_every_norm_of_the_module_is_tested():
    ours = {norm for norm in Norm.__subclasses__() if norm.__module__.startswith("gan.norms")}
    assert {type(norm) for norm in NORMS} == ours


@pytest.mark.parametrize("part", ["generator", "discriminator"])
@pytest.mark.parametrize("norms", COMBINATIONS, ids=name)
def test_product_of_norms_and_networks(norms, part, architecture):
    plain = small_networks(architecture)[part == "discriminator"]
    inputs = torch.randn(4, 8) if part == "generator" else torch.randn(4, 1, 32, 32)
    y = torch.tensor([0, 3, 9, 3])
    shape = plain(inputs, y).shape
    network = normalize(plain, norms)
    assert network is plain

    output = network(inputs, y)
    assert output.shape == shape
    assert output.isfinite().all()
    (output * torch.randn_like(output)).sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []
    assert all(p.grad.isfinite().all() for p in network.parameters())

    twin = copy.deepcopy(network)
    reloaded = normalize(small_networks(architecture)[part == "discriminator"], norms)
    reloaded.load_state_dict(network.state_dict())
    expected = network.eval()(inputs, y)
    torch.testing.assert_close(twin.eval()(inputs, y), expected, rtol=0, atol=0)
    torch.testing.assert_close(reloaded.eval()(inputs, y), expected, rtol=0, atol=0)


LAYERS_AND_INPUTS = [
    (lambda: nn.Linear(6, 5), (4, 6)),
    (lambda: nn.Conv2d(6, 5, 3, padding=1), (4, 6, 8, 8)),
    (lambda: nn.Conv2d(6, 5, 4, stride=2, padding=1), (4, 6, 8, 8)),
    (lambda: nn.Conv2d(6, 5, 1), (4, 6, 8, 8)),
    (lambda: nn.Conv2d(6, 6, 3, padding=1, groups=3), (4, 6, 8, 8)),
    (lambda: nn.ConvTranspose2d(6, 5, 4, stride=2, padding=1), (4, 6, 8, 8)),
    (lambda: nn.Embedding(6, 5), None),
    (lambda: NormSite(6), (4, 6, 8, 8)),
]


class Around(nn.Module):
    """A network of one layer that says what it takes."""

    def __init__(self, layer, x):
        super().__init__()
        self.layer, self.x = layer, x

    def forward(self, x):
        return self.layer(x)

    def example_inputs(self):
        return (self.x,)


@pytest.mark.parametrize(
    ("norm", "case"),
    list(product([*OF_LAYERS, Batch(), Layer(), Instance(), Group(3), Mixture(2)], LAYERS_AND_INPUTS)),
    ids=lambda value: type(value).__name__ if isinstance(value, Norm) else type(value[0]()).__name__,
)
def test_product_of_norms_and_layers(norm, case):
    """A norm gives a module of the same shape for the sites it knows, and leaves the others alone."""
    torch.manual_seed(0)
    make, shape = case
    layer = make()
    x = torch.tensor([0, 1, 5, 2]) if shape is None else torch.randn(shape)
    expected = layer(x).shape
    known = isinstance(layer, norm.sites)
    result = norm.of(Around(layer, x))(layer)
    assert (result is not layer or hasattr(layer, "parametrizations")) == known
    y = result(x)
    assert y.shape == expected
    if known:
        y.square().sum().backward()
        assert all(parameter.grad is not None for parameter in result.parameters())
        clone = copy.deepcopy(result)
        clone.load_state_dict(result.state_dict())
        torch.testing.assert_close(clone.eval()(x), result.eval()(x), rtol=0, atol=0)


@pytest.mark.parametrize("norm", OF_LAYERS, ids=lambda norm: type(norm).__name__)
@pytest.mark.parametrize("make", [nn.Conv2d, nn.ConvTranspose2d])
def test_a_weight_of_zeros_can_be_normalized(norm, make):
    """R3GAN's blocks have one. What divides by lengths draws it anew; the others start as the plain layer does."""
    torch.manual_seed(0)
    layer, x = make(4, 6, 3), torch.randn(2, 4, 8, 8)
    nn.init.zeros_(layer.weight)
    expected = layer(x).detach()
    result = norm.of(Around(layer, x))(layer)
    y = result(x)
    (y * torch.randn_like(y)).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in result.parameters())
    assert any(parameter.grad.any() for name, parameter in result.named_parameters() if "bias" not in name)
    if isinstance(norm, Conv | Weight):
        torch.testing.assert_close(y, expected)
    else:
        assert y.isfinite().all()
        assert not torch.allclose(y, expected)


def test_one_of_zeros_can_be_normalized_twice():
    layer = nn.Linear(4, 6)
    nn.init.zeros_(layer.weight)
    weight = Spectral(power_iterations=50)(Weight()(layer)).weight
    assert float(torch.linalg.matrix_norm(weight.detach(), 2)) == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize(
    ("network", "norms", "missing"),
    [
        (lambda: nn.Sequential(nn.Linear(2, 2)), [Conv()], "Conv finds nothing to normalize in Sequential"),
        (lambda: nn.Sequential(nn.Linear(2, 2)), [Batch()], "Batch finds nothing to normalize in .*: no NormSite"),
        (lambda: nn.Sequential(nn.Conv2d(2, 2, 3)), [Spectral(), Layer()], "Layer finds nothing"),
        (lambda: nn.Sequential(NormSite(2)), [Batch(), Spectral()], "Spectral finds nothing"),
        (lambda: nn.Sequential(NormSite(2)), [Weight()], "Weight finds nothing"),
        (lambda: nn.Sequential(NormSite(2)), [ConditionalBatch()], "ConditionalBatch needs labelled data"),
        (lambda: nn.Sequential(NormSite(6)), [Group(4)], "4 groups do not divide 6 channels"),
        (lambda: nn.Sequential(nn.Linear(2, 2)), [Spectral()], None),
        (lambda: nn.Sequential(nn.Conv2d(2, 2, 3)), [Conv(), Spectral()], None),  # nothing left is not nothing there
        (lambda: nn.Sequential(nn.Conv2d(2, 2, 3), NormSite(2)), [Batch(), Layer()], None),
        (lambda: nn.Sequential(nn.Conv2d(2, 2, 3), NormSite(2)), [Conv(), Batch()], None),
    ],
)
def test_which_combinations_raise(network, norms, missing):
    if missing is None:
        normalize(network(), norms)
        return
    with pytest.raises(ValueError, match=missing):
        normalize(network(), norms)


def test_what_combinations_apply():
    _, discriminator = small_networks("sngan_cnn")
    normalize(discriminator, [Conv(), Spectral()])
    kinds = {name: type(module) for name, module in discriminator.named_modules()}
    assert kinds["convs.0"] is ConvNorm
    assert hasattr(discriminator.head.linear, "parametrizations")
    assert not hasattr(discriminator.convs[0].layer, "parametrizations")
    assert discriminator.convs[0].affine is not None
    assert normalize(small_networks("sngan_cnn")[1], [Conv(affine=False)]).convs[0].affine is None

    _, discriminator = small_networks("sngan_cnn")
    normalize(discriminator, [Spectral(), Batch()])
    assert hasattr(discriminator.convs[0], "parametrizations")
    assert all(isinstance(norm, BatchNorm) for norm in discriminator.norms)


def test_spectral_norm_of_every_layer_is_one():
    _, discriminator = small_networks("sngan_cnn")
    normalize(discriminator, [Spectral(power_iterations=50)])
    discriminator(torch.randn(1, 1, 32, 32))
    for module in discriminator.modules():
        if isinstance(module, LAYERS):
            top = torch.linalg.matrix_norm(module.weight.flatten(1), 2)
            assert float(top.detach()) == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("layer", [nn.Linear(7, 5), nn.Conv2d(7, 5, 3), nn.ConvTranspose2d(7, 5, 3)])
def test_weight_norm_has_one_gain_for_each_output(layer):
    gain = Weight()(layer).parametrizations.weight.original0
    assert gain.numel() == 5


@pytest.mark.parametrize(("norm", "groups"), [(Layer(), 1), (Instance(), 6), (Group(3), 3)])
def test_which_activations_are_normalized_together(norm, groups):
    """Those of an image in all its channels, in one, or in a group of neighbouring ones; then each has its gain."""
    torch.manual_seed(0)
    x, gain, bias = 5 + torch.randn(4, 6, 3, 2), torch.randn(6), torch.randn(6)
    module = norm(NormSite(6))
    module.load_state_dict({"weight": gain, "bias": bias})
    together = x.reshape(4, groups, -1)
    centred = together - together.mean(2, keepdim=True)
    normalized = (centred / centred.square().mean(2, keepdim=True).sqrt()).reshape(x.shape)
    expected = normalized * gain[:, None, None] + bias[:, None, None]
    torch.testing.assert_close(module(x, None), expected, atol=1e-3, rtol=0)


def test_conditional_batch_norm_starts_as_the_plain_one():
    torch.manual_seed(0)
    x = 5 + 3 * torch.randn(8, 6, 4, 4)
    norm = ConditionalBatchNorm(channels=6, num_classes=3)
    torch.testing.assert_close(norm(x, torch.arange(8) % 3), BatchNorm(6)(x))


def test_conditional_batch_norm_by_hand():
    norm = ConditionalBatchNorm(channels=1, num_classes=2)
    with torch.no_grad():
        norm.gain.weight[:] = torch.tensor([[1.0], [10.0]])
        norm.bias.weight[:] = torch.tensor([[0.0], [5.0]])
    x = torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1)  # mean 0, variance 1
    y = norm(x, torch.tensor([0, 1])).flatten()
    torch.testing.assert_close(y, torch.tensor([-1.0, 15.0]), atol=1e-4, rtol=0)


def test_the_last_norm_of_the_conditional_resnet_is_unconditional():
    generator = normalize(small_networks("sngan_resnet")[0], [ConditionalBatch()])
    assert isinstance(generator.norm, BatchNorm)
    assert generator.norm.affine
    assert isinstance(generator.blocks[0].norm1, ConditionalBatchNorm)


class Shifted(Norm):
    """A norm of one's own that uses labels."""

    sites = (NormSite,)

    class Shift(nn.Module):
        uses_labels = True

        def forward(self, x, y):
            return x + y.view(-1, 1, 1, 1)

    def apply(self, site):
        return self.Shift()


def test_a_norm_of_ones_own_makes_the_generator_conditional():
    networks = small_networks("dcgan", conditional=True)
    with pytest.raises(ValueError, match="the discriminator is conditional, but the generator is not"):
        GAN(*networks, Hinge())
    module = GAN(*networks, Hinge(), [Shifted()])
    assert not torch.equal(module.sample(2, torch.tensor([0, 0])), module.sample(2, torch.tensor([0, 9])))


def test_weights_of_a_normalized_network_are_those_it_was_built_with():
    """Initialization happens before the norms, and is not lost."""
    plain, _ = small_networks("sngan_cnn")
    weight = plain.convs[0].weight.clone()
    assert torch.equal(normalize(plain, [Conv()]).convs[0].layer.weight, weight)
