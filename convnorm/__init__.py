"""Convolutional Normalization (Liu et al., NeurIPS 2021) for any convolutional network; depends on torch alone."""

from convnorm.modules import ConvNorm, conv_norm, convert

__all__ = ["ConvNorm", "conv_norm", "convert"]
