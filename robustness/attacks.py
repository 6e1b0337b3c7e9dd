"""Attacks: images that a network gets wrong, within a small distance of ones that it gets right.

Networks are attacked as they are in evaluation mode; images are floats in [0, 1]. Distances are the largest change of a
value, in units of 1/255: the usual ε = 8/255 is `epsilon: 8`.

A network may only hide its gradients (Athalye et al., "Obfuscated Gradients Give a False Sense of Security", ICML
2018). Signs of it: more steps, restarts or another loss break what PGD does not, or images that fool an undefended
network fool it too: make them with the `logits` of the one, and ask `is_wrong` of the other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gan.checks import check_at_least
from gan.randomness import Stream, rng, uniform

Logits = Callable[[Tensor], Tensor]  # from images (N, C, H, W) in [0, 1] to logits (N, classes)


class Attack:
    """Changes images so that a network gets them wrong."""

    epsilon: float

    @property
    def name(self) -> str:
        """Name of its row in a table: what it is, and ε if that is not 8."""
        return type(self).__name__.lower() + self._distance

    @property
    def _distance(self) -> str:
        return "" if self.epsilon == 8 else f"_eps{self.epsilon:g}"

    def __call__(self, logits: Logits, images: Tensor, labels: Tensor, indices: Sequence[int], seed: int = 0) -> Tensor:
        """Return the changed images.

        Args:
            logits: The network, in evaluation mode.
            images: (N, C, H, W) in [0, 1].
            labels: The true classes (N,).
            indices: The number of each image in its set: what is random depends on seed and number alone.
            seed: Of all that is random.

        Returns:
            Images (N, C, H, W) in [0, 1].
        """
        raise NotImplementedError


@dataclass(frozen=True)
class FGSM(Attack):
    """One step along the sign of the loss' gradient, from the image itself (Goodfellow et al., ICLR 2015).

    Attributes:
        epsilon: Largest change of a value, in units of 1/255.
    """

    epsilon: float = 8.0

    def __post_init__(self) -> None:
        _check_positive(self)

    def __call__(self, logits: Logits, images: Tensor, labels: Tensor, indices: Sequence[int], seed: int = 0) -> Tensor:
        gradient, _ = loss_gradient(logits, images, labels)
        return (images + self.epsilon / 255 * gradient.sign()).clamp(0, 1)


@dataclass(frozen=True)
class PGD(Attack):
    """Steps along the sign of the loss' gradient, from a random start (Madry et al., ICLR 2018).

    With its defaults, the protocol of the ConvNorm paper's repository: what the last step gives is what counts.

    Attributes:
        steps: Number of steps.
        epsilon: Largest change of a value, in units of 1/255.
        step_size: Change of a value in one step, in units of 1/255.
        restarts: Random starts. Of an image, the first one that fools the network counts.
        keep: Let an image that has once fooled the network stay as it was then. More steps are then never weaker, nor
            is the attack weaker than none.
    """

    steps: int = 20
    epsilon: float = 8.0
    step_size: float = 2.0
    restarts: int = 1
    keep: bool = False

    def __post_init__(self) -> None:
        check_at_least(1, f"{type(self).__name__}: ", steps=self.steps, restarts=self.restarts)
        _check_positive(self)

    @property
    def name(self) -> str:
        """Kind, steps, restarts, and the size of the steps if it is not ε / 4: "pgd20", "pgd20x5", "pgd20_step1"."""
        restarts = f"x{self.restarts}" if self.restarts > 1 else ""
        kept = "_keep" if self.keep else ""
        step = "" if self.step_size == self.epsilon / 4 else f"_step{self.step_size:g}"
        return f"{type(self).__name__.lower()}{self.steps}{restarts}{kept}{self._distance}{step}"

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return what is made larger, (N,): the cross-entropy."""
        return cross_entropy(logits, labels)

    def __call__(self, logits: Logits, images: Tensor, labels: Tensor, indices: Sequence[int], seed: int = 0) -> Tensor:
        found, fooled = images, torch.zeros_like(labels, dtype=torch.bool)
        if self.keep:
            fooled = is_wrong(logits, images, labels)
        for restart in range(self.restarts):
            start = _start(images, seed, restart, indices) * (self.epsilon / 255)
            ended, kept = self._climb(logits, images, labels, (images + start).clamp(0, 1))
            found = torch.where(_each(fooled), found, ended)
            if restart + 1 < self.restarts or self.keep:
                fooled = fooled | kept | is_wrong(logits, ended, labels)
        return found

    def _climb(self, logits: Logits, images: Tensor, labels: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return where the steps from `x` end, and which images stayed where they fooled the network."""
        epsilon, step = self.epsilon / 255, self.step_size / 255
        lowest, highest = (images - epsilon).clamp(0, 1), (images + epsilon).clamp(0, 1)
        kept = torch.zeros_like(labels, dtype=torch.bool)
        for _ in range(self.steps):
            gradient, wrong = loss_gradient(logits, x, labels, self.loss)
            if self.keep:
                kept = kept | wrong
            moved = torch.minimum(torch.maximum(x + step * gradient.sign(), lowest), highest)
            x = torch.where(_each(kept), x, moved)
        return x, kept


@dataclass(frozen=True)
class MarginPGD(PGD):
    """PGD on the margin: the largest logit of a wrong class less the true one's (Carlini and Wagner, S&P 2017).

    Its gradient does not vanish where the network is sure of itself.
    """

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return what is made larger, (N,): the margin."""
        true = labels[:, None]
        return logits.scatter(1, true, -torch.inf).amax(1) - logits.gather(1, true).squeeze(1)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of each image, (N,)."""
    return F.cross_entropy(logits, labels, reduction="none")


def loss_gradient(
    logits: Logits, images: Tensor, labels: Tensor, loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy
) -> tuple[Tensor, Tensor]:
    """Return the gradient of a loss at the images (N, C, H, W), and which of them the network gets wrong (N,)."""
    with torch.enable_grad():
        x = images.detach().requires_grad_()
        outputs = logits(x)
        (gradient,) = torch.autograd.grad(loss(outputs, labels).sum(), x)
    return gradient, outputs.detach().argmax(1) != labels


@torch.no_grad()
def is_wrong(logits: Logits, images: Tensor, labels: Tensor) -> Tensor:
    """Return which images (N,) the network gets wrong."""
    return logits(images).argmax(1) != labels


def _start(images: Tensor, seed: int, restart: int, indices: Sequence[int]) -> Tensor:
    """Return numbers in [-1, 1), in the shape of the images, a function of each image's number."""
    shape = images.shape[1:]
    drawn = torch.stack([uniform(rng(seed, Stream.ATTACK, restart, index), *shape) for index in indices])
    return drawn.to(images).mul_(2).sub_(1)


def _each(chosen: Tensor) -> Tensor:
    return chosen.view(-1, 1, 1, 1)


def _check_positive(attack: FGSM | PGD) -> None:
    for name in "epsilon", "step_size":
        if not getattr(attack, name, 1) > 0:
            raise ValueError(f"{type(attack).__name__}: {name} must be positive, got {getattr(attack, name)}")
