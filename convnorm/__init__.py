"""Convolutional Normalization (Liu et al., NeurIPS 2021) for any convolutional network; depends on torch alone."""

from convnorm.convert import cache_preconditioners, conv_norm, convert, unconvert
from convnorm.modules import ConvNorm

__all__ = ["ConvNorm", "cache_preconditioners", "conv_norm", "convert", "unconvert"]
