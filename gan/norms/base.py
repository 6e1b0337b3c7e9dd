"""The seam through which normalizations enter a network: sites, norms, and `normalize`."""

from collections.abc import Sequence
from typing import ClassVar, TypeVar

from torch import Tensor, nn

import convnorm

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
    """Base class of norms. A norm names the kinds of `sites` it applies to and returns a module for each site."""

    sites: ClassVar[tuple[type[nn.Module], ...]]

    def apply(self, site: nn.Module) -> nn.Module:
        """Return the module that takes the place of a site, an instance of one of `sites`.

        A module for a `NormSite` is called with images and labels, as the site is. If it uses the labels, its attribute
        `uses_labels` is true: that makes the generator conditional. If it takes statistics over the batch, its
        attribute `uses_batch` is true: the discriminator then never sees real and fake images in one batch.
        """
        raise NotImplementedError

    def of(self, network: nn.Module) -> "Norm":
        """Return the norm as it applies to this plain network, for norms that must know more than the site."""
        return self

    def __call__(self, site: nn.Module) -> nn.Module:
        return self.apply(site) if isinstance(site, self.sites) else site


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
            raise ValueError(
                f"{type(norm).__name__} finds nothing to normalize in {type(network).__name__}: no {kinds}"
            )

    def replacement(site: nn.Module) -> nn.Module:
        for norm in bound:
            site = norm(site)
        return site

    for name, child in network.named_children():
        setattr(network, name, convnorm.convert(child, replacement))
    return network


def channels_of(site: nn.Module) -> int:
    """Return the number of channels of a `NormSite`."""
    assert isinstance(site, NormSite)
    return site.channels
