"""What the hand-written backward passes share."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.autograd import forward_ad


def by_plain_operations() -> bool:
    """Return whether plain operations are wanted, in place of a backward pass by hand.

    A compiler fuses what it likes of them and chooses itself what to compute twice; the transforms of `torch.func`
    (vmap, jvp and the like) and `torch.autograd.forward_ad` apply to nothing else.
    """
    return torch.compiler.is_compiling() or transformed()


def transformed() -> bool:
    """Return whether a transform of `torch.func`, or forward-mode differentiation, is at work."""
    # Nothing public says so; torch's own autograd.grad and dual levels ask these.
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def gradients_with_graph(
    function: Callable[..., Tensor], inputs: Sequence[Tensor | None], needed: Sequence[bool], grad: Tensor
) -> tuple[Tensor | None, ...]:
    """Return the gradients that can be differentiated again, as a gradient penalty asks for.

    They are partial ones: one input may itself be a function of another, as in a layer that is applied twice.

    Args:
        function: of the inputs, in plain operations.
        inputs: its arguments, of which some may be needed.
        needed: whether the gradient in each is.
        grad: the gradient in its output.
    """
    aliases = [None if tensor is None else tensor.view_as(tensor) for tensor in inputs]
    wanted = [alias for alias, need in zip(aliases, needed, strict=True) if need and alias is not None]
    found = iter(torch.autograd.grad(function(*aliases), wanted, grad, create_graph=True))
    return tuple(next(found) if need else None for need in needed)
