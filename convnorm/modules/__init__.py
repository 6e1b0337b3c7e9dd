"""ConvNorm as a module. `conv_norm` has the forward pass, `average` the moving average, `holder` what a layer shows."""

from convnorm.modules.conv_norm import ConvNorm

__all__ = ["ConvNorm"]
