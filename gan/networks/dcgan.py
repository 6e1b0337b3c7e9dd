"""DCGAN (Radford et al., "Unsupervised Representation Learning with Deep Convolutional GANs", ICLR 2016).

Strided convolutions down, transposed convolutions up, from 4x4 to any power of two: 32, 64, 128, ... pixels; other
sizes start at 3 to 7 by 3 to 7. Kernels are 4x4 with stride 2, the form that public implementations settled on; the
paper's are 5x5. A normalization may follow every convolution but D's first and G's last, and G's projection. Weights
start as N(0, 0.02²).
"""

import math
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from convnorm.memory_format import keep_memory_format
from gan.images import ImageSize
from gan.networks.base import (
    Discriminator,
    Generator,
    LogitHead,
    check_channels,
    init_normal,
    projected_classes,
)
from gan.networks.pyramid import pyramid
from gan.norms import NormSite


class _Up(nn.Module):
    """Twice the size: transposed convolution, norm, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)
        self.norm = NormSite(outputs)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        return F.relu(self.norm(self.conv(x), y))


class _Down(nn.Module):
    """Half the size: strided convolution, norm, leaky ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)
        self.norm = NormSite(outputs)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        return F.leaky_relu(self.norm(self.conv(x), y), 0.2)


class DCGANGenerator(Generator):
    """DCGAN's generator: a projection to 4x4 (or 3 to 7 by 3 to 7), then transposed convolutions.

    Each convolution halves the channels.

    Args:
        image_size: Height and width of the images (a number, or both): 3 to 7 times the same power of two, as 32, 64,
            128 are. Follows from the data.
        channels: 1 or 3. Follows from the data.
        num_classes: Number of labels, 0 for none. Follows from the data; used by `ConditionalBatch`.
        latent_dim: Length of z.
        width: Channels of the largest feature map. The paper's generator for 64 pixels has 128, and so 1,024 at 4x4.
    """

    def __init__(
        self,
        image_size: ImageSize = 64,
        channels: int = 3,
        num_classes: int = 0,
        latent_dim: int = 100,
        width: int = 64,
    ) -> None:
        super().__init__()
        check_channels(channels)
        self.pyramid = pyramid(image_size)
        levels, area = self.pyramid.doublings, math.prod(self.pyramid.bottom)
        self.image_size, self.channels, self.num_classes = self.pyramid.image_size, channels, num_classes
        self.latent_dim, self.width = latent_dim, width
        widths = [width * 2**level for level in reversed(range(levels))]
        self.project = nn.Linear(latent_dim, widths[0] * area)
        self.norm = NormSite(widths[0])
        self.ups = nn.ModuleList(_Up(i, o) for i, o in pairwise(widths))
        self.to_image = nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1)
        init_normal(self)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        x = self.project(z).unflatten(1, (-1, *self.pyramid.bottom))
        x = keep_memory_format(F.relu(self.norm(x, y)))
        for up in self.ups:
            x = up(x, y)
        return self.to_image(x).tanh()


class DCGANDiscriminator(Discriminator):
    """DCGAN's discriminator: strided convolutions down to 4x4, each doubling the channels, then a linear logit.

    Args:
        image_size: Height and width of the images (a number, or both): 3 to 7 times the same power of two, as 32, 64,
            128 are. Follows from the data.
        channels: 1 or 3. Follows from the data.
        num_classes: Number of labels, 0 for none. Follows from the data.
        conditional: Whether to add the projection on the label's embedding.
        width: Channels after the first convolution.
    """

    def __init__(
        self,
        image_size: ImageSize = 64,
        channels: int = 3,
        num_classes: int = 0,
        conditional: bool = False,
        width: int = 64,
    ) -> None:
        super().__init__()
        check_channels(channels)
        self.pyramid = pyramid(image_size)
        levels, area = self.pyramid.doublings, math.prod(self.pyramid.bottom)
        self.image_size, self.channels, self.num_classes = self.pyramid.image_size, channels, num_classes
        self.conditional, self.width = conditional, width
        widths = [width * 2**level for level in range(levels)]
        self.from_image = nn.Conv2d(channels, width, 4, stride=2, padding=1)
        self.downs = nn.ModuleList(_Down(i, o) for i, o in pairwise(widths))
        self.head = LogitHead(widths[-1] * area, projected_classes(conditional, num_classes))
        init_normal(self)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        h = F.leaky_relu(self.from_image(x), 0.2)
        for down in self.downs:
            h = down(h, y)
        return self.head(keep_memory_format(h).flatten(1), y)
