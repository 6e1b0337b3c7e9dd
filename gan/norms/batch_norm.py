"""Batch normalization whose batch is that of all processes together, on any device."""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from gan.distributed import sum_over_processes


class BatchNorm(nn.BatchNorm2d):
    """Batch normalization whose batch is that of all processes together, on any device.

    In training the statistics are taken over the processes of `torch.distributed` if there are several, with
    gradients: n processes compute what one with the whole batch would, and hold the same running statistics. Every
    process must have as many images as any other.
    """

    uses_batch = True

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Normalize (N, C, H, W); the labels are not used."""
        if self.training and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            normalized, mean, var = _OverProcesses.apply(x, self.weight, self.bias, self.eps)
            self._track(mean, var, x.numel() // x.shape[1] * dist.get_world_size())
            return normalized
        return super().forward(x)

    @torch.no_grad()
    def _track(self, mean: Tensor, var: Tensor, count: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_((var * count / (count - 1)).to(self.running_var.dtype), self.momentum)
        self.num_batches_tracked.add_(1)


class _OverProcesses(torch.autograd.Function):
    """(normalized, mean, biased variance), by torch's own kernels and one collective each way."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        mean, var = _statistics(x)
        return F.batch_norm(x, mean, var, weight, bias, training=False, eps=eps), mean, var

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        x, weight, _, ctx.eps = inputs
        _, mean, var = output
        ctx.mark_non_differentiable(mean, var)
        ctx.save_for_backward(x, weight, mean, var)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight, mean, var), grad = ctx.saved_tensors, gradients[0]
        if torch.is_grad_enabled():  # a graph of the gradient is wanted, for a gradient penalty
            return (*_differentiable_gradients(x, weight, grad, ctx.eps), None)
        inverse = (var + ctx.eps).rsqrt()
        gain = torch.ones_like(mean) if weight is None else weight  # without one a GPU's kernel returns no sums
        grad_x, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            grad, x, gain, mean, var, mean, inverse, False, ctx.eps, [True, True, True]
        )  # as if mean and variance were constants
        sums = torch.stack([of_weight, of_bias])
        dist.all_reduce(sums)
        sums /= x.numel() // x.shape[1] * dist.get_world_size()
        scale = inverse * gain
        grad_x -= F.batch_norm(x, mean, var, scale * sums[0], scale * sums[1], training=False, eps=ctx.eps)
        return grad_x, None if weight is None else of_weight, None if weight is None else of_bias, None


def _statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance over all processes, from those of each (Chan et al., 1979); at least float32."""
    unused = x.new_zeros(2, x.shape[1], dtype=torch.promote_types(x.dtype, torch.float32))  # says in which type
    own = torch.stack(torch.batch_norm_update_stats(x, unused[0], unused[1], momentum=0.0))
    all_of_them = own.new_empty(dist.get_world_size() * 2, own.shape[1])
    dist.all_gather_into_tensor(all_of_them, own)
    means, variances = all_of_them.view(-1, *own.shape).unbind(1)
    mean = means.mean(0)
    return mean, (variances + (means - mean).square()).mean(0)


def _differentiable_gradients(
    x: Tensor, weight: Tensor | None, grad: Tensor, eps: float
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return the gradients in x, weight and bias by operations that can be differentiated again."""
    summand = x.to(torch.promote_types(x.dtype, torch.float32))
    count = x.numel() // x.shape[1] * dist.get_world_size()
    centred = summand - (sum_over_processes(summand.sum((0, 2, 3))) / count)[:, None, None]
    var = sum_over_processes(centred.square().sum((0, 2, 3))) / count
    inverse = (var + eps).rsqrt()[:, None, None]
    normalized = centred * inverse
    grad = grad.to(summand.dtype)
    of_weight, of_bias = (grad * normalized).sum((0, 2, 3)), grad.sum((0, 2, 3))
    along, mean = (sum_over_processes(each)[:, None, None] / count for each in (of_weight, of_bias))
    scale = inverse if weight is None else inverse * weight[:, None, None]
    grad_x = (scale * (grad - mean - normalized * along)).to(x.dtype)
    return grad_x, None if weight is None else of_weight, None if weight is None else of_bias
