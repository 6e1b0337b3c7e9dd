"""What the papers' tables say of the networks, written out as plain functions of the networks' weights."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan.networks import (
    DCGANDiscriminator,
    DCGANGenerator,
    SNGANCNNDiscriminator,
    SNGANCNNGenerator,
    SNGANResNetDiscriminator,
    SNGANResNetGenerator,
)
from gan.networks.base import LogitHead
from gan.norms import Batch, normalize


class Layers:
    """The layers of a network, called by name."""

    def __init__(self, network: nn.Module) -> None:
        self.state = network.state_dict()

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def conv(self, name: str, x: Tensor, stride: int = 1, padding: int = 1) -> Tensor:
        return F.conv2d(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"], stride, padding)

    def deconv(self, name: str, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"], stride=2, padding=1)

    def bn(self, name: str, x: Tensor) -> Tensor:
        names = "running_mean", "running_var", "weight", "bias"
        return F.batch_norm(x, *(self.state[f"{name}.{part}"] for part in names))

    def up_block(self, name: str, x: Tensor) -> Tensor:
        """Miyato et al., 2018, appendix B.4: BN, ReLU, upsampling, conv, BN, ReLU, conv."""
        h = self.conv(f"{name}.conv1", twice(self.bn(f"{name}.norm1", x).relu()))
        h = self.conv(f"{name}.conv2", self.bn(f"{name}.norm2", h).relu())
        return h + self.conv(f"{name}.skip", twice(x), padding=0)

    def block(self, name: str, x: Tensor) -> Tensor:
        return self.conv(f"{name}.conv2", self.conv(f"{name}.conv1", x.relu()).relu())


def twice(x: Tensor) -> Tensor:
    """Every pixel becomes four of its kind."""
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def dcgan_generator(layers: Layers, z: Tensor) -> Tensor:
    """Radford et al., 2016, section 3, for 16 pixels and with kernels of 4x4."""
    x = layers.linear("project", z).reshape(len(z), 4, 4, 4)
    x = layers.bn("norm", x).relu()
    x = layers.bn("ups.0.norm", layers.deconv("ups.0.conv", x)).relu()
    return layers.deconv("to_image", x).tanh()


def dcgan_discriminator(layers: Layers, x: Tensor) -> Tensor:
    """Radford et al., 2016, sections 3 and 4, for 16 pixels and with kernels of 4x4."""
    x = F.leaky_relu(layers.conv("from_image", x, stride=2), 0.2)
    x = F.leaky_relu(layers.bn("downs.0.norm", layers.conv("downs.0.conv", x, stride=2)), 0.2)
    return layers.linear("head.linear", x.flatten(1))[:, 0]


def cnn_generator(layers: Layers, z: Tensor) -> Tensor:
    """Miyato et al., 2018, table 3 (a), for 16 pixels."""
    x = layers.linear("project", z).reshape(len(z), 16, 2, 2)
    for level in range(3):
        x = layers.bn(f"norms.{level}", layers.deconv(f"convs.{level}", x)).relu()
    return layers.conv("to_image", x).tanh()


def cnn_discriminator(layers: Layers, x: Tensor) -> Tensor:
    """Miyato et al., 2018, table 3 (b), for 16 pixels."""
    x = F.leaky_relu(layers.conv("from_image", x), 0.1)
    for number in range(6):
        x = F.leaky_relu(layers.conv(f"convs.{number}", x, stride=(2, 1)[number % 2]), 0.1)
    return layers.linear("head.linear", x.flatten(1))[:, 0]


def resnet_generator(layers: Layers, z: Tensor) -> Tensor:
    """Miyato et al., 2018, table 4 (a)."""
    x = layers.linear("project", z).reshape(len(z), 4, 4, 4)
    for number in range(3):
        x = layers.up_block(f"blocks.{number}", x)
    return layers.conv("to_image", layers.bn("norm", x).relu()).tanh()


def resnet_discriminator(layers: Layers, x: Tensor) -> Tensor:
    """Miyato et al., 2018, table 4 (b). The first two of the blocks halve, and have a convolution in their skip."""
    h = layers.conv("first.conv2", layers.conv("first.conv1", x).relu())  # the image is not activated
    x = F.avg_pool2d(h + layers.conv("first.skip", x, padding=0), 2)
    x = F.avg_pool2d(layers.block("blocks.0", x) + layers.conv("blocks.0.skip", x, padding=0), 2)
    x = layers.block("blocks.1", x) + x
    x = layers.block("blocks.2", x) + x
    return layers.linear("head.linear", x.relu().sum((2, 3)))[:, 0]


@pytest.mark.parametrize(
    ("network", "arguments", "norms", "published", "shape"),
    [
        (DCGANGenerator, {"image_size": 16, "latent_dim": 8, "width": 2}, [Batch()], dcgan_generator, (8,)),
        (DCGANDiscriminator, {"image_size": 16, "width": 2}, [Batch()], dcgan_discriminator, (3, 16, 16)),
        (SNGANCNNGenerator, {"image_size": 16, "latent_dim": 8, "width": 2}, [Batch()], cnn_generator, (8,)),
        (SNGANCNNDiscriminator, {"image_size": 16, "width": 2}, [], cnn_discriminator, (3, 16, 16)),
        (SNGANResNetGenerator, {"latent_dim": 8, "width_multiplier": 1 / 64}, [Batch()], resnet_generator, (8,)),
        (SNGANResNetDiscriminator, {"width_multiplier": 1 / 32}, [], resnet_discriminator, (3, 32, 32)),
    ],
)
@torch.no_grad()
def test_forward_passes_are_the_published_ones(network, arguments, norms, published, shape):
    torch.manual_seed(0)
    made = normalize(network(**arguments), norms).double().eval()
    for parameter in made.parameters():
        parameter.normal_(std=parameter[0].numel() ** -0.5)  # biases too, which start as zero
    x = torch.randn(2, *shape, dtype=torch.float64)
    torch.testing.assert_close(made(x), published(Layers(made), x), rtol=1e-10, atol=1e-10)


def test_the_logit_of_an_image_and_its_label_by_hand():
    head = LogitHead(features=2, num_classes=2)
    head.load_state_dict(
        {
            "linear.weight": torch.tensor([[3.0, 4.0]]),
            "linear.bias": torch.tensor([5.0]),
            "embedding.weight": torch.tensor([[10.0, 20.0], [100.0, 200.0]]),
        }
    )
    h = torch.tensor([[1.0, 2.0], [2.0, -1.0]])
    # 3 + 8 + 5 + 100 + 400, 6 - 4 + 5 + 20 - 20
    assert head(h, torch.tensor([1, 0])).tolist() == [516, 7]
