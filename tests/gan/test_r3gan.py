"""R3GAN's networks against its code's parameter counts, and against plain functions of their weights."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gan.networks import R3GANDiscriminator, R3GANGenerator
from gan.networks.r3gan import _Block, _Down, _Up
from gan.runs.description import build, describe

COUNTS = [
    (R3GANGenerator, False, 20_732_160),
    (R3GANGenerator, True, 20_781_952),
    (R3GANDiscriminator, False, 20_683_776),
    (R3GANDiscriminator, True, 21_280_512),
]


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("network", "conditional", "published"), COUNTS)
def test_parameters_at_full_size_are_those_of_the_authors_code(network, conditional, published):
    with torch.device("meta"):
        assert parameters(network(32, num_classes=10, conditional=conditional)) == published
        assert parameters(_Block(768, 8)) == 2_583_552


def pair(size=16, conditional=True, width=8, channels=3):
    torch.manual_seed(0)
    facts = {"image_size": size, "channels": channels, "num_classes": 5, "conditional": conditional, "width": width}
    generator, discriminator = R3GANGenerator(**facts, latent_dim=6, blocks=1), R3GANDiscriminator(**facts, blocks=1)
    for parameter in (*generator.parameters(), *discriminator.parameters()):
        nn.init.normal_(parameter, std=0.3)
    return generator.double(), discriminator.double()


def block(state, name, x):
    h = F.leaky_relu(F.conv2d(x, state[f"{name}.conv1.weight"], state[f"{name}.conv1.bias"]), 0.2)
    groups = h.shape[1] // 16
    h = F.conv2d(h, state[f"{name}.conv2.weight"], state[f"{name}.conv2.bias"], padding=1, groups=groups)
    return x + F.conv2d(F.leaky_relu(h, 0.2), state[f"{name}.conv3.weight"])


def binomial_up(x):
    """Zeros between the pixels, then [1, 3, 3, 1] / 4 in both axes."""
    n, c, h, w = x.shape
    apart = x.new_zeros(n, c, 2 * h, 2 * w)
    apart[:, :, ::2, ::2] = x
    taps = torch.tensor([1.0, 3, 3, 1], dtype=x.dtype) / 4
    return F.conv2d(F.pad(apart, (2, 1, 2, 1)).flatten(0, 1)[:, None], taps.outer(taps)[None, None]).view(
        n, c, 2 * h, 2 * w
    )


def binomial_down(x):
    taps = torch.tensor([1.0, 3, 3, 1], dtype=x.dtype) / 8
    n, c, h, w = x.shape
    smooth = F.conv2d(F.pad(x, (1, 2, 1, 2)).flatten(0, 1)[:, None], taps.outer(taps)[None, None])
    return smooth[..., ::2, ::2].view(n, c, h // 2, w // 2)


@torch.no_grad()
def test_forward_passes_are_the_published_ones():
    generator, discriminator = pair(width=[16, 16, 8])
    z, y = torch.randn(2, 6, dtype=torch.float64), torch.tensor([3, 0])
    state = generator.state_dict()
    scale = torch.cat([z, state["embedding.weight"][y]], 1) @ state["linear.weight"].T
    x = block(state, "stages.0.0", state["basis"][None] * scale[:, :, None, None])
    x = block(state, "stages.1.0", binomial_up(x))
    x = block(state, "stages.2.0", binomial_up(F.conv2d(x, state["ups.1.conv.weight"])))
    images = F.conv2d(x, state["to_image.weight"])
    torch.testing.assert_close(generator(z, y), images, rtol=1e-10, atol=1e-10)

    state = discriminator.state_dict()
    x = block(state, "stages.0.0", F.conv2d(images, state["from_image.weight"]))
    x = block(state, "stages.1.0", F.conv2d(binomial_down(x), state["downs.0.conv.weight"]))
    x = block(state, "stages.2.0", binomial_down(x))
    features = (x * state["basis.weight"][:, 0]).sum((2, 3)) @ state["linear.weight"].T
    logits = (features * state["embedding.weight"][y]).sum(1)
    torch.testing.assert_close(discriminator(images, y), logits, rtol=1e-10, atol=1e-10)


def test_what_is_constant_stays_so_away_from_the_border():
    ones = torch.ones(1, 8, 8, 8)
    torch.testing.assert_close(_Up(8, 8)(ones)[..., 2:-2, 2:-2], torch.ones(1, 8, 12, 12))
    torch.testing.assert_close(_Down(8, 8)(ones)[..., 1:-1, 1:-1], torch.ones(1, 8, 2, 2))


def test_weights_start_as_published():
    network = R3GANDiscriminator(32, num_classes=10, conditional=True, width=64)
    first = network.stages[0][0]
    gain = math.sqrt(2 / 1.04) * 8**-0.25
    for weight, std in (
        (first.conv1.weight, gain / math.sqrt(64)),
        (first.conv2.weight, gain / math.sqrt(16 * 9)),
        (network.basis.weight, 1 / 4),
        (network.linear.weight, 1 / 8),
        (network.embedding.weight, 640**-0.5),
    ):
        assert float(weight.detach().std()) == pytest.approx(std, rel=0.1)
    x = torch.randn(2, 64, 4, 4)
    assert torch.equal(first(x, None), x), "a block starts as the identity"


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 32, 64])
def test_shapes(size, channels, conditional):
    generator, discriminator = pair(size, conditional, channels=channels)
    y = torch.tensor([0, 4, 2])
    images = generator(torch.randn(3, 6, dtype=torch.float64), y)
    assert images.shape == (3, channels, size, size)
    assert discriminator(images, y).shape == (3,)


def test_it_is_rebuilt_from_its_description():
    generator, _ = pair(width=[16, 8, 8])
    again = build(describe(generator), R3GANGenerator)
    assert again.width == [16, 8, 8]
    assert {name: p.shape for name, p in again.named_parameters()} == {
        name: p.shape for name, p in generator.named_parameters()
    }


@pytest.mark.slow
@pytest.mark.parametrize("part", [0, 1])
def test_compiled_it_computes_the_same(part):
    """By the graphs that are captured and differentiated; inductor would only translate them."""
    torch.compiler.reset()
    plain = pair()[part]
    compiled = copy.deepcopy(plain)
    compiled.compile(backend="aot_eager", dynamic=False)
    x = torch.randn(3, 6).double() if part == 0 else torch.randn(3, 3, 16, 16).double()
    for network in plain, compiled:
        network(x, torch.tensor([0, 4, 2])).sin().sum().backward()
    for ours, theirs in zip(plain.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: R3GANGenerator(50), "image_size must be 3 to 7 times the same power of two in height and width"),
        (lambda: R3GANGenerator(32, width=20), "width must be a multiple of 8, got 20"),
        (lambda: R3GANGenerator(32, width=[8, 8]), "width must have one number for each of 4 stages, got 2"),
        (lambda: R3GANDiscriminator(32, blocks=0), "blocks must be at least 1, got 0"),
        (lambda: R3GANGenerator(32, conditional=True), "conditional needs labelled data, but num_classes is 0"),
    ],
)
def test_what_does_not_fit_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
