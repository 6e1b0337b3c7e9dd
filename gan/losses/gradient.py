"""Gradient penalties: terms that depend on the discriminator's gradient with respect to images.

The gradient is taken at the images before augmentation.
"""

from abc import abstractmethod
from collections.abc import Hashable

import torch
from torch import Tensor

from gan.checks import check_at_least
from gan.losses.penalty import Judged, Penalty, Update, check_weight
from gan.schedules import Schedule, extremes, value_at


class GradientPenalty(Penalty):
    """A penalty on gradients, every n-th update n times as strong: "lazy" (Karras et al., StyleGAN2, CVPR 2020).

    Args:
        weight: How strong it is: a number, or a schedule over the real images seen so far.
        every: n, in updates of the discriminator.

    Raises:
        ValueError: if the weight is not positive or `every` is below 1.
    """

    differentiates_gradient = True
    scheduled: Tensor

    def __init__(self, weight: float | Schedule = 10.0, every: int = 1) -> None:
        super().__init__()
        check_weight(self, weight=extremes(weight)[0])
        check_at_least(1, f"{type(self).__name__}: ", every=every)
        self.weight, self.every = weight, every
        # A tensor, since CUDA graphs record a number of Python's as it was.
        self.register_buffer("scheduled", torch.tensor(value_at(weight, 0)), persistent=False)

    @abstractmethod
    def term(self, update: Update) -> Tensor:
        """Return the penalty with weight 1, a scalar."""

    def begin(self, seen: int) -> None:
        if isinstance(self.weight, Schedule):
            self.scheduled.fill_(self.weight(seen))

    def phase(self, number: int, seen: int) -> Hashable:
        return number % self.every == 0

    def discriminator(self, update: Update) -> Tensor | None:
        if not self.phase(update.number, update.seen):
            return None
        weight = self.scheduled if isinstance(self.weight, Schedule) else self.weight
        return self.every * weight * self.term(update)


class WGANGP(GradientPenalty):
    """weight · E[(‖∇D(x̂)‖ − 1)²], x̂ on lines between real and fake (Gulrajani et al., NeurIPS 2017, equation 3)."""

    def numbers(self, latent_dim: int) -> int:
        return 1

    def term(self, update: Update) -> Tensor:
        real, fake = update.real.images, update.fake.images
        # Under autocast generated images come in half precision.
        between = torch.lerp(real, fake.to(real.dtype), update.numbers.view(-1, 1, 1, 1).to(real.dtype))
        gradient = _image_gradient(update, between, update.real)
        return (gradient.flatten(1).norm(dim=1) - 1).square().mean()


class R1(GradientPenalty):
    """weight / 2 · E[‖∇D(x)‖²] at the real images (Mescheder et al., ICML 2018, equation 9)."""

    def term(self, update: Update) -> Tensor:
        return _mean_squared_norm(_image_gradient(update, update.real.images, update.real))


class R2(GradientPenalty):
    """weight / 2 · E[‖∇D(x)‖²] at the generated images (Mescheder et al., ICML 2018, equation 10)."""

    def term(self, update: Update) -> Tensor:
        return _mean_squared_norm(_image_gradient(update, update.fake.images, update.fake))


def _mean_squared_norm(gradient: Tensor) -> Tensor:
    return gradient.flatten(1).square().sum(1).mean() / 2


def _image_gradient(update: Update, images: Tensor, as_those: Judged) -> Tensor:
    images = images.detach().requires_grad_()
    logits = update.judge(images, as_those)
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.float() if gradient.dtype.itemsize < 4 else gradient
