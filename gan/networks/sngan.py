"""SNGAN's two pairs of networks (Miyato et al., "Spectral Normalization for GANs", ICLR 2018, appendix B.4).

Both are built without any normalization: the paper's recipe is `generator_norms: [Batch]`, `discriminator_norms:
[Spectral]`. With these the pairs for 32 pixels have the published numbers of parameters.
"""

import math
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from convnorm.memory_format import keep_memory_format
from gan.images import ImageSize, as_image_size, height_and_width, size_text
from gan.networks.base import Discriminator, Generator, LogitHead, check_channels, init_normal, projected_classes
from gan.norms import NormSite


class SNGANCNNGenerator(Generator):
    """The "standard CNN" generator (table 3): a projection to an eighth of the size, three transposed convolutions.

    The projection is not normalized. Weights start as N(0, 0.02²), biases as zero, as in the authors' chainer-gan-lib.

    Args:
        image_size: Height and width of the images (a number, or both), multiples of 8: 32 for CIFAR-10, 48 for STL-10.
            Follows from the data.
        channels: 1 or 3. Follows from the data.
        num_classes: Number of labels, 0 for none. Follows from the data; used by `ConditionalBatch`.
        latent_dim: Length of z.
        width: Channels of the largest feature map; the smallest has 8 times as many.
    """

    def __init__(
        self,
        image_size: ImageSize = 32,
        channels: int = 3,
        num_classes: int = 0,
        latent_dim: int = 128,
        width: int = 64,
    ) -> None:
        super().__init__()
        check_channels(channels)
        self.bottom = _eighth(image_size)
        self.image_size, self.channels, self.num_classes = as_image_size(image_size), channels, num_classes
        self.latent_dim, self.width = latent_dim, width
        widths = [8 * width, 4 * width, 2 * width, width]
        self.project = nn.Linear(latent_dim, widths[0] * math.prod(self.bottom))
        self.convs = nn.ModuleList(nn.ConvTranspose2d(i, o, 4, stride=2, padding=1) for i, o in pairwise(widths))
        self.norms = nn.ModuleList(NormSite(o) for o in widths[1:])
        self.to_image = nn.Conv2d(width, channels, 3, padding=1)
        init_normal(self)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        x = self.project(z).unflatten(1, (-1, *self.bottom))
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu(norm(conv(x), y))
        return self.to_image(x).tanh()


class SNGANCNNDiscriminator(Discriminator):
    """The "standard CNN" discriminator (table 3): 3x3 and 4x4 stride-2 convolutions in turn, then a linear logit.

    A norm may follow every convolution but the first. Weights start as N(0, 0.02²), biases as zero.

    Args:
        image_size: Height and width of the images (a number, or both), multiples of 8. Follows from the data.
        channels: 1 or 3. Follows from the data.
        num_classes: Number of labels, 0 for none. Follows from the data.
        conditional: Whether to add the projection on the label's embedding.
        width: Channels after the first convolution; after the last there are 8 times as many.
    """

    def __init__(
        self,
        image_size: ImageSize = 32,
        channels: int = 3,
        num_classes: int = 0,
        conditional: bool = False,
        width: int = 64,
    ) -> None:
        super().__init__()
        check_channels(channels)
        self.bottom = _eighth(image_size)
        self.image_size, self.channels, self.num_classes = as_image_size(image_size), channels, num_classes
        self.conditional, self.width = conditional, width
        self.from_image = nn.Conv2d(channels, width, 3, padding=1)
        self.convs = nn.ModuleList()
        for level in (1, 2, 4):
            self.convs.append(nn.Conv2d(level * width, level * width, 4, stride=2, padding=1))
            self.convs.append(nn.Conv2d(level * width, 2 * level * width, 3, padding=1))
        self.norms = nn.ModuleList(NormSite(level * width) for level in (1, 2, 2, 4, 4, 8))
        features = 8 * width * math.prod(self.bottom)
        self.head = LogitHead(features, projected_classes(conditional, num_classes))
        init_normal(self)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        h = F.leaky_relu(self.from_image(x), 0.1)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            h = F.leaky_relu(norm(conv(h), y), 0.1)
        return self.head(keep_memory_format(h).flatten(1), y)


def _eighth(image_size: ImageSize) -> tuple[int, int]:
    height, width = height_and_width(image_size)
    if min(height, width) < 8 or height % 8 or width % 8:
        nearest = size_text([max(8, 8 * round(side / 8)) for side in (height, width)])
        raise ValueError(
            f"image_size must be a multiple of 8 in height and width, got {size_text(image_size)}; the nearest that "
            f"works is {nearest}"
        )
    return height // 8, width // 8
