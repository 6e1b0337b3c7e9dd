"""Base class of penalties, and the parts of an update that they see."""

from collections.abc import Callable, Hashable
from typing import ClassVar, NamedTuple

from torch import Tensor, nn


class Judged(NamedTuple):
    """Images and what the discriminator said of them.

    Attributes:
        images: (N, C, H, W) in [-1, 1], before augmentation, detached.
        labels: (N,).
        draws: Random numbers of their augmentation (N, k).
        logits: (N,).
    """

    images: Tensor
    labels: Tensor
    draws: Tensor
    logits: Tensor


class Update(NamedTuple):
    """One update of the discriminator, as its penalties see it.

    Attributes:
        real: The real images.
        fake: The generated ones.
        latents: What these were generated from (N, latent_dim).
        numbers: The penalty's random numbers, uniform in [0, 1): (N, `Penalty.numbers`).
        number: Number of the update in the run, from 0.
        seen: Real images that the discriminator was shown in earlier generator steps.
        judge: Returns logits of other images, augmented and labelled as the given ones.
        generate: Returns images of latent vectors and labels, without a graph.
    """

    real: Judged
    fake: Judged
    latents: Tensor
    numbers: Tensor
    number: int
    seen: int
    judge: Callable[[Tensor, Judged], Tensor]
    generate: Callable[[Tensor, Tensor], Tensor]


class Generation(NamedTuple):
    """One update of the generator, as penalties see it.

    Attributes:
        images: The generated images (N, C, H, W), with their graph.
        labels: Their labels (N,).
        latents: What they were generated from (N, latent_dim).
        numbers: The penalty's random numbers, uniform in [0, 1): (N, `Penalty.numbers`).
        generate: Returns images of latent vectors and labels, with their graph.
    """

    images: Tensor
    labels: Tensor
    latents: Tensor
    numbers: Tensor
    generate: Callable[[Tensor, Tensor], Tensor]


class Penalty(nn.Module):
    """A term that is added to the discriminator's loss, and maybe one to the generator's.

    What a penalty remembers from update to update it keeps in buffers: they are part of checkpoints.

    Attributes:
        differentiates_gradient: Whether it differentiates the discriminator's gradient, which compiled networks do not
            support.
    """

    differentiates_gradient: ClassVar[bool] = False

    def numbers(self, latent_dim: int) -> int:
        """Return how many random numbers it needs for an image."""
        return 0

    def begin(self, seen: int) -> None:
        """Take note of how many real images the discriminator has been shown, before a generator step."""

    def phase(self, number: int, seen: int) -> Hashable:
        """Return what the discriminator's term depends on besides tensors, in the update of this number.

        With CUDA graphs an update is recorded once for each value and then replayed. By default every update is
        another one, so nothing is recorded. A term that is a function of tensors alone has the phase None.
        """
        return number, seen

    def discriminator(self, update: Update) -> Tensor | None:
        """Return the term of the discriminator's loss, a scalar; None if it has none in this update."""
        return None

    def generator(self, generation: Generation) -> Tensor | None:
        """Return the term of the generator's loss, a scalar; None if it has none."""
        return None

    def observe(self, real: Tensor, fake: Tensor) -> None:
        """Take note of an update of the discriminator: the mean logits of all processes' images, scalars."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Penalty":
        """Keep buffers in float32 at least: steps of an average are lost in half precision."""
        super()._apply(fn, recurse)
        for name, buffer in self.named_buffers(recurse=False):
            if buffer.is_floating_point() and buffer.dtype.itemsize < 4:
                setattr(self, name, buffer.float())
        return self


def check_weight(penalty: Penalty, **weights: float) -> None:
    """Raise a ValueError that names the first weight which is not positive."""
    for name, weight in weights.items():
        if not weight > 0:
            raise ValueError(f"{type(penalty).__name__}: {name} must be positive, got {weight}")
