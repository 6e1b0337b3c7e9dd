"""The autograd function of a layer in Triton, and where it is offered."""

import functools
from typing import Any

import torch
from torch import Tensor

from convnorm.autocast import without_autocast
from convnorm.fast import channel_products
from convnorm.fast.dft import Positions
from convnorm.fast.gauss import matrices
from convnorm.fast.gpu import launch
from convnorm.fast.gradients import backward_by_plain_operations, plain_gradients


def convolve(x: Tensor, kernels: Tensor, v: Tensor, at: Positions, precision: str = "tf32") -> Tensor:
    """Return the preconditioned, cropped and strided output, (B, O, H', W') in channels_last and x's dtype.

    Args:
        x: images, (B, I, H, W), bfloat16 or float32.
        kernels: one row per output channel, (O, I, k, k), float32.
        v: the preconditioner, (O, N_1 // 2 + 1, N_2), float32.
        at: result of `dft.positions`.
        precision: of the products in float32, "tf32" or "ieee".
    """
    return _Convolve.apply(x, kernels, v, at, precision)


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kernels: Tensor, v: Tensor, at: Positions, precision: str) -> Tensor:
        v = v.contiguous()
        with torch.cuda.device_of(x):  # Triton launches on the current device
            image = launch.to_points(x, at.size, at.pixels, precision)
            transfer = launch.kernels_to_points(kernels, v, at.size, at.taps, x.dtype)
            products = image.new_empty(*image.shape[:3], len(kernels))
            launch.multiply(image.transpose(1, 2), transfer.mT, products.transpose(1, 2), precision)
            y = launch.from_points(products, at.size, at.crop, precision)
        needed = ctx.needs_input_grad
        ctx.save_for_backward(x, kernels, v, image if needed[1] else None, transfer if needed[0] else None)
        ctx.at, ctx.precision = at, precision
        return y

    @staticmethod
    @without_autocast
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, kernels, v, image, transfer = ctx.saved_tensors
        needed = ctx.needs_input_grad[:2]
        if backward_by_plain_operations(grad):
            again = functools.partial(_again, v=v, at=ctx.at)
            return *plain_gradients(again, (x, kernels), needed, grad), None, None, None
        of_x = of_kernels = None
        at, precision = ctx.at, ctx.precision
        with torch.cuda.device_of(grad):
            points = launch.to_points(grad, at.size, at.crop, precision)
            if needed[0]:
                product = points.new_empty(*points.shape[:3], x.shape[1])
                launch.multiply(points.transpose(1, 2), transfer, product.transpose(1, 2), precision, conjugate=True)
                of_x = launch.from_points(product, at.size, at.pixels, precision)
            if needed[1]:
                gradient = points.new_empty(len(points), 2, *kernels.shape[:2])
                rows = points.permute(0, 2, 3, 1)
                launch.multiply(rows, image.transpose(1, 2), gradient, precision, conjugate=True, scale=v)
                of_kernels = launch.points_to_kernels(gradient, kernels, at.size, at.taps, precision)
        return of_x, of_kernels, None, None, None


def _again(x: Tensor, kernels: Tensor, v: Tensor, at: Positions) -> Tensor:
    return channel_products.convolve(x, kernels, v, matrices(tuple(at), x.dtype, x.device))
