"""What makes a module that holds a convolution look like that convolution: attributes, state dicts, `torch.fx`."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Proxy

from convnorm.layers import Convolution

PLAIN_STATE = "weight", "bias", "parametrizations."  # how the names in a convolution's own state dict begin


def _of_layer(name: str) -> Any:
    """Return a read-only property: the layer's attribute of that name."""
    return property(lambda self: getattr(self.layer, name), doc=f"The layer's `{name}`.")


class ConvolutionHolder(nn.Module):
    """A module that holds a convolution as `.layer` and perhaps a depthwise filter as `.affine`.

    The layer's attributes can be read here. To change them, change those of `.layer`.
    """

    layer: Convolution
    affine: Any

    in_channels = _of_layer("in_channels")
    out_channels = _of_layer("out_channels")
    kernel_size = _of_layer("kernel_size")
    stride = _of_layer("stride")
    padding = _of_layer("padding")
    padding_mode = _of_layer("padding_mode")
    output_padding = _of_layer("output_padding")
    dilation = _of_layer("dilation")
    groups = _of_layer("groups")
    transposed = _of_layer("transposed")
    weight = _of_layer("weight")
    bias = _of_layer("bias")

    def initial_state(self) -> dict[str, Tensor]:
        """Return the state besides the layer's as it is before training: a filter that is the identity."""
        return {} if self.affine is None else {"affine.weight": identity_kernels(self.affine.weight)}

    def accept_plain_state(self, state_dict: dict[str, Tensor], prefix: str) -> None:
        """Turn the state dict of the plain layer into that of this module, in place; leave this module's own alone.

        It becomes what converting the plain layer would give, with the `initial_state`.
        """
        if names := [name for name in state_dict if name.startswith(tuple(prefix + part for part in PLAIN_STATE))]:
            for name in names:
                state_dict[f"{prefix}layer.{name.removeprefix(prefix)}"] = state_dict.pop(name)
            state_dict.update({prefix + name: value for name, value in self.initial_state().items()})

    def call_in_graph(self, x: Any, output_size: Sequence[int] | None) -> Any:
        """Record one call of this module in the graph that `torch.fx` traces, as it does for torch's own layers."""
        tracer: Any = x.tracer
        if not (path := tracer.path_of_module(self)):
            raise TypeError(f"torch.fx cannot trace a {type(self).__name__} alone: trace a module that holds it")
        return tracer.create_proxy(
            "call_module", path, (x,), {} if output_size is None else {"output_size": output_size}
        )


def is_traced(x: object) -> bool:
    """Return whether x stands for a tensor while `torch.fx` traces a network."""
    return isinstance(x, Proxy)


def identity_kernels(like: Tensor) -> Tensor:
    """Return kernels of odd size, (C, 1, *k), that leave every channel as it is, in the shape and dtype of `like`."""
    kernels = torch.zeros(like.shape, dtype=like.dtype, device=like.device)
    kernels.flatten(1)[:, kernels[0].numel() // 2] = 1
    return kernels
