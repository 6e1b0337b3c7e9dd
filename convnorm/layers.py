"""torch's convolution layers: their kinds, their padding, and which of them ConvNorm refuses."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from convnorm.memory_format import like

Convolution: TypeAlias = (
    nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
)
CONVOLUTIONS = nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d
CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}  # by the number of spatial axes
CONVOLVE_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}

# Attributes that torch.nn.utils.spectral_norm, prune and weight_norm add for their hooks
HOOKED = "weight_orig", "weight_g", "bias_orig"
INSTEAD = (
    "ConvNorm reads weight and bias but never calls the layer. In place of torch.nn.utils.spectral_norm, weight_norm "
    "or prune use torch.nn.utils.parametrizations or parametrize"
)


def by_output_channel(layer: Convolution, weight: Tensor) -> Tensor:
    """Return a layer's weight with output channels first, (O, I / groups, *k). The function is its own inverse."""
    if not layer.transposed:
        return weight
    groups = weight.reshape(layer.groups, -1, *weight.shape[1:])
    return groups.transpose(1, 2).flatten(0, 1)


def reaches(layer: Convolution) -> list[int]:
    """Return the distance between the first and the last tap of the layer's kernels, per axis."""
    return [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]


def zero_padding(layer: Convolution) -> list[tuple[int, int]]:
    """Return how many zeros the layer pads before and after the image, per axis."""
    if layer.padding_mode != "zeros" or layer.padding == "valid":
        return [(0, 0)] * len(layer.kernel_size)
    if layer.padding == "same":
        return [(reach // 2, reach - reach // 2) for reach in reaches(layer)]
    return [(int(padding), int(padding)) for padding in layer.padding]


def pad_image(layer: Convolution, x: Tensor) -> Tensor:
    """Pad the image by the layer's padding mode, except with zeros, which the convolution adds."""
    if layer.padding_mode == "zeros":
        return x
    return like(F.pad(x, layer._reversed_padding_repeated_twice, mode=layer.padding_mode), x)


def padded_size(layer: Convolution, size: Sequence[int]) -> list[int]:
    """Return the size of an image after `pad_image`."""
    if layer.padding_mode == "zeros":
        return list(size)
    margins = layer._reversed_padding_repeated_twice  # last axis first
    return [h + sum(margins[2 * i : 2 * i + 2]) for h, i in zip(size, reversed(range(len(size))), strict=True)]


def check_kernels(kernels: Tensor, size: Sequence[int], dilation: Sequence[int]) -> None:
    """Check the arguments of `functional.preconditioner`."""
    if kernels.dim() < 3 or not kernels.is_floating_point():
        raise ValueError(f"kernels must be real, (O, I, *k), got {kernels.dtype} of shape {tuple(kernels.shape)}")
    axes = kernels.dim() - 2
    for name, value in ("size", size), ("dilation", dilation):
        if len(value) != axes or min(value) < 1:
            raise ValueError(f"{name} must be {axes} positive numbers for these kernels, got {tuple(value)}")


def check_padding(layer: Convolution) -> None:
    """Refuse the padding and output padding that torch refuses."""
    if min(min(pair) for pair in zero_padding(layer)) < 0:
        raise ValueError(f"padding must not be negative, got {layer}")
    limits = [max(pair) for pair in zip(layer.stride, layer.dilation, strict=True)]
    if any(extra >= limit for extra, limit in zip(layer.output_padding, limits, strict=True)):
        raise ValueError(f"output_padding must be less than stride or dilation, got {layer}")


def check_layer(layer: nn.Module) -> Convolution:
    """Return the layer if ConvNorm can hold it.

    Raises:
        TypeError: if it is not a convolution, has a `forward` of its own or forward hooks, is lazy, or has a complex
            weight or one that is neither a parameter nor parametrized.
    """
    kind = next((kind for kind in CONVOLUTIONS if isinstance(layer, kind)), None)
    name = f"{type(layer).__module__}.{type(layer).__qualname__}"
    if kind is None:
        names = ", ".join(kind.__name__ for kind in CONVOLUTIONS)
        raise TypeError(f"layer must be one of {names}, got {name}")
    plain = "forward" not in vars(layer) and all(
        getattr(type(layer), name, None) is getattr(kind, name, None) for name in ("forward", "_conv_forward")
    )
    if not plain:
        raise TypeError(f"layer must be a plain {kind.__name__}, got {name} with a forward of its own")
    if isinstance(layer, nn.modules.lazy.LazyModuleMixin):
        raise TypeError(f"layer must know its shape, got {name}: call it once first")
    _check_weight(layer, name)
    return layer  # type: ignore[return-value]


def _check_weight(layer: nn.Module, name: str) -> None:
    weight: Any = layer.weight
    own = isinstance(weight, nn.Parameter) or is_parametrized(layer, "weight")
    if layer._forward_pre_hooks or layer._forward_hooks or not own:
        raise TypeError(
            f"layer must have no forward hooks and a weight that is a parameter or parametrized, got {name}: "
            f"{INSTEAD}; register other hooks on the ConvNorm"
        )
    if weight.is_complex():
        raise TypeError(f"layer must have a real weight, got {name} with {weight.dtype}")


def is_hooked(module: nn.Module | None) -> bool:
    """Return whether a hook of `torch.nn.utils.spectral_norm`, `weight_norm` or `prune` sets a weight or bias.

    Such a hook runs when the module is called. Until then the weight or bias may be outdated.
    """
    return any(hasattr(module, name) for name in HOOKED)


def check_not_hooked(*modules: nn.Module | None) -> None:
    """Refuse modules with such hooks: ConvNorm does not call the module, so they would never run."""
    for module in modules:
        if is_hooked(module):
            raise TypeError(f"a hook that never runs sets the weight or bias of {module}: {INSTEAD}")
