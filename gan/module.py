"""The adversarial training step."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gan.checks import check_at_least
from gan.distributed import average_gradients
from gan.images import to_float
from gan.inference import GenerativeModule
from gan.losses import Loss, Penalty
from gan.networks import Discriminator, Generator
from gan.norms import Norm
from gan.randomness import Stream, integers, normal, rng, seed_torch, uniform
from gan.training.compilation import compile_network
from gan.training.optimizers import LinearDecay, Optimizer, adam
from gan.transfer import send

Losses = tuple[Tensor, dict[str, Tensor]]  # what a network minimizes, and the scalars to report


class GAN(GenerativeModule):
    """A generator and a discriminator in training.

    One `training_step` is one generator step: `discriminator_steps` updates of the discriminator, each on its own real
    images, then one update of the generator. `trainer.global_step` counts generator steps; so does everything else.

    Args:
        generator: Plain generator.
        discriminator: Plain discriminator.
        loss: The adversarial loss.
        generator_norms: Norms for the generator, in order.
        discriminator_norms: Norms for the discriminator, in order.
        penalty: A gradient penalty, added to the discriminator's loss.
        generator_optimizer: Makes the generator's optimizer from its parameters.
        discriminator_optimizer: Makes the discriminator's optimizer from its parameters.
        decay: How the learning rates fall; None keeps them constant.
        discriminator_steps: Updates of the discriminator per generator step (the papers' n_dis).
        joint_pass: Pass real and fake images through the discriminator together, which is faster. A discriminator with
            batch norm always gets two passes, so that its statistics do not mix both. False makes two passes, as the
            papers do; spectral norm then makes two power iterations per update instead of one.
        generator_batch_ratio: The generator's batch as a multiple of the discriminator's (SNGAN's ResNets use 2).
        micro_batches: Number of equal parts into which the batch of each update is split. Their gradients are added up,
            so that batches that do not fit into memory can be used. Noise, data and result are those of 1, except for
            norms that depend on the batch or count passes: batch norm uses the statistics of each part, spectral norm
            makes a power iteration per part.
        channels_last: Keep weights and images in the channels-last memory format, which is faster for convolutions.
        compile: Compile the networks with `torch.compile` for the training step. Meant for GPUs; CPUs gain nothing.
            The first step then takes half a minute or more. A discriminator with a penalty is not compiled, since
            compiled gradients cannot be differentiated. Networks that cannot be compiled run as they are, with a
            warning.
        seed: Seed of noise, labels and data order. The command line sets it from `seed_everything`.
    """

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        loss: Loss,
        generator_norms: list[Norm] = [],  # noqa: B006 (never changed; a list in YAML)
        discriminator_norms: list[Norm] = [],  # noqa: B006
        penalty: Penalty | None = None,
        generator_optimizer: Optimizer = adam,
        discriminator_optimizer: Optimizer = adam,
        decay: LinearDecay | None = None,
        discriminator_steps: int = 1,
        joint_pass: bool = True,
        generator_batch_ratio: int = 1,
        micro_batches: int = 1,
        channels_last: bool = False,
        compile: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(generator, discriminator, loss, generator_norms, discriminator_norms, seed, decay)
        check_at_least(1, discriminator_steps=discriminator_steps)
        check_at_least(1, generator_batch_ratio=generator_batch_ratio, micro_batches=micro_batches)
        self.penalty = penalty
        self.optimizer_factories = generator_optimizer, discriminator_optimizer
        self.discriminator_steps = discriminator_steps
        uses_batch = any(
            isinstance(module, _BatchNorm) or getattr(module, "uses_batch", False)
            for module in self.discriminator.modules()
        )
        self.joint_pass = joint_pass and not uses_batch
        self.generator_batch_ratio = generator_batch_ratio
        self.micro_batches = micro_batches
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.compiled = compile
        self.to(memory_format=self.memory_format)

    # The step

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Make one generator step.

        Args:
            batch: uint8 images (discriminator_steps * N, C, H, W) and labels (discriminator_steps * N,).
                N is this process' share of `data.batch_size`.
            batch_idx: Unused; `trainer.global_step` is the position in the run.

        Returns:
            Scalars to report, on the device: losses and mean logits of the last updates.

        Raises:
            FloatingPointError: if a loss or a weight is no longer finite.
        """
        self.health.begin(self.trainer.global_step + 1)
        seed_torch(self.device, self.seed, Stream.NETWORKS, self.trainer.global_step, self.trainer.global_rank)
        self.set_learning_rates()
        images, labels = batch
        reported: dict[str, Tensor] = {}
        updates = zip(images.chunk(self.discriminator_steps), labels.chunk(self.discriminator_steps), strict=True)
        for update, (real, y) in enumerate(updates):
            reported |= self._update_discriminator(real, y, update)
        reported |= self._update_generator(len(real) * self.generator_batch_ratio)
        if self.health.is_due(self.device.type):
            self.health.check()
        return reported

    def _update_discriminator(self, real: Tensor, y: Tensor, update: int) -> dict[str, Tensor]:
        optimizer, count = self.optimizer_of("discriminator"), len(real)
        z, fake_y = self._draw(count, update)
        mix = self._slice(uniform(self._rng(Stream.MIX, update), count * self.trainer.world_size))
        with self.toggled_optimizer(optimizer):
            reported = self._compute_gradients(
                optimizer, "discriminator", self._discriminator_losses, real, y, z, fake_y, mix
            )
            # LightningOptimizer.step() would count this update in `trainer.global_step`.
            self.trainer.strategy.optimizer_step(optimizer.optimizer, lambda: None)
            self.health.add_weights("discriminator", self.discriminator)
        return reported

    def _discriminator_losses(self, images: Tensor, y: Tensor, z: Tensor, fake_y: Tensor, mix: Tensor) -> Losses:
        real = self._prepare(images)
        with torch.no_grad():
            fake = self.generator(z, fake_y)
        real_logits, fake_logits = self._judge_both(real, y, fake, fake_y)
        loss = self.loss.discriminator(real_logits, fake_logits)
        reported = {
            "loss/discriminator": loss.detach(),
            "logits/real": real_logits.detach().mean(),
            "logits/fake": fake_logits.detach().mean(),
        }
        if self.penalty is not None:
            penalty = self.penalty(self.discriminator, real, fake, y, mix)
            reported["loss/penalty"] = penalty.detach()
            loss = loss + penalty
        return loss, reported

    def _update_generator(self, batch_size: int) -> dict[str, Tensor]:
        optimizer = self.optimizer_of("generator")
        z, y = self._draw(batch_size, update=self.discriminator_steps)
        with self.toggled_optimizer(optimizer):
            reported = self._compute_gradients(optimizer, "generator", self._generator_losses, z, y)
            optimizer.step()
            self.health.add_weights("generator", self.generator)
        return reported

    def _generator_losses(self, z: Tensor, y: Tensor) -> Losses:
        loss = self.loss.generator(self._judge(self.generator(z, y), y))
        return loss, {"loss/generator": loss.detach()}

    def _compute_gradients(
        self, optimizer: LightningOptimizer, network: str, losses: Callable[..., Losses], *batch: Tensor
    ) -> dict[str, Tensor]:
        """Compute the gradients of an update, one micro-batch at a time. Return the means of what the losses report."""
        optimizer.zero_grad()
        total: dict[str, Tensor] = {}
        for part in zip(*(tensor.chunk(self.micro_batches) for tensor in batch), strict=True):
            loss, reported = losses(*part)
            self.manual_backward(loss / self.micro_batches)
            reported["objective"] = loss.detach()
            total = {name: value / self.micro_batches + total.get(name, 0) for name, value in reported.items()}
        values = self.health.values_to_average(total.pop("objective"))
        self.health.add_loss(network, average_gradients(getattr(self, network).parameters(), values))
        return total

    def _judge_both(self, real: Tensor, y: Tensor, fake: Tensor, fake_y: Tensor) -> tuple[Tensor, Tensor]:
        if not self.joint_pass:
            return self._judge(real, y), self._judge(fake, fake_y)
        real_logits, fake_logits = self._judge(torch.cat([real, fake]), torch.cat([y, fake_y])).chunk(2)
        return real_logits, fake_logits

    def _judge(self, images: Tensor, labels: Tensor) -> Tensor:
        # Under autocast logits come in half precision: too coarse for a loss.
        return self.discriminator(images, labels).to(self.weights_dtype)

    def _prepare(self, images: Tensor) -> Tensor:
        return to_float(images).to(dtype=self.weights_dtype, memory_format=self.memory_format)

    # Randomness of one position: drawn for the global batch, of which each process keeps its slice

    def _draw(self, local: int, update: int) -> tuple[Tensor, Tensor]:
        count = local * self.trainer.world_size
        z = normal(self._rng(Stream.NOISE, update), count, self.generator.latent_dim)
        y = integers(self._rng(Stream.LABELS, update), max(1, self.generator.num_classes), count)
        return self._slice(z).to(self.weights_dtype), self._slice(y)

    def _rng(self, stream: Stream, update: int) -> np.random.Generator:
        return rng(self.seed, stream, self.trainer.global_step, update)

    def _slice(self, drawn: Tensor) -> Tensor:
        return send(self.local_slice(drawn), self.device)

    # What the base class asks for

    @property
    def batches_per_step(self) -> int:
        """One batch of real images for each update of the discriminator."""
        return self.discriminator_steps

    @property
    def generator_batch_size(self) -> int:
        """Images of one update of the generator, all processes together."""
        return self.batch_size * self.generator_batch_ratio

    def trained_networks(self) -> Mapping[str, tuple[nn.Module, Optimizer]]:
        """Return both networks, the generator first."""
        for_generator, for_discriminator = self.optimizer_factories
        return {"generator": (self.generator, for_generator), "discriminator": (self.discriminator, for_discriminator)}

    def on_fit_start(self) -> None:
        """Check the configuration, and compile the networks if asked to."""
        super().on_fit_start()
        local = self.batch_size // self.trainer.world_size
        if local % self.micro_batches:
            raise ValueError(f"micro_batches must divide a process' {local} images, got {self.micro_batches}")
        if self.compiled:
            compile_network(self.generator)
            if self.penalty is None:
                compile_network(self.discriminator)
