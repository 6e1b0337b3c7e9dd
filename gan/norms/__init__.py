"""Normalizations, and the one seam through which they enter a network.

A *site* is a place that can be normalized: a layer with a weight, or a `NormSite`, the identity that a network puts
wherever its activations may be normalized. A *norm* is a function from a site to the module that takes its place:

- weight norms (`Spectral`, `SpectralOperator`, `ONI`, ...) return the layer with a parametrized weight,
- activation norms (`Batch`, `Layer`, ...) return a module for the `NormSite`,
- `Conv` returns a `ConvNorm` that holds the layer.

Networks are built and initialized plain, then `normalize(network, norms)` shows every site to every norm of the list in
turn. Combination is composition: after `[Conv, Spectral]` the convolutions are `ConvNorm`s and spectral normalization
finds the linear layers only.
"""

from gan.norms.activations import (
    Batch,
    ConditionalBatch,
    ConditionalBatchNorm,
    Group,
    GroupNorm,
    Instance,
    Layer,
)
from gan.norms.base import LAYERS, Norm, NormSite, normalize
from gan.norms.batch_norm import BatchNorm
from gan.norms.mixture import Mixture, MixtureNorm
from gan.norms.orthogonal import ONI, Orthogonal
from gan.norms.spectral_operator import SpectralOperator
from gan.norms.weights import Conv, Spectral, Weight

__all__ = [
    "LAYERS",
    "ONI",
    "Batch",
    "BatchNorm",
    "ConditionalBatch",
    "ConditionalBatchNorm",
    "Conv",
    "Group",
    "GroupNorm",
    "Instance",
    "Layer",
    "Mixture",
    "MixtureNorm",
    "Norm",
    "NormSite",
    "Orthogonal",
    "Spectral",
    "SpectralOperator",
    "Weight",
    "normalize",
]
