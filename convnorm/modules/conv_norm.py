"""ConvNorm as a module that holds a convolution."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from convnorm.autocast import precision
from convnorm.fast.choice import convolve
from convnorm.fast.depthwise import filter_channels
from convnorm.grid import full_grid
from convnorm.layers import Convolution, by_output_channel, check_layer, check_not_hooked, pad_image
from convnorm.memory_format import like
from convnorm.modules.average import AveragingHolder
from convnorm.modules.holder import identity_kernels, is_traced

FILTERS: dict[int, Callable[..., nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class ConvNorm(AveragingHolder):
    """A convolution with Convolutional Normalization (Liu et al., NeurIPS 2021, Eq. 4).

    The full output of the convolution (stride 1, zero padding k - 1) is preconditioned, cropped and subsampled by the
    layer's padding and stride, filtered by a depthwise convolution, and the bias is added. `convnorm.functional` has
    the method in plain operations. Padding modes other than zeros pad the image first, as the layer does.

    At every frequency each row of the transfer matrix has norm one. With zero padding this bounds the operator norm by
    sqrt(O); it does not make the layer 1-Lipschitz. Without `momentum`, training and evaluation compute the same
    function of the weights, for any image size.

    Args:
        layer: a convolution, plain or transposed, with 1 to 3 spatial axes, stored as `.layer`. Its weight, bias,
            stride and padding are read at each forward pass, and it may be parametrized. It is never called, so hooks
            on it would not run.
        affine: add a learnable depthwise filter, `.affine`. It starts as the identity; its size is the kernel's, plus
            one where that is even.
        momentum: keep the paper's moving average of the preconditioner for evaluation. The value is the weight of the
            newest preconditioner at each forward pass in training, or "cosine" for the authors' schedule: at pass t,
            0.5 (cos(pi t / 40000) + 1), but at least 0.01. The average starts at zero, as theirs does. Its shape
            depends on the image size, which is known after the first forward pass: copy the module
            (`torch.optim.swa_utils.AveragedModel`) or load into it with `torch.distributed.checkpoint` after that.

    Raises:
        TypeError: if `layer` is not such a convolution, overrides `forward`, or has forward hooks, a complex weight or
            a weight that is neither a parameter nor parametrized.
        ValueError: if `momentum` is neither None, "cosine" nor a number in (0, 1].
    """

    def __init__(self, layer: nn.Module, affine: bool = True, momentum: float | str | None = None) -> None:
        super().__init__()
        self.layer = check_layer(layer)
        self.affine: Any = _identity_filter(self.layer) if affine else None
        self.begin_average(momentum)
        self.train(self.layer.training)

    def forward(self, x: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Return the output, of the shape that the layer itself would return.

        Args:
            x: images, (B, I, *H) or (I, *H).
            output_size: for a transposed convolution, the output's spatial size or whole shape, as torch's layers
                take it. Default: the size by the layer's `output_padding`.

        Raises:
            TypeError: if a hook sets a weight or bias of the layer or the filter, of which neither is called; or if
                `output_size` is given for a convolution that is not transposed.
            RuntimeError: if the moving average would begin in a replica of `nn.DataParallel`.
            ValueError: if x has another shape or, without autocast, another dtype than the weight, or `output_size` is
                out of range.
        """
        if is_traced(x):
            return self.call_in_graph(x, output_size)
        check_not_hooked(self.layer, self.affine)
        layer, weight = self.layer, self.layer.weight
        axes = weight.dim() - 2
        _check_images(x, layer.in_channels, weight)
        x = pad_image(layer, x)
        if output_size is not None:
            output_size = _numbers(output_size[-axes:] if len(output_size) == x.dim() else output_size)
        grid = full_grid(layer, _numbers(x.shape[-axes:]), output_size)
        kernels = by_output_channel(layer, weight)
        y = convolve(layer, x, kernels, self.preconditioner(kernels, grid.size), grid)
        if self.affine is None:
            return y if layer.bias is None else y + layer.bias.view(-1, *[1] * axes).to(y.dtype)
        return like(
            filter_channels(y, self.affine.weight, layer.bias), y
        )  # torch may return another format for one image


def _numbers(size: Sequence[int]) -> list[int]:
    """Return a size for which compilers use numbers even if it is symbolic: constants depend on it."""
    return [operator.index(n) for n in size]


def _check_images(x: Tensor, channels: int, weight: Tensor) -> None:
    """Refuse images that the layer itself refuses; without this most would give some output."""
    axes = weight.dim() - 2
    if x.dim() not in (axes + 1, axes + 2) or x.shape[-axes - 1] != channels:
        axes_of = f"{channels} channels and {axes} spatial {'axis' if axes == 1 else 'axes'}"
        raise ValueError(f"images must have {axes_of}, batched or not, got shape {tuple(x.shape)}")
    if precision(x) != precision(weight):
        raise ValueError(f"images must be of the weight's dtype, {weight.dtype}, got {x.dtype}")


def _identity_filter(layer: Convolution) -> nn.Module:
    """Return a depthwise convolution that is the identity. Its size is odd, so that it is centered."""
    channels = layer.out_channels
    kernel = [k + 1 - k % 2 for k in layer.kernel_size]
    padding = [k // 2 for k in kernel]
    affine: nn.Module = FILTERS[len(kernel)](
        channels, channels, kernel, padding=padding, groups=channels, bias=False, device="meta"
    )  # on the meta device, so that its initialization draws no random numbers
    weight = torch.empty(channels, 1, *kernel, device=layer.weight.device, dtype=layer.weight.dtype)
    affine.weight = nn.Parameter(identity_kernels(weight))
    return affine
