"""What ends a training early: numbers that are not finite, and the wish of a process to stop."""

import math
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

# On a GPU, whose queue runs dry whenever the host looks at a number. No checkpoint is written without a look, so what a
# late one costs is these few steps.
STEPS_BETWEEN_LOOKS = 10


class Watch:
    """Notes what must stay finite, on the device, and looks at it now and then.

    What it sees is the same in all processes, so they all end in the same step: weights are equal by construction, and
    losses and wishes are means over the processes that travelled with the gradients.

    Attributes:
        wish: Whether this process wishes to stop.
        stop: Whether any process did, as of the last look; an evaluation that gives way sets it too.
    """

    def __init__(self) -> None:
        self.wish = False
        self.stop = False
        self._step = 0
        self._notes: list[tuple[str, Tensor]] = []
        self._wishes: Tensor | None = None

    def begin(self, step: int) -> None:
        """Say which generator step is being made."""
        self._step = step

    def passenger(self, loss: Tensor) -> Tensor:
        """Return what is to travel with the gradients of an update: its loss, and this process' wish."""
        return torch.stack([loss.detach(), torch.full_like(loss.detach(), float(self.wish))])

    def note_loss(self, network: str, passengers: Tensor) -> None:
        """Note the mean of all processes' passengers."""
        loss, self._wishes = passengers.unbind()
        self._note(network, "loss", loss)

    @torch.no_grad()
    def note_weights(self, network: str, module: nn.Module) -> None:
        """Note the norm of all weights and running statistics after an update: if one is not finite, nor is it."""
        tensors = [tensor for tensor in chain(module.parameters(), module.buffers()) if tensor.is_floating_point()]
        self._note(network, "norm of all weights", get_total_norm(tensors))

    def is_due(self, device_type: str) -> bool:
        """Say whether it is time to look."""
        return device_type == "cpu" or self._step % STEPS_BETWEEN_LOOKS == 0

    def check(self) -> None:
        """Look at what was noted since the last time.

        Raises:
            FloatingPointError: if something is not finite; the message names the first.
        """
        if self._wishes is None:
            return
        numbers = torch.stack([*(number for _, number in self._notes), self._wishes]).tolist()
        wishes = numbers.pop()
        self.stop = self.stop or wishes > 0
        for (what, _), number in zip(self._notes, numbers, strict=True):
            if not math.isfinite(number):
                raise FloatingPointError(f"{what} is {number}: the training stops, its checkpoints stay as they are")
        self._notes.clear()

    def _note(self, network: str, quantity: str, number: Tensor) -> None:
        self._notes.append((f"generator step {self._step}: the {network}'s {quantity}", number))
