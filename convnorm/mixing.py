"""A convolution, its preconditioner and the crop in one: channels are mixed frequency by frequency, by matrix products.

That takes 3 N^2 operations per image and pair of channels, where the full convolution alone takes 2 k^2 N^2, and only
those rows and columns of the output are computed that crop and stride leave. Pixels and frequencies come first, batch
and channels last, so that every linear map is one matrix product with all images.
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
        (B, O, H', W') in x's dtype; in memory, H' and W' come before B and O.
    """
    batch, inputs, height, width = x.shape
    frequencies, outputs, out_height = len(plan.points), len(weight), len(plan.synthesis)
    rows = x.permute(2, 3, 0, 1).reshape(height, width * batch * inputs)
    u = (plan.analysis @ rows).view(frequencies, 2 * width, batch, inputs)
    taps = weight.permute(2, 3, 0, 1).flatten(0, 1).contiguous()  # (k*k, O, I)
    v = spectrum.permute(1, 2, 0).to(x.dtype).contiguous()  # (F, N, O)
    # A compiler sees plain operations: it fuses what it likes, and chooses itself what to compute twice.
    z = _columns(u, taps, v, plan) if torch.compiler.is_compiling() else _Columns.apply(u, taps, v, plan)
    out_width = z.shape[1] // 2
    y = plan.synthesis @ z.view(2 * frequencies, out_width * batch * outputs)
    return y.view(out_height, out_width, batch, outputs).permute(2, 3, 0, 1)


def _columns(u: Tensor, taps: Tensor, v: Tensor, plan: Plan) -> Tensor:
    """Map (F, 2W, B, I) to (F, 2W', B, O), one frequency of the first axis at a time: their points fit in the cache."""
    columns = [_apply(points.synthesis, _products(u[f], taps, v[f], points)) for f, points in enumerate(plan.points)]
    return torch.stack(columns)


def _products(u: Tensor, taps: Tensor, v: Tensor, points: Points) -> Tensor:
    """Return the preconditioned products of image and kernel at the points, (P, B, O)."""
    products = torch.bmm(_apply(points.analysis, u), _kernels(taps, points, u.dtype).transpose(1, 2))
    return products.mul_(v[points.frequency].unsqueeze(1))


def _apply(matrix: Tensor, x: Tensor, out: Tensor | None = None) -> Tensor:
    """Apply a linear map to the first axis of x."""
    flat = None if out is None else out.flatten(1)
    return torch.mm(matrix, x.flatten(1), out=flat).view(len(matrix), *x.shape[1:])


def _kernels(taps: Tensor, points: Points, dtype: torch.dtype) -> Tensor:
    """Return the kernels at the points, (P, O, I): rounded to `dtype` once they are transformed.

    Rounded before, a frequency with little power would be all error, and the preconditioner would amplify it.
    """
    return _apply(points.kernel, taps).to(dtype)


class _Columns(torch.autograd.Function):
    """`_columns`, keeping only its inputs for the backward pass: the points are 1.5 times as many as the pixels."""

    @staticmethod
    def forward(u: Tensor, taps: Tensor, v: Tensor, plan: Plan) -> Tensor:
        z = u.new_empty(len(u), len(plan.points[0].synthesis), u.shape[2], taps.shape[1])
        for f, points in enumerate(plan.points):
            _apply(points.synthesis, _products(u[f], taps, v[f], points), out=z[f])
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
    grad_taps = torch.zeros_like(taps) if needed[1] else None
    for f, points in enumerate(plan.points):
        products = _apply(points.synthesis.T, grad[f]).mul_(v[f][points.frequency].unsqueeze(1))  # (P, B, O)
        if grad_u is not None:
            _apply(points.analysis.T, torch.bmm(products, _kernels(taps, points, u.dtype)), out=grad_u[f])
        if grad_taps is not None:
            kernels = torch.bmm(products.transpose(1, 2), _apply(points.analysis, u[f]))  # (P, O, I)
            grad_taps += _apply(points.kernel.T.to(u.dtype), kernels)
    return grad_u, grad_taps
