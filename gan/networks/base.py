"""Base classes of generators and discriminators, and parts that the networks share."""

import torch
from torch import Tensor, nn

from gan.images import ImageSize, height_and_width


class Generator(nn.Module):
    """A map from latent vectors z (N, latent_dim) and labels y (N,) to images (N, channels, H, W) in [-1, 1].

    A subclass takes `image_size`, `channels` and `num_classes` (0: no labels), which follow from the data. It keeps
    every constructor argument as an attribute of the same name, so that a checkpoint can describe it. One that uses the
    labels itself, not only through a conditional norm, sets `conditional`.
    """

    conditional: bool = False
    latent_dim: int
    image_size: ImageSize
    channels: int
    num_classes: int

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        raise NotImplementedError

    def example_inputs(self) -> tuple[Tensor, Tensor]:
        """Return a z (1, latent_dim) and a label (1,), all zeros, to learn which shapes a forward pass makes."""
        return torch.zeros(1, self.latent_dim), torch.zeros(1, dtype=torch.long)


class Discriminator(nn.Module):
    """A map from images (N, channels, H, W) in [-1, 1] and labels y (N,) to logits (N,).

    The rules of `Generator` hold. `conditional` says whether the logits depend on the labels.
    """

    image_size: ImageSize
    channels: int
    num_classes: int
    conditional: bool

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        raise NotImplementedError

    def example_inputs(self) -> tuple[Tensor, Tensor]:
        """Return an image (1, channels, H, W) and a label (1,), all zeros, as `Generator.example_inputs` does."""
        image = torch.zeros(1, self.channels, *height_and_width(self.image_size))
        return image, torch.zeros(1, dtype=torch.long)


class LogitHead(nn.Module):
    """A linear logit of features, plus the projection onto the label's embedding if there are classes.

    f(h, y) = v·h + b + e_y·h (Miyato and Koyama, "cGANs with Projection Discriminator", ICLR 2018, equation 3).
    """

    def __init__(self, features: int, num_classes: int = 0) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 1)
        self.embedding = nn.Embedding(num_classes, features) if num_classes else None

    def forward(self, h: Tensor, y: Tensor | None = None) -> Tensor:
        """Map features (N, features) and labels (N,) to logits (N,)."""
        logits: Tensor = self.linear(h).squeeze(1)
        if self.embedding is not None:
            logits = logits + (self.embedding(y) * h).sum(1)
        return logits


def projected_classes(conditional: bool, num_classes: int) -> int:
    """Return the number of classes for a discriminator's projection head: 0 if it is unconditional."""
    if conditional and not num_classes:
        raise ValueError("discriminator: conditional needs labelled data, but num_classes is 0")
    return num_classes if conditional else 0


def check_channels(channels: int) -> None:
    """Raise a ValueError unless `channels` is 1 or 3."""
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 (grayscale) or 3 (RGB), got {channels}")


def init_normal(network: nn.Module, std: float = 0.02) -> None:
    """Draw the weights of all layers from N(0, std²) and set the biases to zero (Radford et al., 2016, section 4)."""
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.Embedding):
            nn.init.normal_(module.weight, 0.0, std)
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d) and module.bias is not None:
            nn.init.zeros_(module.bias)
