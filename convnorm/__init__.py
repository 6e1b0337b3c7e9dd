"""Convolutional Normalization (Liu et al., NeurIPS 2021) for any convolutional network; depends on torch alone."""

from convnorm.convert import conv_norm, convert
from convnorm.modules import ConvNorm

__all__ = ["ConvNorm", "conv_norm", "convert"]
