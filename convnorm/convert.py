"""ConvNorm in any network: wrap one layer, or every convolution of a network."""

from collections.abc import Callable

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from convnorm.layers import CONVOLUTIONS
from convnorm.modules import ConvNorm


def conv_norm(layer: nn.Module) -> nn.Module:
    """Return the layer in a `ConvNorm` if it is a convolution, anything else untouched."""
    return ConvNorm(layer) if isinstance(layer, CONVOLUTIONS) else layer


def convert(module: nn.Module, wrap: Callable[[nn.Module], nn.Module] = conv_norm) -> nn.Module:
    """Replace every layer of a network, in place, by what `wrap` makes of it.

    What `wrap` replaces is not looked into, nor is a `ConvNorm`; what it returns untouched is, down to the leaves. A
    module that stands in several places is wrapped once. Convert before an optimizer is made of the parameters: the
    filters are new ones. Of a module that reads a layer's weight instead of calling it, the layers are to be left
    alone, which `wrap` does by returning them::

        convert(resnet18(), lambda m: m if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1) else conv_norm(m))

    Args:
        module: a network, or a single layer.
        wrap: a function from a layer to the module that takes its place.

    Returns:
        The network, or the wrapped layer if `module` is one.

    Raises:
        TypeError: if `wrap` raises one, or returns what is no module, or a layer has been compiled by itself, or
            something is wrapped in DistributedDataParallel. No module has been replaced then.
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
    """Return what `convert` looks into: nothing of a module that is replaced or is a `ConvNorm`."""
    if replacement is not module or isinstance(module, ConvNorm):
        return {}
    return {name: child for name, child in module._modules.items() if child is not None}
