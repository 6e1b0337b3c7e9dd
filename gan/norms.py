"""Normalizations, and the one seam through which they enter a network.

A *site* is a place that can be normalized: a layer with a weight, or a `NormSite`, the identity that a network puts
wherever its activations may be normalized. A *norm* is a function from a site to the module that takes its place:

- weight norms (`Spectral`, `Weight`) return the layer with a parametrized weight,
- activation norms (`Batch`, `Layer`, ...) return a module for the `NormSite`,
- `Conv` returns a `ConvNorm` that holds the layer.

Networks are built and initialized plain, then `normalize(network, norms)` shows every site to every norm of the list in
turn. Combination is composition: after `[Conv, Spectral]` the convolutions are `ConvNorm`s and spectral normalization
finds the linear layers only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import convnorm
from gan.batch_norm import BatchNorm

LAYERS: tuple[type[nn.Module], ...] = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding)
Network = TypeVar("Network", bound=nn.Module)


class NormSite(nn.Module):
    """Where activations (N, channels, H, W) may be normalized: the identity, until a norm takes its place.

    Args:
        channels: Number of channels of the activations.
        conditional: Whether a class-conditional norm conditions here. The last norm of SNGAN's generator, for one, is
            unconditional in its class-conditional version too.
    """

    def __init__(self, channels: int, conditional: bool = True) -> None:
        super().__init__()
        self.channels = channels
        self.conditional = conditional

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return `x`. The labels `y` (N,) are there for the norms that need them."""
        return x

    def extra_repr(self) -> str:
        return f"{self.channels}"


class Norm:
    """What becomes of the sites of one kind. To add a norm, say which `sites` it knows and what takes their place."""

    sites: ClassVar[tuple[type[nn.Module], ...]]

    def apply(self, site: nn.Module) -> nn.Module:
        """Return the module that takes the place of a site, an instance of one of `sites`.

        One that stands for a `NormSite` is called as that is, with images and labels. If it makes use of the labels, it
        has an attribute `uses_labels` that is true: that makes the generator conditional.
        """
        raise NotImplementedError

    def of(self, network: nn.Module) -> "Norm":
        """Return the norm as it applies to this network, for norms that must know more than the site."""
        return self

    def __call__(self, site: nn.Module) -> nn.Module:
        return self.apply(site) if isinstance(site, self.sites) else site


@dataclass(frozen=True)
class Spectral(Norm):
    """Spectral normalization of every layer's weight as a matrix (Miyato et al., ICLR 2018), by power iteration."""

    sites = LAYERS
    power_iterations: int = 1

    def apply(self, site: nn.Module) -> nn.Module:
        return parametrizations.spectral_norm(site, n_power_iterations=self.power_iterations)


@dataclass(frozen=True)
class Weight(Norm):
    """Weight normalization, one learned norm an output channel (Salimans and Kingma, NeurIPS 2016)."""

    sites = LAYERS

    def apply(self, site: nn.Module) -> nn.Module:
        output_axis = 1 if isinstance(site, nn.ConvTranspose2d) else 0
        return parametrizations.weight_norm(site, dim=output_axis)


@dataclass(frozen=True)
class Conv(Norm):
    """Convolutional normalization of every convolution (Liu et al., NeurIPS 2021); see `convnorm.ConvNorm`."""

    sites = (nn.Conv2d, nn.ConvTranspose2d)
    affine: bool = True

    def apply(self, site: nn.Module) -> nn.Module:
        return convnorm.ConvNorm(site, affine=self.affine)


@dataclass(frozen=True)
class Batch(Norm):
    """Batch normalization, over the batch of all processes together (Ioffe and Szegedy, ICML 2015)."""

    sites = (NormSite,)

    def apply(self, site: nn.Module) -> nn.Module:
        return BatchNorm(_channels(site))


@dataclass(frozen=True)
class ConditionalBatch(Norm):
    """Batch normalization with a gain and a bias for each class (Dumoulin et al., ICLR 2017).

    The number of classes is the network's own (`network.num_classes`).
    """

    sites = (NormSite,)
    num_classes: int = 0

    def of(self, network: nn.Module) -> "Norm":
        if not (num_classes := getattr(network, "num_classes", 0)):
            raise ValueError(f"ConditionalBatch needs labelled data, but {_name(network)} was built for 0 classes")
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
        return GroupNorm(1, _channels(site))


@dataclass(frozen=True)
class Instance(Norm):
    """Instance normalization, with a gain and a bias a channel (Ulyanov et al., 2016)."""

    sites = (NormSite,)

    def apply(self, site: nn.Module) -> nn.Module:
        return GroupNorm(_channels(site), _channels(site))


@dataclass(frozen=True)
class Group(Norm):
    """Group normalization (Wu and He, ECCV 2018). The number of groups must divide every site's channels."""

    sites = (NormSite,)
    groups: int = 8

    def apply(self, site: nn.Module) -> nn.Module:
        if self.groups < 1 or _channels(site) % self.groups:
            raise ValueError(f"Group: {self.groups} groups do not divide {_channels(site)} channels")
        return GroupNorm(self.groups, _channels(site))


def normalize(network: Network, norms: Sequence[Norm]) -> Network:
    """Put every norm's module in the place of every site it knows, in the order of the list; return the network.

    Its modules are replaced by name, in place: use a module in one place only, initialize it before, and call layers
    rather than read their `weight`.

    Raises:
        ValueError: if the plain network has no site for one of the norms.
    """
    bound = [norm.of(network) for norm in norms]
    for norm in bound:
        if not any(isinstance(module, norm.sites) for module in network.modules()):
            kinds = ", ".join(kind.__name__ for kind in norm.sites)
            raise ValueError(f"{type(norm).__name__} finds nothing to normalize in {_name(network)}: no {kinds}")

    def replacement(site: nn.Module) -> nn.Module:
        for norm in bound:
            site = norm(site)
        return site

    for name, child in network.named_children():
        setattr(network, name, convnorm.convert(child, replacement))
    return network


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


def _channels(site: nn.Module) -> int:
    assert isinstance(site, NormSite)
    return site.channels


def _name(network: nn.Module) -> str:
    return type(network).__name__
