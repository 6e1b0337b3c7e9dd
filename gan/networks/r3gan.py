"""R3GAN's networks (Huang et al., "The GAN is dead; long live the GAN! A Modern GAN Baseline", NeurIPS 2024).

Both are stacks of inverted residual blocks without any normalization, attention or tanh. At full width (768, two blocks
a stage) the pairs for 32 pixels have the parameters of the authors' code. The norm sites are ours: one before each
activation. Blocks begin as the identity, with a last convolution of zeros; norms that divide by a weight's length draw
it anew (docs/norms.md).
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan.images import ImageSize
from gan.networks.base import Discriminator, Generator, check_channels
from gan.networks.pyramid import pyramid
from gan.norms import NormSite

_SLOPE = 0.2
_GROUP = 16  # channels of a group of the 3x3 convolutions
_LABEL_FEATURES = 64  # of the generator's embedding


class R3GANGenerator(Generator):
    """R3GAN's generator: a learned 4x4 basis, scaled by z and the label, then stages of blocks, each at twice the size.

    Images are not limited to [-1, 1]; training draws them there.

    Args:
        image_size: Height and width of the images, each 3 to 7 times the same power of two. Follows from the data.
        channels: 1 or 3. Follows from the data.
        num_classes: Number of labels, 0 for none. Follows from the data.
        conditional: Whether the label's embedding joins z.
        latent_dim: Length of z.
        width: Channels of all stages, or a list of each stage's, from 4x4 up; multiples of 8.
        blocks: Blocks of each stage.

    Raises:
        ValueError: if an argument does not fit.
    """

    def __init__(
        self,
        image_size: ImageSize = 32,
        channels: int = 3,
        num_classes: int = 0,
        conditional: bool = False,
        latent_dim: int = 64,
        width: int | list[int] = 768,
        blocks: int = 2,
    ) -> None:
        super().__init__()
        check_channels(channels)
        levels = pyramid(image_size)
        widths = _stage_widths(levels.doublings + 1, width, blocks)
        self.image_size, self.channels, self.num_classes = levels.image_size, channels, num_classes
        self.conditional, self.latent_dim, self.width, self.blocks = conditional, latent_dim, width, blocks
        classes = _classes(conditional, num_classes)
        self.embedding = nn.Embedding(classes, _LABEL_FEATURES) if classes else None
        self.linear = nn.Linear(latent_dim + (_LABEL_FEATURES if classes else 0), widths[0], bias=False)
        self.basis = nn.Parameter(torch.randn(widths[0], *levels.bottom))
        self.stages = nn.ModuleList(_stage(stage, blocks, len(widths) * blocks) for stage in widths)
        self.ups = nn.ModuleList(_Up(inputs, outputs) for inputs, outputs in pairwise(widths))
        self.to_image = nn.Conv2d(widths[-1], channels, 1, bias=False)
        _init_fan_in(self.linear, self.to_image, *(up.conv for up in self.ups if isinstance(up.conv, nn.Conv2d)))
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, std=classes**-0.5)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        if self.embedding is not None:
            z = torch.cat([z, self.embedding(y).to(z.dtype)], dim=1)
        x = self.basis * self.linear(z)[:, :, None, None]
        for stage, up in zip(self.stages, [nn.Identity(), *self.ups], strict=True):
            x = stage(up(x), y)
        return self.to_image(x)


class R3GANDiscriminator(Discriminator):
    """R3GAN's discriminator: stages of blocks, each at half the size, then a depthwise 4x4 convolution and a product.

    The logit is a linear one of the features, or with labels a product of features and the label's embedding.

    Args:
        image_size: Height and width of the images, each 3 to 7 times the same power of two. Follows from the data.
        channels: 1 or 3. Follows from the data.
        num_classes: Number of labels, 0 for none. Follows from the data.
        conditional: Whether the logit depends on the label.
        width: Channels of all stages, or a list of each stage's, from 4x4 up; multiples of 8.
        blocks: Blocks of each stage.

    Raises:
        ValueError: if an argument does not fit.
    """

    def __init__(
        self,
        image_size: ImageSize = 32,
        channels: int = 3,
        num_classes: int = 0,
        conditional: bool = False,
        width: int | list[int] = 768,
        blocks: int = 2,
    ) -> None:
        super().__init__()
        check_channels(channels)
        levels = pyramid(image_size)
        widths = _stage_widths(levels.doublings + 1, width, blocks)[::-1]
        self.image_size, self.channels, self.num_classes = levels.image_size, channels, num_classes
        self.conditional, self.width, self.blocks = conditional, width, blocks
        classes, last = _classes(conditional, num_classes), widths[-1]
        self.from_image = nn.Conv2d(channels, widths[0], 1, bias=False)
        self.stages = nn.ModuleList(_stage(stage, blocks, len(widths) * blocks) for stage in widths)
        self.downs = nn.ModuleList(_Down(inputs, outputs) for inputs, outputs in pairwise(widths))
        self.basis = nn.Conv2d(last, last, levels.bottom, groups=last, bias=False)
        self.linear = nn.Linear(last, last if classes else 1, bias=False)
        self.embedding = nn.Embedding(classes, last) if classes else None
        changes = [down.conv for down in self.downs if isinstance(down.conv, nn.Conv2d)]
        _init_fan_in(self.from_image, self.basis, self.linear, *changes)
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, std=(last * classes) ** -0.5)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        x = self.from_image(x)
        for stage, down in zip(self.stages, [*self.downs, nn.Identity()], strict=True):
            x = down(stage(x, y))
        features = self.linear(self.basis(x).flatten(1))
        return features.squeeze(1) if self.embedding is None else (features * self.embedding(y)).sum(1)


class _Stage(nn.ModuleList):
    """Blocks that pass the labels on."""

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        for block in self:
            x = block(x, y)
        return x


class _Block(nn.Module):
    """1x1 to twice the channels, grouped 3x3, 1x1 back: an inverted bottleneck, added to its input."""

    def __init__(self, width: int, blocks_in_network: int) -> None:
        super().__init__()
        inner = 2 * width
        self.conv1 = nn.Conv2d(width, inner, 1)
        self.norm1 = NormSite(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=1, groups=inner // _GROUP)
        self.norm2 = NormSite(inner)
        self.conv3 = nn.Conv2d(inner, width, 1, bias=False)
        # Fixup (Zhang et al., ICLR 2019): the block starts as the identity, and depth does not change the update's size
        _init_fan_in(self.conv1, self.conv2, gain=math.sqrt(2 / (1 + _SLOPE**2)) * blocks_in_network**-0.25)
        nn.init.zeros_(self.conv3.weight)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        h = F.leaky_relu(self.norm1(self.conv1(x), y), _SLOPE)
        h = F.leaky_relu(self.norm2(self.conv2(h), y), _SLOPE)
        return x + self.conv3(h)


class _Resampling(nn.Module):
    """A 1x1 convolution where the width changes, and the binomial filter [1, 2, 1] * [1, 1] in both axes."""

    kernel: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=False) if inputs != outputs else nn.Identity()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.register_buffer("kernel", taps.outer(taps)[None, None], persistent=False)

    def _kernels(self, x: Tensor) -> Tensor:
        return self.kernel.to(x.dtype).expand(x.shape[1], 1, 4, 4)


class _Up(_Resampling):
    """Twice the size."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return F.conv_transpose2d(x, 4 * self._kernels(x), stride=2, padding=1, groups=x.shape[1])


class _Down(_Resampling):
    """Half the size."""

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.conv2d(x, self._kernels(x), stride=2, padding=1, groups=x.shape[1]))


def _stage(width: int, blocks: int, blocks_in_network: int) -> _Stage:
    return _Stage(_Block(width, blocks_in_network) for _ in range(blocks))


def _stage_widths(stages: int, width: int | Sequence[int], blocks: int) -> list[int]:
    widths = [width] * stages if isinstance(width, int) else list(width)
    if len(widths) != stages:
        raise ValueError(f"width must have one number for each of {stages} stages, got {len(widths)}")
    for each in widths:
        if each < 8 or each % 8:
            raise ValueError(f"width must be a multiple of 8, got {each}")
    if blocks < 1:
        raise ValueError(f"blocks must be at least 1, got {blocks}")
    return widths


def _classes(conditional: bool, num_classes: int) -> int:
    if conditional and not num_classes:
        raise ValueError("conditional needs labelled data, but num_classes is 0")
    return num_classes if conditional else 0


def _init_fan_in(*layers: nn.Module, gain: float = 1.0) -> None:
    """Draw weights from N(0, gain² / fan in), and set biases to zero."""
    for layer in layers:
        assert isinstance(layer, nn.Linear | nn.Conv2d)
        nn.init.normal_(layer.weight, std=gain * layer.weight[0].numel() ** -0.5)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
