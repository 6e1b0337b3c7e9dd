"""Parts that the hand-written backward passes share."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.function import FunctionCtx

from convnorm.autocast import without_autocast


def by_plain_operations() -> bool:
    """Return whether to use plain operations instead of a hand-written `torch.autograd.Function`.

    Compilers fuse and recompute plain operations as they see fit. The transforms of `torch.func` (vmap, jvp and so on)
    and forward-mode differentiation support nothing else.
    """
    return torch.compiler.is_compiling() or transformed()


def transformed() -> bool:
    """Return whether a transform of `torch.func` or forward-mode differentiation is active."""
    # torch has no public function for this. Its own autograd.grad and dual levels check the same two.
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def batched(grad: Tensor) -> bool:
    """Return whether vmap runs the backward pass that got this gradient.

    It does so after an ordinary forward pass in a vmap of `torch.autograd.grad`, with ``is_grads_batched=True``, and in
    `torch.autograd.functional.jacobian(vectorize=True)`. The last two have an older vmap than `torch.func`.
    """
    return transformed() or torch._C._functorch.is_legacy_batchedtensor(grad)


def backward_by_plain_operations(grad: Tensor) -> bool:
    """Return whether a hand-written backward pass must leave its gradients to autograd.

    It must where they are to be differentiated again (``create_graph=True``, for a gradient penalty), and under vmap.
    """
    return torch.is_grad_enabled() or batched(grad)


def plain_gradients(
    function: Callable[..., Tensor], inputs: Sequence[Tensor | None], needed: Sequence[bool], grad: Tensor
) -> tuple[Tensor | None, ...]:
    """Return gradients computed by autograd, which can be differentiated again if gradients are enabled.

    Args:
        function: the forward pass in plain operations.
        inputs: its arguments.
        needed: which of them need a gradient.
        grad: gradient of the output.
    """
    differentiable = torch.is_grad_enabled()
    with torch.enable_grad():
        # Aliases, because one input may itself be a function of another: in a layer that is applied twice.
        aliases = [None if tensor is None else tensor.view_as(tensor) for tensor in inputs]
        wanted = [alias for alias, need in zip(aliases, needed, strict=True) if need and alias is not None]
        found = iter(torch.autograd.grad(function(*aliases), wanted, grad, create_graph=differentiable))
    return tuple(next(found) if need else None for need in needed)


def constant_product(matrix: Tensor, x: Tensor) -> Tensor:
    """Return ``matrix @ x`` for a constant matrix (R', R) and x (R, C). Its gradient has x's precision.

    The gradient of a plain product is rounded to autocast's precision when the backward pass runs under autocast.
    """
    return matrix @ x if by_plain_operations() else _ConstantProduct.apply(matrix, x)


class _ConstantProduct(torch.autograd.Function):
    @staticmethod
    def forward(matrix: Tensor, x: Tensor) -> Tensor:
        return matrix @ x

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.matrix = inputs[0]  # type: ignore[attr-defined]

    @staticmethod
    @without_autocast
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        transposed = ctx.matrix.T
        return None, transposed @ grad if batched(grad) else constant_product(transposed, grad)
