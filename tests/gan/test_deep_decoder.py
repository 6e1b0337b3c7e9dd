"""Deep Decoder: its size, what it computes by hand, as a generator, and the example."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
from small_trainings import fit, small_networks
from torch import nn
from torch.nn import functional as F

from convnorm import ConvNorm
from gan.losses import Hinge
from gan.module import GAN
from gan.networks import DeepDecoder
from gan.norms import Batch, Conv, Instance, Spectral, normalize

EXAMPLE = Path(__file__).parents[2] / "examples" / "deep_decoder.py"


def small(**arguments):
    torch.manual_seed(0)
    return DeepDecoder(**{"image_size": 32, "channels": 1, "latent_dim": 8, "width": 6, "doublings": 3, **arguments})


@pytest.mark.parametrize(("width", "count"), [(64, 25_536), (128, 100_224)])
def test_it_has_the_parameters_of_the_paper(width, count):
    """6 k² + 15 k, for 512 pixels; the linear map of z belongs to the generator alone."""
    network = normalize(DeepDecoder(512, width=width), [Instance()])
    assert network.volume == (width, 16, 16)
    decoder = [p for name, p in network.named_parameters() if not name.startswith("project")]
    assert sum(parameter.numel() for parameter in decoder) == count


def test_it_is_the_network_one_would_write_by_hand():
    """Convolution, bilinear upsampling (not in the last block), ReLU, batch norm; a convolution and a sigmoid."""
    network = normalize(small(channels=3), [Batch()])
    x = torch.rand(2, *network.volume)
    layers = []
    for number, block in enumerate(network.blocks):
        norm = nn.BatchNorm2d(6)
        norm.load_state_dict(block.norm.state_dict())
        conv = nn.Conv2d(6, 6, 1, bias=False)
        conv.load_state_dict(block.conv.state_dict())
        up = [nn.Upsample(scale_factor=2, mode="bilinear")] if number < 3 else []
        layers += [conv, *up, nn.ReLU(), norm]
    last = nn.Conv2d(6, 3, 1, bias=False)
    last.load_state_dict(network.to_image.state_dict())
    by_hand = nn.Sequential(*layers, last, nn.Sigmoid())
    torch.testing.assert_close((network.decode(x) + 1) / 2, by_hand(x))


def test_batch_norm_of_one_image_is_the_channel_norm_in_training():
    channel, batch = (normalize(small(), [norm]) for norm in (Instance(), Batch()))
    x = torch.rand(1, *channel.volume)
    torch.testing.assert_close(batch.decode(x), channel.decode(x))
    assert not torch.allclose(batch.eval().decode(x), channel.eval().decode(x))


def test_conv_norm_makes_unit_rows():
    network = normalize(small(bias=True), [Conv()])
    conv = network.blocks[0].conv
    assert isinstance(conv, ConvNorm)
    x = torch.randn(1, 6, 4, 4)
    rows = F.normalize(conv.layer.weight.flatten(1), dim=1)
    torch.testing.assert_close(conv(x), F.conv2d(x, rows[:, :, None, None], conv.layer.bias))


def test_it_trains_as_a_generator(tmp_path):
    module = GAN(small(), small_networks("dcgan")[1], Hinge(), [Batch()], [Spectral()])
    before = {name: value.clone() for name, value in module.generator.named_parameters()}
    fit(module, 2).save_checkpoint(tmp_path / "run.ckpt")
    assert not [name for name, value in module.generator.named_parameters() if torch.equal(value, before[name])]
    checkpoint = torch.load(tmp_path / "run.ckpt", weights_only=True)
    assert torch.equal(GAN.from_checkpoint(checkpoint).sample(2), module.eval().sample(2))


@pytest.mark.parametrize("size", [(32, 64), 48])
def test_sizes(size):
    image = small(image_size=size)(torch.randn(2, 8))
    assert image.shape[2:] == (size if isinstance(size, tuple) else (size, size))
    assert image.abs().max() <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 36}, "sides must be multiples of 8 and at least 16 with 3 doublings, got 36x36"),
        ({"image_size": 8}, "got 8x8"),
        ({"doublings": 0}, "doublings must be at least 1, got 0"),
        ({"channels": 2}, "channels must be 1 .* or 3"),
    ],
)
def test_sizes_that_do_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        small(**arguments)


@pytest.mark.slow
def test_the_example_runs(tmp_path, monkeypatch, capsys):
    arguments = ["--norm", "channel", "conv", "--iterations", "2", "--width", "4", "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), *arguments])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    assert "norm     parameters   last   best" in capsys.readouterr().out
    assert (tmp_path / "deep_decoder.png").stat().st_size > 10_000
