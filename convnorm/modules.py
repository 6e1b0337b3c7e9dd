"""ConvNorm as a module that holds a convolution."""

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from convnorm.autocast import precision
from convnorm.fast.choice import convolve
from convnorm.fast.depthwise import filter_channels
from convnorm.fast.preconditioner import preconditioner
from convnorm.functional import all_frequencies, full_grid
from convnorm.layers import Convolution, by_output_channel, check_layer, check_not_hooked, pad_image
from convnorm.memory_format import like

FILTERS: dict[int, Callable[..., nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class ConvNorm(nn.Module):
    """A convolution whose output channels are isometries: its full output is filtered to a flat spectrum (Eq. 4).

    The layer is applied with stride 1 and zero padding to its full output, on whose own grid it is an exact circular
    convolution; that is preconditioned, then cropped and subsampled to what the layer's padding and stride ask for;
    then come the depthwise filter and the layer's bias. Other padding modes first extend the image, as the layer does.

    Every row of every frequency's transfer matrix has norm one, which bounds the operator norm by sqrt(O), for zero
    padding; it does not make the layer 1-Lipschitz. Unless `momentum` is given, training and evaluation compute the
    same function of the weights, for any size of image.

    Args:
        layer: a convolution, plain or transposed, with 1 to 3 spatial axes. It is held as `.layer` and stays the truth
            about weight, bias, stride and padding; it may carry a parametrization. Its weight is read and the layer is
            never called, so that hooks on it would not run.
        affine: whether a learnable depthwise filter follows, as `.affine`: of the next odd size to the layer's kernel,
            starting as the identity.
        momentum: the paper's moving average of the spectrum, used in evaluation: how much of the newest spectrum enters
            at each forward pass in training mode, or "cosine" for the authors' schedule, 0.5 (cos(pi t / 40000) + 1)
            in the t-th of them while that is above 0.01, then 0.01. The average starts at zero, as theirs does, and is
            of one size of images, which the first of them tells: `torch.optim.swa_utils.AveragedModel` is to copy a
            network after that, and `torch.distributed.checkpoint` to load one.

    Raises:
        TypeError: if `layer` is no such convolution, has a `forward` of its own, forward hooks, a complex weight, or
            one that is neither a parameter nor parametrized.
        ValueError: if `momentum` is neither None, "cosine" nor a number in (0, 1].
    """

    running_preconditioner: Tensor
    num_batches_tracked: Tensor

    def __init__(self, layer: nn.Module, affine: bool = True, momentum: float | str | None = None) -> None:
        super().__init__()
        self.layer = check_layer(layer)
        self.affine: Any = _identity_filter(self.layer) if affine else None
        self.momentum = momentum
        if momentum is not None:
            if momentum != "cosine" and not _is_fraction(momentum):
                raise ValueError(f'momentum must be None, "cosine" or a number in (0, 1], got {momentum!r}')
            device, dtype = self.layer.weight.device, torch.promote_types(self.layer.weight.dtype, torch.float32)
            self.register_buffer("running_preconditioner", torch.empty(0, device=device, dtype=dtype))
            self.register_buffer("num_batches_tracked", torch.tensor(0, device=device))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, I, *H) or (I, *H) to what the layer's own shape for it is.

        Raises:
            TypeError: if a hook sets a weight or bias of the layer or the filter: neither is called.
            RuntimeError: if an average would begin in a replica of `nn.DataParallel`.
            ValueError: if x is of another shape than that or, without autocast, of another dtype than the weight.
        """
        check_not_hooked(self.layer, self.affine)
        layer, weight = self.layer, self.layer.weight
        axes = weight.dim() - 2
        _check_images(x, layer.in_channels, weight)
        x = pad_image(layer, x)
        # Compilers are to take the size as a number, even where they were asked for symbols: constants depend on it.
        grid = full_grid(layer, [operator.index(h) for h in x.shape[-axes:]])
        kernels = by_output_channel(layer, weight)
        y = convolve(layer, x, kernels, self.preconditioner(kernels, grid.size), grid)
        if self.affine is None:
            return y if layer.bias is None else y + layer.bias.view(-1, *[1] * axes).to(y.dtype)
        return like(filter_channels(y, self.affine.weight, layer.bias), y)  # torch's may differ for one image

    def preconditioner(self, kernels: Tensor, size: Sequence[int]) -> Tensor:
        """Return the preconditioner to use on a grid: that of the kernels, or the moving average in evaluation."""
        current = preconditioner(kernels, size, self.layer.dilation)
        if self.momentum is None:
            return current
        if self.training:
            self._track(all_frequencies(current, size))
        if self.training or self.running_preconditioner.numel() == 0:
            return current
        self._check_size(size)
        return self.running_preconditioner[:, : size[0] // 2 + 1]

    def _track(self, current: Tensor) -> None:
        # Without `torch.no_grad`, which a spectrum does not need and `torch.export.load` cannot read back.
        if self.running_preconditioner.numel() == 0:
            if getattr(self, "_is_replica", False):
                raise RuntimeError("make a step before nn.DataParallel: an average that begins in a replica is lost")
            with torch.inference_mode(False):  # training comes after whatever pass is the first
                self.running_preconditioner = torch.zeros(current.shape, dtype=current.dtype, device=current.device)
        self._check_size(current.shape[1:])
        self.num_batches_tracked += 1
        cosine = self.momentum == "cosine"
        share: Any = _cosine(self.num_batches_tracked).to(current) if cosine else self.momentum
        self.running_preconditioner.lerp_(current, share)

    def _check_size(self, size: Sequence[int]) -> None:
        average = self.running_preconditioner.shape[1:]
        if average != tuple(size):
            raise ValueError(f"momentum needs images of one size: the average is of grid {tuple(average)}, got {size}")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "ConvNorm":
        """Move and cast, but leave the average at least float32: what half precision can hold ends at 65,504."""
        if self.momentum is None:
            return super()._apply(fn, recurse)
        average, self._buffers["running_preconditioner"] = self.running_preconditioner, None
        try:
            super()._apply(fn, recurse)
        finally:
            self.running_preconditioner = average
        moved = fn(average.flatten())  # formats of memory are for images
        if moved.dtype.itemsize < 4:
            moved = average.flatten().to(moved.device, torch.float32)
        self.running_preconditioner = moved.view(average.shape)
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: object) -> None:
        if self.momentum is not None and (saved := state_dict.get(prefix + "running_preconditioner")) is not None:
            with torch.inference_mode(False):
                self.running_preconditioner = self.running_preconditioner.new_empty(
                    saved.shape
                )  # the images' shape, not ours
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        """Show the only option that no submodule shows."""
        return "" if self.momentum is None else f"momentum={self.momentum!r}"


def _check_images(x: Tensor, channels: int, weight: Tensor) -> None:
    """Refuse what the layer itself would: the algorithms would compute something of most of it."""
    axes = weight.dim() - 2
    if x.dim() not in (axes + 1, axes + 2) or x.shape[-axes - 1] != channels:
        axes_of = f"{channels} channels and {axes} spatial {'axis' if axes == 1 else 'axes'}"
        raise ValueError(f"images must have {axes_of}, batched or not, got shape {tuple(x.shape)}")
    if precision(x) != precision(weight):
        raise ValueError(f"images must be of the weight's dtype, {weight.dtype}, got {x.dtype}")


def _cosine(step: Tensor) -> Tensor:
    """Return the authors' schedule: almost only the newest spectrum at first, a hundredth of it from step 37,449 on."""
    return (0.5 * (torch.cos(step.clamp_max(40000) * (math.pi / 40000)) + 1)).clamp_min(0.01)


def _is_fraction(momentum: object) -> bool:
    return isinstance(momentum, (int, float)) and not isinstance(momentum, bool) and 0 < momentum <= 1


def _identity_filter(layer: Convolution) -> nn.Module:
    """Return a depthwise convolution that is the identity; odd, or "same" would move the image by half a pixel."""
    channels = layer.out_channels
    kernel = [k + 1 - k % 2 for k in layer.kernel_size]
    padding = [k // 2 for k in kernel]
    affine: nn.Module = FILTERS[len(kernel)](
        channels, channels, kernel, padding=padding, groups=channels, bias=False, device="meta"
    )  # on the meta device, or its random initialization would shift what the next layers draw
    weight = torch.zeros(channels, 1, *kernel, device=layer.weight.device, dtype=layer.weight.dtype)
    weight.flatten(1)[:, math.prod(kernel) // 2] = 1
    affine.weight = nn.Parameter(weight)
    return affine
