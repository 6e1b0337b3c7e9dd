"""What ends a training early: numbers that are not finite, and requests to stop."""

import math
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

# Reading a number makes a GPU finish its queue, so there it happens every so many steps, and before each checkpoint.
STEPS_BETWEEN_CHECKS = 10


class Health:
    """Collects losses and weight norms on the device and checks them now and then.

    All processes see the same values and so end in the same step: weights are equal by construction, and losses and
    stop requests are averaged together with the gradients.

    Attributes:
        stop_requested: Whether this process asked to stop.
        should_stop: Whether any process had asked to stop at the latest check.
    """

    def __init__(self) -> None:
        self.stop_requested = False
        self.should_stop = False
        self._step = 0
        self._quantities: list[tuple[str, Tensor]] = []
        self._stop_requests: Tensor | None = None

    def begin(self, step: int) -> None:
        """Start a training step, counted from 1."""
        self._step = step

    def values_to_average(self, loss: Tensor) -> Tensor:
        """Return the loss of an update and this process' stop request, to be averaged along with the gradients."""
        return torch.stack([loss.detach(), torch.full_like(loss.detach(), float(self.stop_requested))])

    def add_loss(self, network: str, averaged: Tensor) -> None:
        """Add the mean of `values_to_average` over all processes."""
        loss, self._stop_requests = averaged.unbind()
        self._add(network, "loss", loss)

    @torch.no_grad()
    def add_weights(self, network: str, module: nn.Module) -> None:
        """Add the norm of all weights and running statistics; it is not finite if one of them is not."""
        tensors = [tensor for tensor in chain(module.parameters(), module.buffers()) if tensor.is_floating_point()]
        self._add(network, "norm of all weights", get_total_norm(tensors))

    def is_due(self, device_type: str) -> bool:
        """Return whether this step ends with a check."""
        return device_type == "cpu" or self._step % STEPS_BETWEEN_CHECKS == 0

    def check(self) -> None:
        """Check everything that was added since the last check.

        Raises:
            FloatingPointError: if a number is not finite; the message names the first.
        """
        if self._stop_requests is None:
            return
        numbers = torch.stack([*(number for _, number in self._quantities), self._stop_requests]).tolist()
        stop_requests = numbers.pop()
        self.should_stop = self.should_stop or stop_requests > 0
        for (name, _), number in zip(self._quantities, numbers, strict=True):
            if not math.isfinite(number):
                raise FloatingPointError(f"{name} is {number}: the training stops, its checkpoints stay as they are")
        self._quantities.clear()

    def _add(self, network: str, quantity: str, number: Tensor) -> None:
        self._quantities.append((f"step {self._step}: the {network}'s {quantity}", number))
