"""Put ConvNorm into a network, on one layer or on every convolution, and take it out again."""

from collections.abc import Callable

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from convnorm.fast.preconditioner_cache import PreconditionerCache
from convnorm.layers import CONVOLUTIONS
from convnorm.modules import ConvNorm


def conv_norm(layer: nn.Module) -> nn.Module:
    """Return a `ConvNorm` of the layer if it is a convolution, else the layer itself."""
    return ConvNorm(layer) if isinstance(layer, CONVOLUTIONS) else layer


def convert(module: nn.Module, wrap: Callable[[nn.Module], nn.Module] = conv_norm) -> nn.Module:
    """Replace modules of a network in place: each by what `wrap` returns for it.

    `wrap` is called on every module, parents first. It leaves a module alone by returning it. It is not called on the
    children of a module that it replaced or of a `ConvNorm`. A shared module is wrapped once. Create the optimizer
    afterwards, because the depthwise filters are new parameters. Leave layers alone whose weight some module reads
    instead of calling the layer::

        convert(resnet18(), lambda m: m if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1) else conv_norm(m))

    Args:
        module: a network, or a single layer.
        wrap: function from a module to its replacement.

    Returns:
        The network, or the replacement of `module` itself.

    Raises:
        TypeError: if `wrap` raises a TypeError or does not return a module, if a layer was compiled on its own, or if
            the network contains a DistributedDataParallel. Then no module has been replaced.
    """
    for path, part in module.named_modules():
        if isinstance(part, DistributedDataParallel):
            raise TypeError(f"{path or 'the module'}: DistributedDataParallel would miss new parameters; convert first")
    replacements: dict[nn.Module, nn.Module] = {}
    _find(module, wrap, "", replacements)
    for parent, replacement in replacements.items():
        for name, child in _children(parent, replacement).items():
            setattr(parent, name, replacements[child])
    return replacements[module]


def unconvert(module: nn.Module) -> nn.Module:
    """Replace every `ConvNorm` of a network in place by the layer that it holds.

    This gives the plain network back, with its parameters and names. Its function is that of the plain weights: the
    normalization and the depthwise filters are gone. So a network that was trained with ConvNorm does not compute what
    it computed before, and must be trained further; no plain convolution computes what a ConvNorm does. A network that
    was converted and never trained is exactly what it was before.

    Args:
        module: a network, or a single ConvNorm.

    Returns:
        The network, or the layer of `module` itself.

    Raises:
        TypeError: if a ConvNorm was compiled on its own, or if the network contains a DistributedDataParallel. Then no
            module has been replaced.
    """
    return convert(module, lambda part: part.layer if isinstance(part, ConvNorm) else part)


def cache_preconditioners(module: nn.Module, enabled: bool = True) -> nn.Module:
    """Make every `ConvNorm` of a network remember its preconditioner in evaluation mode, until its weight changes.

    Outputs are the same. Small batches gain most (`docs/guides/convnorm.md`). Each layer keeps one preconditioner, for
    the last image size, and a copy of its weight, which it compares with the weight at every forward pass. So whatever
    changes the weight is noticed. Training, compiled and exported graphs do not use the cache; copies and pickled
    networks begin with an empty one.

    Args:
        module: a network, or a single ConvNorm.
        enabled: False turns the cache off and frees its memory.

    Returns:
        `module`.
    """
    for part in module.modules():
        if isinstance(part, ConvNorm):
            part.cache = PreconditionerCache() if enabled else None
    return module


def _find(
    module: nn.Module, wrap: Callable[[nn.Module], nn.Module], path: str, replacements: dict[nn.Module, nn.Module]
) -> None:
    replacements[module] = _wrapped(module, wrap, path or "the module")
    for name, child in _children(module, replacements[module]).items():
        if child not in replacements:
            _find(child, wrap, f"{path}.{name}".lstrip("."), replacements)
        if name == "_orig_mod" and replacements[child] is not child:
            raise TypeError(f"{path or 'the module'}: torch.compile would go on calling what it was; convert first")


def _wrapped(module: nn.Module, wrap: Callable[[nn.Module], nn.Module], path: str) -> nn.Module:
    try:
        replacement = wrap(module)
    except TypeError as error:
        raise TypeError(f"{path}: {error}; to leave it as it is, let `wrap` return it") from error
    if not isinstance(replacement, nn.Module):
        raise TypeError(f"{path}: `wrap` must return a module, got {type(replacement).__name__}")
    return replacement


def _children(module: nn.Module, replacement: nn.Module) -> dict[str, nn.Module]:
    """Return the children that `wrap` is called on: none of a replaced module or a `ConvNorm`."""
    if replacement is not module or isinstance(module, ConvNorm):
        return {}
    return {name: child for name, child in module._modules.items() if child is not None}
