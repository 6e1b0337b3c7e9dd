"""SNGAN's residual networks for 32, 48, 64 and 128 pixels and sizes between, built without any normalization.

The layouts follow tables 4 (32 pixels, CIFAR-10) and 5 (48 pixels, STL-10) of the SNGAN paper (Miyato et al., ICLR
2018, appendix B.4); those for 64 and 128 pixels follow the authors' code for ImageNet, pfnet-research/sngan_projection
(`resnet_64.py`, `snresnet_64.py`, `resnet.py`, `snresnet.py`). Initialization follows that code for all sizes: Xavier
uniform with gain sqrt(2) on the 3x3 convolutions of the blocks and 1 everywhere else, biases zero.
"""

import math
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from gan.images import ImageSize
from gan.networks.base import Discriminator, Generator, LogitHead, check_channels, projected_classes
from gan.networks.pyramid import Pyramid, pyramid
from gan.norms import NormSite

_DOUBLINGS = (3, 4, 5)
# image_size: channels of the first feature map and after each block, each of which doubles the size
GENERATORS = {
    32: (256, 256, 256, 256),
    48: (512, 256, 128, 64),
    64: (1024, 512, 256, 128, 64),
    128: (1024, 1024, 512, 256, 128, 64),
}
# image_size: (channels after each block, how many of the blocks halve the size)
DISCRIMINATORS = {
    32: ((128, 128, 128, 128), 2),
    48: ((64, 128, 256, 512, 1024), 4),
    64: ((64, 128, 256, 512, 1024), 5),
    128: ((64, 128, 256, 512, 1024, 1024), 5),
}


class _UpBlock(nn.Module):
    """Pre-activation residual block that doubles the size. A 1x1 convolution commutes with nearest upsampling."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = NormSite(inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2, self.conv2 = NormSite(outputs), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        h = self.conv1(_up(F.relu(self.norm1(x, y))))
        h = self.conv2(F.relu(self.norm2(h, y)))
        return h + _up(self.skip(x))


class _DownBlock(nn.Module):
    """Pre-activation residual block that may halve the size. A 1x1 convolution commutes with average pooling."""

    def __init__(self, inputs: int, outputs: int, halve: bool) -> None:
        super().__init__()
        self.norm1, self.conv1 = NormSite(inputs), nn.Conv2d(inputs, inputs, 3, padding=1)
        self.norm2, self.conv2 = NormSite(inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if halve or inputs != outputs else nn.Identity()
        self.resize = nn.AvgPool2d(2) if halve else nn.Identity()

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        h = self.conv1(F.relu(self.norm1(x, y)))
        h = self.conv2(F.relu(self.norm2(h, y)))
        return self.resize(h) + self.skip(self.resize(x))


class _FirstDownBlock(nn.Module):
    """The block that sees the image: no activation before its first convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm, self.conv2 = NormSite(outputs), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        h = self.conv2(F.relu(self.norm(self.conv1(x), y)))
        return F.avg_pool2d(h, 2) + self.skip(F.avg_pool2d(x, 2))


class SNGANResNetGenerator(Generator):
    """The residual generator: a projection, residual blocks that double the size, a last norm and a 3x3 convolution.

    Args:
        image_size: Height and width of the images (a number, or both): 3 to 7 times 8, 16 or 32. Published are 32, 48,
            64 and 128; other sizes take the layout of the one with as many doublings. Follows from the data.
        channels: 1 or 3. Follows from the data.
        num_classes: Number of labels, 0 for none. Follows from the data; used by `ConditionalBatch`.
        latent_dim: Length of z.
        width_multiplier: Factor on the published numbers of channels.
    """

    def __init__(
        self,
        image_size: ImageSize = 32,
        channels: int = 3,
        num_classes: int = 0,
        latent_dim: int = 128,
        width_multiplier: float = 1.0,
    ) -> None:
        super().__init__()
        check_channels(channels)
        self.pyramid = pyramid(image_size, _DOUBLINGS)
        published = GENERATORS[_published_size(self.pyramid)]
        self.image_size, self.channels, self.num_classes = self.pyramid.image_size, channels, num_classes
        self.latent_dim, self.width_multiplier = latent_dim, width_multiplier
        widths = _scaled(published, width_multiplier)
        self.project = nn.Linear(latent_dim, widths[0] * math.prod(self.pyramid.bottom))
        self.blocks = nn.ModuleList(_UpBlock(i, o) for i, o in pairwise(widths))
        self.norm = NormSite(widths[-1], conditional=False)
        self.to_image = nn.Conv2d(widths[-1], channels, 3, padding=1)
        _init_xavier(self)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        x = self.project(z).unflatten(1, (-1, *self.pyramid.bottom))
        for block in self.blocks:
            x = block(x, y)
        return self.to_image(F.relu(self.norm(x, y))).tanh()


class SNGANResNetDiscriminator(Discriminator):
    """The residual discriminator: residual blocks, ReLU, sum over all pixels, a linear logit.

    A norm may stand before every activation inside the blocks.

    Args:
        image_size: Height and width of the images (a number, or both): 3 to 7 times 8, 16 or 32. Published are 32, 48,
            64 and 128; other sizes take the layout of the one with as many doublings. Follows from the data.
        channels: 1 or 3. Follows from the data.
        num_classes: Number of labels, 0 for none. Follows from the data.
        conditional: Whether to add the projection on the label's embedding.
        width_multiplier: Factor on the published numbers of channels.
    """

    def __init__(
        self,
        image_size: ImageSize = 32,
        channels: int = 3,
        num_classes: int = 0,
        conditional: bool = False,
        width_multiplier: float = 1.0,
    ) -> None:
        super().__init__()
        check_channels(channels)
        sizes = pyramid(image_size, _DOUBLINGS)
        published, most = DISCRIMINATORS[_published_size(sizes)]
        halvings = min(most, sizes.halvings)
        self.image_size, self.channels, self.num_classes = sizes.image_size, channels, num_classes
        self.conditional, self.width_multiplier = conditional, width_multiplier
        widths = _scaled(published, width_multiplier)
        self.first = _FirstDownBlock(channels, widths[0])
        self.blocks = nn.ModuleList(
            _DownBlock(i, o, halve=number < halvings) for number, (i, o) in enumerate(pairwise(widths), start=1)
        )
        self.head = LogitHead(widths[-1], projected_classes(conditional, num_classes))
        _init_xavier(self)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        h = self.first(x, y)
        for block in self.blocks:
            h = block(h, y)
        return self.head(F.relu(h).sum((2, 3)), y)


def _published_size(sizes: Pyramid) -> int:
    """Return the published size whose layout an image size takes.

    It has as many doublings, and of the two that have three it is STL-10's where the image is at least as large.
    """
    if sizes.doublings == 3:
        return 48 if math.prod(sizes.bottom) >= 6 * 6 else 32
    return {4: 64, 5: 128}[sizes.doublings]


def _scaled(widths: tuple[int, ...], multiplier: float) -> list[int]:
    if multiplier <= 0:
        raise ValueError(f"width_multiplier must be positive, got {multiplier}")
    return [max(1, round(width * multiplier)) for width in widths]


def _up(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


def _init_xavier(network: nn.Module) -> None:
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.Embedding):
            in_block = name.endswith(("conv1", "conv2"))
            nn.init.xavier_uniform_(module.weight, math.sqrt(2) if in_block else 1.0)
        if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
            nn.init.zeros_(module.bias)
