"""Deep Decoder (Heckel and Hand, "Deep Decoder", ICLR 2019): a small network that is a model of one image, untrained.

Its 1×1 convolutions mix channels only; all that ties neighbouring pixels together is bilinear upsampling. Fitted to one
noisy image it reproduces the image before the noise: see `examples/deep_decoder.py`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan.checks import check_at_least
from gan.images import ImageSize, height_and_width
from gan.networks.base import Generator, check_channels
from gan.norms import NormSite


class _Block(nn.Module):
    """1×1 convolution, twice the size (but in the last block), ReLU, norm."""

    def __init__(self, width: int, bias: bool, scale: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 1, bias=bias)
        self.norm = NormSite(width)
        self.scale = scale

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        x = self.conv(x)
        if self.scale > 1:
            x = F.interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=False)
        return self.norm(F.relu(x), y)


class DeepDecoder(Generator):
    """Deep Decoder: `doublings` + 1 blocks from a small volume to an image, then a convolution to its channels.

    `decode` maps a volume to an image: that is the paper's network, whose volume is drawn once, uniformly in [0, 0.1),
    and then stays. With `Instance`, the paper's channel normalization, it has 6 k² + 15 k parameters for an RGB image
    at 5 doublings. As a generator it takes the volume from a linear map of z, `project`.

    Args:
        image_size: Height and width of the images (a number, or both): multiples of 2^doublings, at least two of them.
            Follows from the data.
        channels: 1 or 3. Follows from the data.
        num_classes: Number of labels, 0 for none. Follows from the data; used by `ConditionalBatch`.
        latent_dim: Length of z.
        width: k, the number of channels of all blocks.
        doublings: How often the size doubles. The paper has 5, from 16×16 to 512×512.
        bias: Whether the convolutions have a bias. The paper's have none, since a norm shifts each channel.

    Raises:
        ValueError: if the sizes do not fit.
    """

    def __init__(
        self,
        image_size: ImageSize = 256,
        channels: int = 3,
        num_classes: int = 0,
        latent_dim: int = 128,
        width: int = 64,
        doublings: int = 5,
        bias: bool = False,
    ) -> None:
        super().__init__()
        check_channels(channels)
        self.image_size, self.channels, self.num_classes = image_size, channels, num_classes
        self.latent_dim, self.width, self.doublings, self.bias = latent_dim, width, doublings, bias
        self.volume = width, *_start(image_size, doublings)
        self.project = nn.Linear(latent_dim, self.volume[0] * self.volume[1] * self.volume[2])
        scales = [*[2] * doublings, 1]
        self.blocks = nn.ModuleList(_Block(width, bias, scale) for scale in scales)
        self.to_image = nn.Conv2d(width, channels, 1, bias=bias)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.decode(self.project(z).unflatten(1, self.volume), y)

    def decode(self, volume: Tensor, y: Tensor | None = None) -> Tensor:
        """Map volumes (N, width, h, w) to images (N, channels, H, W) in [-1, 1].

        The attribute `volume` says the shape of one. The paper's sigmoid, in [0, 1], is this range's tanh(x / 2).
        """
        for block in self.blocks:
            volume = block(volume, y)
        return torch.tanh(self.to_image(volume) / 2)


def _start(image_size: ImageSize, doublings: int) -> tuple[int, int]:
    height, width = height_and_width(image_size)
    check_at_least(1, "DeepDecoder: ", doublings=doublings)
    factor = 2**doublings
    if height % factor or width % factor or min(height, width) < 2 * factor:
        raise ValueError(
            f"DeepDecoder: the image's sides must be multiples of {factor} and at least {2 * factor} with "
            f"{doublings} doublings, got {height}x{width}"
        )
    return height // factor, width // factor
