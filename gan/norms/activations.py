"""Norms of activations: each takes the place of a `NormSite`."""

from dataclasses import dataclass, replace

import torch.nn.functional as F
from torch import Tensor, nn

from gan.norms.base import Norm, NormSite, channels_of
from gan.norms.batch_norm import BatchNorm


@dataclass(frozen=True)
class Batch(Norm):
    """Batch normalization, over the batch of all processes together (Ioffe and Szegedy, ICML 2015)."""

    sites = (NormSite,)

    def apply(self, site: nn.Module) -> nn.Module:
        return BatchNorm(channels_of(site))


@dataclass(frozen=True)
class ConditionalBatch(Norm):
    """Batch normalization with a gain and a bias for each class (Dumoulin et al., ICLR 2017).

    The number of classes is the network's own (`network.num_classes`).
    """

    sites = (NormSite,)
    num_classes: int = 0

    def of(self, network: nn.Module) -> Norm:
        if not (num_classes := getattr(network, "num_classes", 0)):
            name = type(network).__name__
            raise ValueError(
                f"ConditionalBatch needs labelled data (subfolders are classes), but {name} was built for 0 classes"
            )
        return replace(self, num_classes=num_classes)

    def apply(self, site: nn.Module) -> nn.Module:
        assert isinstance(site, NormSite)
        if not site.conditional:
            return BatchNorm(site.channels)
        return ConditionalBatchNorm(site.channels, self.num_classes)


@dataclass(frozen=True)
class Layer(Norm):
    """Layer normalization over channels and pixels, with a gain and a bias a channel (Ba et al., 2016)."""

    sites = (NormSite,)

    def apply(self, site: nn.Module) -> nn.Module:
        return GroupNorm(1, channels_of(site))


@dataclass(frozen=True)
class Instance(Norm):
    """Instance normalization, with a gain and a bias a channel (Ulyanov et al., 2016)."""

    sites = (NormSite,)

    def apply(self, site: nn.Module) -> nn.Module:
        return GroupNorm(channels_of(site), channels_of(site))


@dataclass(frozen=True)
class Group(Norm):
    """Group normalization (Wu and He, ECCV 2018). The number of groups must divide every site's channels."""

    sites = (NormSite,)
    groups: int = 8

    def apply(self, site: nn.Module) -> nn.Module:
        if self.groups < 1 or channels_of(site) % self.groups:
            raise ValueError(f"Group: {self.groups} groups do not divide {channels_of(site)} channels")
        return GroupNorm(self.groups, channels_of(site))


class ConditionalBatchNorm(nn.Module):
    """Batch normalization with a learned gain and bias for each of `num_classes` classes."""

    uses_labels = True

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.norm = BatchNorm(channels, affine=False)
        self.gain = nn.Embedding(num_classes, channels)
        self.bias = nn.Embedding(num_classes, channels)
        nn.init.ones_(self.gain.weight)
        nn.init.zeros_(self.bias.weight)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Normalize (N, C, H, W), then scale and shift each image as its class of `y` (N,) says."""
        gain, bias = self.gain(y)[:, :, None, None], self.bias(y)[:, :, None, None]
        return self.norm(x) * gain.to(x.dtype) + bias.to(x.dtype)


class GroupNorm(nn.GroupNorm):
    """`torch.nn.GroupNorm` that a network may call with labels."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Normalize (N, C, H, W); the labels are not used."""
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)
