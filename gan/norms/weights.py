"""Norms of layers: of the weight, by a parametrization, and `Conv`, which holds the layer."""

from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.utils import parametrizations

import convnorm
from gan.norms.base import LAYERS, Norm
from gan.norms.kernels import draw_if_zero


@dataclass(frozen=True)
class Spectral(Norm):
    """Spectral normalization of every layer's weight as a matrix (Miyato et al., ICLR 2018), by power iteration."""

    sites = LAYERS
    power_iterations: int = 1

    def apply(self, site: nn.Module) -> nn.Module:
        draw_if_zero(site)
        return parametrizations.spectral_norm(site, n_power_iterations=self.power_iterations)


@dataclass(frozen=True)
class Weight(Norm):
    """Weight normalization, one learned norm an output channel (Salimans and Kingma, NeurIPS 2016)."""

    sites = LAYERS

    def apply(self, site: nn.Module) -> nn.Module:
        output_axis = 1 if isinstance(site, nn.ConvTranspose2d) else 0
        is_zero = draw_if_zero(site)
        normalized: Any = parametrizations.weight_norm(site, dim=output_axis)
        if is_zero:
            nn.init.zeros_(normalized.parametrizations.weight.original0)  # the lengths: the layer starts as it was
        return site


@dataclass(frozen=True)
class Conv(Norm):
    """Convolutional normalization of every convolution (Liu et al., NeurIPS 2021); see `convnorm.ConvNorm`."""

    sites = (nn.Conv2d, nn.ConvTranspose2d)
    affine: bool = True

    def apply(self, site: nn.Module) -> nn.Module:
        return convnorm.ConvNorm(site, affine=self.affine)
