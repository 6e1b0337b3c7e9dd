"""LeCam regularization (Tseng et al., "Regularizing Generative Adversarial Networks under Limited Data", CVPR 2021)."""

from collections.abc import Hashable

import torch
from torch import Tensor
from torch.nn import functional as F

from gan.checks import check_at_least
from gan.losses.penalty import Penalty, Update, check_weight


class LeCam(Penalty):
    """weight · (E[relu(D(real) - a_F)²] + E[relu(a_R - D(fake))²]): real and fake logits are held together.

    a_R and a_F are moving averages of the mean logits of real and of generated images over the updates before. This is
    the form of the authors' code; the paper's equation 9 has the squares without relu. The averages are part of
    checkpoints.

    Args:
        weight: How strong it is. The authors use 0.3 for BigGAN on CIFAR-10.
        decay: Share of the average that stays in an update.
        start: Updates of the discriminator without it, at the end of which the averages begin with the latest logits.

    Raises:
        ValueError: if an argument is out of its range.
    """

    real_average: Tensor
    fake_average: Tensor
    updates: Tensor

    def __init__(self, weight: float = 0.3, decay: float = 0.99, start: int = 1000) -> None:
        super().__init__()
        check_weight(self, weight=weight)
        check_at_least(0, "LeCam: ", start=start)
        if not 0 <= decay < 1:
            raise ValueError(f"LeCam: decay must be at least 0 and below 1, got {decay}")
        self.weight, self.decay, self.start = weight, decay, start
        self.register_buffer("real_average", torch.zeros(()))
        self.register_buffer("fake_average", torch.zeros(()))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def phase(self, number: int, seen: int) -> Hashable:
        return number >= max(1, self.start)  # there is no average before the first update

    def discriminator(self, update: Update) -> Tensor | None:
        if not self.phase(update.number, update.seen):
            return None
        above = F.relu(update.real.logits - self.fake_average).square().mean()
        below = F.relu(self.real_average - update.fake.logits).square().mean()
        return self.weight * (above + below)

    @torch.no_grad()
    def observe(self, real: Tensor, fake: Tensor) -> None:
        self.updates += 1
        share = torch.where(self.updates < max(1, self.start) + 1, 1.0, 1 - self.decay)
        for average, logit in ((self.real_average, real), (self.fake_average, fake)):
            average.lerp_(logit.to(average.dtype), share.to(average.dtype))
