"""Adversarial losses.

A loss is two methods of logits; its subclass is all that a new loss needs. Each takes logits of any shape and returns a
scalar, to be minimized. `real` and `fake` are the discriminator's logits, higher for what it takes to be real.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F


class Loss(ABC):
    """Base class of adversarial losses.

    Attributes:
        pairs: Whether each generated image is compared with a real one. The generator's update then gets fresh real
            images, as many as it generates, and both images of a pair have the same label.
    """

    pairs: ClassVar[bool] = False

    @abstractmethod
    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the discriminator's loss."""

    @abstractmethod
    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """Return the generator's loss; `real` holds logits only if the loss compares `pairs`."""


class Hinge(Loss):
    """Hinge loss (Lim and Ye, 2017; SNGAN, Miyato et al., ICLR 2018, equations 16 and 17)."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return -fake.mean()


class NonSaturating(Loss):
    """The first GAN's loss with the generator's -log D (Goodfellow et al., NeurIPS 2014, section 3)."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.softplus(-real).mean() + F.softplus(fake).mean()

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return F.softplus(-fake).mean()


class LeastSquares(Loss):
    """Least squares with targets 1 for real and 0 for fake (LSGAN, Mao et al., ICCV 2017, equation 9)."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return 0.5 * ((real - 1).square().mean() + fake.square().mean())

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return 0.5 * (fake - 1).square().mean()


class Wasserstein(Loss):
    """Difference of means (Arjovsky et al., ICML 2017). It needs a discriminator that is held Lipschitz."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return fake.mean() - real.mean()

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return -fake.mean()


class Relativistic(Loss):
    """Relativistic pairing loss (Jolicoeur-Martineau, 2018, arXiv 1807.00734, "RpGAN"; R3GAN, Huang et al., 2024).

    The discriminator minimizes softplus(D(fake) - D(real)), the generator softplus(D(real) - D(fake)), over pairs.
    R3GAN trains it with `R1` and `R2`. Only differences of logits matter, so their sign says nothing.
    """

    pairs = True

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.softplus(fake - real).mean()

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        if real is None:
            raise ValueError("Relativistic: the generator's loss needs the logits of real images")
        return F.softplus(real - fake).mean()
