"""What the two networks minimize."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gan.augment import Augment
from gan.losses import Generation, Judged, Loss, Penalties, Update
from gan.networks import Discriminator, Generator
from gan.training.batch import Batch

Losses = tuple[Tensor, dict[str, Tensor]]  # what a network minimizes, and the scalars to report


@dataclass(frozen=True)
class Objective:
    """The losses of both networks: the adversarial loss of augmented images, plus penalties.

    Attributes:
        generator: The generator.
        discriminator: The discriminator.
        loss: The adversarial loss.
        penalties: What is added to it.
        augment: Changes real and generated images before the discriminator sees them.
        joint_pass: Whether the discriminator sees real and generated images in one pass.
    """

    generator: Generator
    discriminator: Discriminator
    loss: Loss
    penalties: Penalties
    augment: Augment
    joint_pass: bool

    def for_discriminator(self, batch: Batch, number: int, seen: int) -> Losses:
        """Return the discriminator's loss, and scalars to report.

        Args:
            batch: What the update works on.
            number: Number of the update in the run, from 0.
            seen: Real images that the discriminator was shown in earlier generator steps.
        """
        z, fake_y, draws, numbers = batch.draws
        real, y, (real_draws, fake_draws) = batch.real, batch.real_labels, draws.unbind(1)
        with torch.no_grad():
            fake = self.generator(z, fake_y)
        real_logits, fake_logits = self._judge_all((real, y, real_draws), (fake, fake_y, fake_draws))
        loss = self.loss.discriminator(real_logits, fake_logits)
        reported = {
            "loss/discriminator": loss.detach(),
            "logits/real": real_logits.detach().mean(),
            "logits/fake": fake_logits.detach().mean(),
            "logits/real_sign": real_logits.detach().sign().mean(),
        }
        update = Update(
            real=Judged(real, y, real_draws, real_logits),
            fake=Judged(fake, fake_y, fake_draws, fake_logits),
            latents=z,
            numbers=numbers,
            number=number,
            seen=seen,
            judge=lambda images, judged: self._judge(images, judged.labels, judged.draws),
            generate=torch.no_grad()(self.generator),
        )
        return _with_penalty("loss", loss, self.penalties.discriminator(update), reported)

    def for_generator(self, batch: Batch) -> Losses:
        """Return the generator's loss, and scalars to report."""
        z, y, draws, numbers = batch.draws
        real_draws, fake_draws = draws.unbind(1)
        fake = self.generator(z, y)
        real = [(batch.real, batch.real_labels, real_draws)] if self.loss.pairs else []
        loss = self.loss.generator(*self._judge_all((fake, y, fake_draws), *real))
        term = self.penalties.generator(Generation(fake, y, z, numbers, self.generator))
        return _with_penalty("loss/generator", loss, term, {"loss/generator": loss.detach()})

    def _judge_all(self, *groups: tuple[Tensor, Tensor, Tensor]) -> list[Tensor]:
        """Return the logits of groups of images, labels and augmentation draws."""
        if len(groups) == 1 or not self.joint_pass:
            return [self._judge(*group) for group in groups]
        logits = self._judge(*(torch.cat(tensors) for tensors in zip(*groups, strict=True)))
        return list(logits.split([len(images) for images, *_ in groups]))

    def _judge(self, images: Tensor, labels: Tensor, draws: Tensor) -> Tensor:
        logits: Tensor = self.discriminator(self.augment(images, draws), labels)
        # Under autocast logits come in half precision: too coarse for a loss.
        return logits.to(next(self.discriminator.parameters()).dtype)


def uses_batch_statistics(network: nn.Module) -> bool:
    """Return whether what a network says of an image depends on the other images of its batch."""
    return any(isinstance(module, _BatchNorm) or getattr(module, "uses_batch", False) for module in network.modules())


def _with_penalty(name: str, loss: Tensor, penalty: Tensor | None, reported: dict[str, Tensor]) -> Losses:
    if penalty is None:
        return loss, reported
    return loss + penalty, reported | {f"{name}/penalty": penalty.detach()}
