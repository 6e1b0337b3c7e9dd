"""The preconditioner that a ConvNorm uses: of the kernels as they are, or a moving average for evaluation."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from convnorm.fast.preconditioner import preconditioner
from convnorm.fast.preconditioner_cache import PreconditionerCache
from convnorm.functional import all_frequencies
from convnorm.modules.holder import ConvolutionHolder


class AveragingHolder(ConvolutionHolder):
    """A holder that computes the preconditioner of its layer, and averages it if `momentum` is not None."""

    momentum: float | str | None
    cache: PreconditionerCache | None = None
    running_preconditioner: Tensor
    num_batches_tracked: Tensor

    def begin_average(self, momentum: float | str | None) -> None:
        """Set `momentum` and register the buffers that it needs.

        Raises:
            ValueError: if it is neither None, "cosine" nor a number in (0, 1].
        """
        self.momentum = momentum
        if momentum is not None:
            if momentum != "cosine" and not _is_fraction(momentum):
                raise ValueError(f'momentum must be None, "cosine" or a number in (0, 1], got {momentum!r}')
            for name, buffer in self._empty_average().items():
                self.register_buffer(name, buffer)

    def initial_state(self) -> dict[str, Tensor]:
        """Return the state besides the layer's as it is before training."""
        return super().initial_state() | ({} if self.momentum is None else self._empty_average())

    def _empty_average(self) -> dict[str, Tensor]:
        device, dtype = self.layer.weight.device, torch.promote_types(self.layer.weight.dtype, torch.float32)
        return {
            "running_preconditioner": torch.empty(0, device=device, dtype=dtype),
            "num_batches_tracked": torch.tensor(0, device=device),
        }

    def preconditioner(self, kernels: Tensor, size: Sequence[int]) -> Tensor:
        """Return the preconditioner for a grid: the kernels' own, or in evaluation the moving average."""
        averaging = self.momentum is not None
        if averaging and not self.training and self.running_preconditioner.numel() > 0:
            self._check_size(size)
            return self.running_preconditioner[:, : size[0] // 2 + 1]
        if self.cache is not None and not self.training:
            return self.cache.preconditioner(kernels, size, self.layer.dilation)
        current = preconditioner(kernels, size, self.layer.dilation)
        if averaging and self.training and not _in_backward_pass():
            self._track(all_frequencies(current, size))
        return current

    def _track(self, current: Tensor) -> None:
        # V has no gradient, so this needs no `torch.no_grad`, which `torch.export.load` cannot read.
        if self.running_preconditioner.numel() == 0:
            if getattr(self, "_is_replica", False):
                raise RuntimeError("make a step before nn.DataParallel: an average that begins in a replica is lost")
            with torch.inference_mode(False):  # the first pass may run in inference mode, later ones train
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

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "AveragingHolder":
        """Move and cast as usual, but keep the average at least float32: float16 overflows at 65,504."""
        if self.momentum is None:
            return super()._apply(fn, recurse)
        average, self._buffers["running_preconditioner"] = self.running_preconditioner, None
        try:
            super()._apply(fn, recurse)
        finally:
            self.running_preconditioner = average
        moved = fn(average.flatten())  # flat, because memory formats are for images only
        if moved.dtype.itemsize < 4:
            moved = average.flatten().to(moved.device, torch.float32)
        self.running_preconditioner = moved.view(average.shape)
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: object) -> None:
        self.accept_plain_state(state_dict, prefix)
        if self.momentum is not None and (saved := state_dict.get(prefix + "running_preconditioner")) is not None:
            with torch.inference_mode(False):
                self.running_preconditioner = self.running_preconditioner.new_empty(saved.shape)  # of its image size
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        """Show `momentum`; submodules show the rest."""
        return "" if self.momentum is None else f"momentum={self.momentum!r}"


def _in_backward_pass() -> bool:
    """Return whether a backward pass is running. It runs forward passes again where activations are checkpointed."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


def _cosine(step: Tensor) -> Tensor:
    """Return the authors' schedule: the weight of the newest preconditioner, from 1 down to 0.01 at step 37,449."""
    return (0.5 * (torch.cos(step.clamp_max(40000) * (math.pi / 40000)) + 1)).clamp_min(0.01)


def _is_fraction(momentum: object) -> bool:
    return isinstance(momentum, (int, float)) and not isinstance(momentum, bool) and 0 < momentum <= 1
