from itertools import pairwise

import pytest
import torch
from torch import nn

from gan.networks import (
    DCGANDiscriminator,
    DCGANGenerator,
    SNGANCNNDiscriminator,
    SNGANCNNGenerator,
    SNGANResNetDiscriminator,
    SNGANResNetGenerator,
)
from gan.norms import Batch, ConditionalBatch, normalize


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("generator", "discriminator", "published"),
    [
        # The paper's tables 3 and 4, as counted in public implementations
        (SNGANCNNGenerator, SNGANCNNDiscriminator, (3_812_355, 2_935_873)),
        (SNGANResNetGenerator, SNGANResNetDiscriminator, (4_276_739, 1_053_825)),
    ],
)
def test_parameters_at_32_pixels_are_the_published_ones(generator, discriminator, published):
    assert (parameters(normalize(generator(32), [Batch()])), parameters(discriminator(32))) == published


def test_conditional_resnet_has_the_parameters_that_studiogan_logs():
    generator = normalize(SNGANResNetGenerator(32, num_classes=10), [ConditionalBatch()])
    discriminator = SNGANResNetDiscriminator(32, num_classes=10, conditional=True)
    assert parameters(generator) == 4_304_387
    assert parameters(discriminator) == 1_055_105


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("size", "generator", "discriminator"),
    [
        *((size, DCGANGenerator, DCGANDiscriminator) for size in (32, 64, 128)),
        *((size, SNGANCNNGenerator, SNGANCNNDiscriminator) for size in (32, 48)),
        *((size, SNGANResNetGenerator, SNGANResNetDiscriminator) for size in (32, 48, 64, 128)),
    ],
)
def test_shapes_and_ranges(size, channels, generator, discriminator):
    narrow = {"width_multiplier": 1 / 32} if "ResNet" in generator.__name__ else {"width": 4}
    g = generator(size, channels, num_classes=5, **narrow)
    d = discriminator(size, channels, num_classes=5, conditional=True, **narrow)
    z, y = torch.randn(3, g.latent_dim), torch.tensor([0, 4, 2])
    images = g(z, y)
    assert images.shape == (3, channels, size, size)
    assert images.abs().max() <= 1
    assert d(images, y).shape == (3,)


def test_published_widths_of_the_larger_resnets():
    # Parameters counted by hand from the tables of the authors' code, layer by layer, biases in all layers
    def up(i, o):
        return (9 * i * o + o) + (9 * o * o + o) + (i * o + o)

    def down(i, o):
        return (9 * i * i + i) + (9 * i * o + o) + (i * o + o)

    def first(o):
        return (27 * o + o) + (9 * o * o + o) + (3 * o + o)

    widths = [1024, 512, 256, 128, 64]
    g64 = 129 * 16 * 1024 + sum(up(i, o) for i, o in pairwise(widths)) + 27 * 64 + 3
    assert parameters(SNGANResNetGenerator(64)) == g64
    assert parameters(SNGANResNetGenerator(128)) == g64 + up(1024, 1024)
    d64 = first(64) + sum(down(o, i) for i, o in pairwise(widths)) + 1025
    assert parameters(SNGANResNetDiscriminator(64)) == d64
    # the sixth block neither halves nor widens: its skip is the identity
    assert parameters(SNGANResNetDiscriminator(128)) == d64 + 2 * (9 * 1024 * 1024 + 1024)


def test_dcgan_weights_start_as_published():
    generator = DCGANGenerator(64)
    for layer in generator.modules():
        if isinstance(layer, nn.ConvTranspose2d) and layer.weight.numel() > 10_000:
            assert float(layer.weight.detach().mean()) == pytest.approx(0, abs=1e-3)
            assert float(layer.weight.detach().std()) == pytest.approx(0.02, rel=0.02)
            assert not layer.bias.any()


def test_resnet_weights_start_as_published():
    # Xavier uniform: variance gain² · 2 / (fan in + fan out)
    block = SNGANResNetDiscriminator(32).blocks[0]
    assert float(block.conv1.weight.detach().var()) == pytest.approx(2 * 2 / (9 * 128 + 9 * 128), rel=0.03)
    assert float(block.skip.weight.detach().var()) == pytest.approx(2 / (128 + 128), rel=0.03)


def test_the_skip_of_a_block_sees_the_resized_input():
    """A 1x1 convolution commutes with pooling: the cheaper order computes the published block."""
    block = SNGANResNetDiscriminator(32, width_multiplier=1 / 16).blocks[0]
    x = torch.randn(2, 8, 16, 16)
    residual = block.conv2(block.conv1(x.relu()).relu())
    published = nn.functional.avg_pool2d(residual + block.skip(x), 2)
    torch.testing.assert_close(block(x, None), published)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DCGANGenerator(100), "got 100; the nearest that work are 96 or 112"),
        (lambda: DCGANGenerator((64, 100)), r"got \[64,100\]; the nearest that work are \[64,96\] or \[64,112\]"),
        (lambda: DCGANGenerator((64, 256)), r"in height and width .*, got \[64,256\]"),
        (lambda: DCGANDiscriminator(4), "got 4; the nearest that work are 6 or 8"),
        (lambda: DCGANDiscriminator(0), "got 0; the nearest that work are 6 or 8"),
        (lambda: DCGANDiscriminator((1, 2, 3)), r"image_size must be a number or \[height, width\], got \(1, 2, 3\)"),
        (lambda: SNGANCNNGenerator(36), "a multiple of 8 in height and width, got 36; the nearest that works is 32"),
        (lambda: SNGANCNNGenerator((64, 90)), r"got \[64,90\]; the nearest that works is \[64,88\]"),
        (lambda: SNGANResNetGenerator(16), r"\(8 to 32\), got 16; the nearest that work are 24 or 32"),
        (lambda: SNGANCNNGenerator(32, channels=4), r"channels must be 1 \(grayscale\) or 3 \(RGB\), got 4"),
        (lambda: DCGANDiscriminator(32, conditional=True), "conditional needs labelled data"),
        (lambda: SNGANResNetGenerator(32, width_multiplier=0), "width_multiplier must be positive, got 0"),
    ],
)
def test_what_does_not_fit_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
