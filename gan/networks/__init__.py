"""Generators and discriminators: plain PyTorch, one architecture a file, no normalization inside."""

from gan.networks.base import Discriminator, Generator
from gan.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from gan.networks.deep_decoder import DeepDecoder
from gan.networks.exported import load, read_facts
from gan.networks.r3gan import R3GANDiscriminator, R3GANGenerator
from gan.networks.sngan import SNGANCNNDiscriminator, SNGANCNNGenerator
from gan.networks.sngan_resnet import SNGANResNetDiscriminator, SNGANResNetGenerator

__all__ = [
    "DCGANDiscriminator",
    "DCGANGenerator",
    "DeepDecoder",
    "Discriminator",
    "Generator",
    "R3GANDiscriminator",
    "R3GANGenerator",
    "SNGANCNNDiscriminator",
    "SNGANCNNGenerator",
    "SNGANResNetDiscriminator",
    "SNGANResNetGenerator",
    "load",
    "read_facts",
]
