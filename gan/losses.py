"""Adversarial losses and gradient penalties.

A loss is two methods of logits; its subclass is all that a new loss needs. Each takes logits of any shape and returns a
scalar, to be minimized. `real` and `fake` are the discriminator's logits, higher for what it takes to be real.

A gradient penalty is added to the discriminator's loss whatever that is: `penalty` is an argument of `GAN` of its own.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gan.networks import Discriminator


class Loss(ABC):
    """What the two networks minimize."""

    @abstractmethod
    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the discriminator's loss."""

    @abstractmethod
    def generator(self, fake: Tensor) -> Tensor:
        """Return the generator's loss."""


class Hinge(Loss):
    """Hinge loss (Lim and Ye, 2017; SNGAN, Miyato et al., ICLR 2018, equations 16 and 17)."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()

    def generator(self, fake: Tensor) -> Tensor:
        return -fake.mean()


class NonSaturating(Loss):
    """The first GAN's loss with the generator's -log D (Goodfellow et al., NeurIPS 2014, section 3)."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.softplus(-real).mean() + F.softplus(fake).mean()

    def generator(self, fake: Tensor) -> Tensor:
        return F.softplus(-fake).mean()


class LeastSquares(Loss):
    """Least squares with targets 1 for real and 0 for fake (LSGAN, Mao et al., ICCV 2017, equation 9)."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return 0.5 * ((real - 1).square().mean() + fake.square().mean())

    def generator(self, fake: Tensor) -> Tensor:
        return 0.5 * (fake - 1).square().mean()


class Wasserstein(Loss):
    """Difference of means (Arjovsky et al., ICML 2017). It needs a discriminator that is held Lipschitz."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return fake.mean() - real.mean()

    def generator(self, fake: Tensor) -> Tensor:
        return -fake.mean()


class Penalty(ABC):
    """A term of the discriminator's loss that depends on its gradient with respect to the images."""

    @abstractmethod
    def __call__(self, discriminator: Discriminator, real: Tensor, fake: Tensor, labels: Tensor, mix: Tensor) -> Tensor:
        """Return the penalty, a scalar that can be differentiated with respect to the discriminator's parameters.

        Args:
            discriminator: The network.
            real: Real images (N, C, H, W) in [-1, 1].
            fake: Generated images, detached, of the same shape.
            labels: The real images' labels (N,).
            mix: Uniform random numbers in [0, 1), one an image (N,), for penalties between real and fake.
        """


@dataclass(frozen=True)
class WGANGP(Penalty):
    """weight · E[(‖∇D(x̂)‖ − 1)²], x̂ on lines between real and fake (Gulrajani et al., NeurIPS 2017, equation 3)."""

    weight: float = 10.0

    def __post_init__(self) -> None:
        _check_weight(self)

    def __call__(self, discriminator: Discriminator, real: Tensor, fake: Tensor, labels: Tensor, mix: Tensor) -> Tensor:
        # Under autocast generated images come in half precision.
        between = torch.lerp(real, fake.to(real.dtype), mix.view(-1, 1, 1, 1).to(real.dtype))
        gradient = _image_gradient(discriminator, between, labels)
        return self.weight * (gradient.flatten(1).norm(dim=1) - 1).square().mean()


@dataclass(frozen=True)
class R1(Penalty):
    """weight / 2 · E[‖∇D(x)‖²] at the real images (Mescheder et al., ICML 2018, equation 9)."""

    weight: float = 10.0

    def __post_init__(self) -> None:
        _check_weight(self)

    def __call__(self, discriminator: Discriminator, real: Tensor, fake: Tensor, labels: Tensor, mix: Tensor) -> Tensor:
        gradient = _image_gradient(discriminator, real, labels)
        return self.weight / 2 * gradient.flatten(1).square().sum(1).mean()


def _check_weight(penalty: "WGANGP | R1") -> None:
    if not penalty.weight > 0:
        raise ValueError(f"{type(penalty).__name__}: weight must be positive, got {penalty.weight}")


def _image_gradient(discriminator: Discriminator, images: Tensor, labels: Tensor) -> Tensor:
    images = images.detach().requires_grad_()
    logits = discriminator(images, labels)
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.float() if gradient.dtype.itemsize < 4 else gradient
