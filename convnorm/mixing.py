"""A convolution, its preconditioner and the crop in one: channels are mixed frequency by frequency, by matrix products.

That takes 3 N^2 operations per image and pair of channels, where the full convolution alone takes 2 k^2 N^2, and only
those rows and columns of the output are computed that crop and stride leave.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from convnorm.fourier import Plan, Points


def mix(x: Tensor, weight: Tensor, spectrum: Tensor, plan: Plan) -> Tensor:
    """Return what crop and stride leave of the preconditioned full output.

    Args:
        x: images, (B, I, H, W), fastest in `torch.channels_last`.
        weight: kernels, one row per output channel, (O, I, k, k), of at least float32.
        spectrum: the preconditioner, (O, N // 2 + 1, N).
        plan: the constants of the geometry, in x's dtype.

    Returns:
        (B, O, H', W') in x's dtype and channels_last.
    """
    batch, channels, height, width = x.shape
    out_channels, out_height = len(weight), len(plan.synthesis)
    rows = x.permute(0, 2, 3, 1).reshape(batch, height, width * channels)
    u = torch.bmm(plan.analysis.expand(batch, -1, -1), rows).view(batch, len(plan.points), 2 * width, channels)
    taps = weight.permute(2, 3, 0, 1).flatten(0, 1)  # (k*k, O, I)
    v = spectrum.permute(1, 2, 0).to(x.dtype).contiguous()  # (F, N, O)
    # A compiler sees plain operations: it fuses what it likes, and chooses itself what to compute twice.
    z = _columns(u, taps, v, plan) if torch.compiler.is_compiling() else _Columns.apply(u, taps, v, plan)
    out_width = z.shape[2] // 2
    columns = z.view(batch, len(plan.analysis), out_width * out_channels)
    y = torch.bmm(plan.synthesis.expand(batch, -1, -1), columns)
    return y.view(batch, out_height, out_width, out_channels).permute(0, 3, 1, 2)


def _columns(u: Tensor, taps: Tensor, v: Tensor, plan: Plan) -> Tensor:
    """Map (B, F, 2W, I) to (B, F, 2W', O), one frequency of the first axis at a time: their points fit in the cache."""
    return torch.stack([_column(u[:, f], taps, v[f], points) for f, points in enumerate(plan.points)], 1)


def _column(u: Tensor, taps: Tensor, v: Tensor, points: Points) -> Tensor:
    products = torch.bmm(_analyzed(u, points).transpose(0, 1), _kernels(taps, points, u.dtype).transpose(1, 2))
    products = products * v[points.frequency].unsqueeze(1)  # (P, B, O)
    return torch.bmm(points.synthesis.expand(len(u), -1, -1), products.transpose(0, 1))


def _analyzed(u: Tensor, points: Points) -> Tensor:
    return torch.bmm(points.analysis.expand(len(u), -1, -1), u)  # (B, P, I)


def _kernels(taps: Tensor, points: Points, dtype: torch.dtype) -> Tensor:
    """Return the kernels at the points, (P, O, I): rounded to `dtype` once they are transformed.

    Rounded before, a frequency with little power would be all error, and the preconditioner would amplify it.
    """
    return (points.kernel @ taps.flatten(1)).view(-1, *taps.shape[1:]).to(dtype)


class _Columns(torch.autograd.Function):
    """`_columns`, keeping only its inputs for the backward pass: the points are 1.5 times as many as the pixels."""

    @staticmethod
    def forward(u: Tensor, taps: Tensor, v: Tensor, plan: Plan) -> Tensor:
        width, channels = len(plan.points[0].synthesis), taps.shape[1]
        z = u.new_empty(*u.shape[:2], width, channels)
        for f, points in enumerate(plan.points):
            z[:, f] = _column(u[:, f], taps, v[f], points)
        return z

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor, Tensor, Tensor, Plan], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:3])
        ctx.plan = inputs[3]  # type: ignore[attr-defined]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        u, taps, v = ctx.saved_tensors
        if torch.is_grad_enabled():  # a graph of the gradient is wanted, for a gradient penalty
            z = _columns(u, taps, v, ctx.plan)
            wanted = [tensor for tensor, needed in zip((u, taps), ctx.needs_input_grad[:2], strict=True) if needed]
            found = iter(torch.autograd.grad(z, wanted, grad, create_graph=True))
            grad_u, grad_taps = (next(found) if needed else None for needed in ctx.needs_input_grad[:2])
            return grad_u, grad_taps, None, None
        return *_gradients(u, taps, v, ctx.plan, grad, ctx.needs_input_grad), None, None


def _gradients(
    u: Tensor, taps: Tensor, v: Tensor, plan: Plan, grad: Tensor, needed: tuple[bool, ...]
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of `_columns` in u and in the taps, each if it is needed."""
    grad_u = torch.empty_like(u) if needed[0] else None
    # Contiguous, whatever the weights are: `flatten` must give a view to add to, not a copy.
    grad_taps = torch.zeros_like(taps, memory_format=torch.contiguous_format) if needed[1] else None
    for f, points in enumerate(plan.points):
        products = torch.bmm(points.synthesis.T.expand(len(u), -1, -1), grad[:, f])
        products = (products * v[f][points.frequency]).transpose(0, 1).contiguous()  # (P, B, O)
        if grad_u is not None:
            analyzed = torch.bmm(products, _kernels(taps, points, u.dtype))
            grad_u[:, f] = torch.bmm(points.analysis.T.expand(len(u), -1, -1), analyzed.transpose(0, 1))
        if grad_taps is not None:
            kernels = torch.bmm(products.transpose(1, 2), _analyzed(u[:, f], points).transpose(0, 1).contiguous())
            grad_taps.flatten(1).addmm_(points.kernel.T, kernels.flatten(1).to(taps.dtype))
    return grad_u, grad_taps
