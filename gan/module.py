"""The adversarial training step."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gan.augment import Augment, Unchanged
from gan.checks import check_at_least
from gan.distributed import average_gradients
from gan.images import to_float
from gan.inference import GenerativeModule
from gan.losses import Generation, Judged, Loss, Penalty, Update, WeightPenalty
from gan.networks import Discriminator, Generator
from gan.norms import Norm
from gan.randomness import Stream, integers, normal, rng, seed_torch, uniform
from gan.training.compilation import compile_network
from gan.training.optimizers import Annealing, LinearDecay, Optimizer, adam
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
        penalty: A penalty, or several, added to the losses.
        generator_weight_penalty: A penalty on the generator's weights, added once an update.
        discriminator_weight_penalty: A penalty on the discriminator's weights, added once an update.
        augment: Augmentation of real and generated images before the discriminator sees them, in the updates of both
            networks.
        generator_optimizer: Makes the generator's optimizer from its parameters.
        discriminator_optimizer: Makes the discriminator's optimizer from its parameters.
        decay: How the learning rates fall; None keeps them constant.
        annealing: Schedules of learning rates and betas over images, instead of `decay`.
        discriminator_steps: Updates of the discriminator per generator step (the papers' n_dis).
        joint_pass: Pass real and fake images through the discriminator together, which is faster. A discriminator with
            statistics over the batch always gets two passes, so that they do not mix both. False makes two passes, as
            the papers do; spectral norm then makes two power iterations per update instead of one.
        generator_batch_ratio: The generator's batch as a multiple of the discriminator's (SNGAN's ResNets use 2).
        micro_batches: Number of equal parts into which the batch of each update is split. Their gradients are added up,
            so that batches that do not fit into memory can be used. Noise, data and result are those of 1, except for
            norms that depend on the batch or count passes: batch norm uses the statistics of each part, spectral norm
            makes a power iteration per part.
        channels_last: Keep weights and images in the channels-last memory format, which is faster for convolutions.
        compile: Compile the networks with `torch.compile` for the training step. Meant for GPUs; CPUs gain nothing.
            The first step then takes half a minute or more. With a gradient penalty the discriminator and the
            augmentation are not compiled, since compiled gradients cannot be differentiated. Networks that cannot be
            compiled run as they are, with a warning.
        seed: Seed of noise, labels and data order. The command line sets it from `seed_everything`.
    """

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        loss: Loss,
        generator_norms: list[Norm] = [],  # noqa: B006 (never changed; a list in YAML)
        discriminator_norms: list[Norm] = [],  # noqa: B006
        penalty: Penalty | list[Penalty] | None = None,
        generator_weight_penalty: WeightPenalty | None = None,
        discriminator_weight_penalty: WeightPenalty | None = None,
        augment: Augment | None = None,
        generator_optimizer: Optimizer = adam,
        discriminator_optimizer: Optimizer = adam,
        decay: LinearDecay | None = None,
        annealing: Annealing | None = None,
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
        if decay is not None and annealing is not None:
            raise ValueError("decay and annealing both set the learning rates: give one of them")
        self.penalties = nn.ModuleList([penalty] if isinstance(penalty, Penalty) else penalty or [])
        self.weight_penalties = nn.ModuleDict()
        given = ("generator", generator_weight_penalty), ("discriminator", discriminator_weight_penalty)
        for network, weight_penalty in given:
            if weight_penalty is not None:
                weight_penalty.layers(getattr(self, network))  # raises if it finds none
                self.weight_penalties[network] = weight_penalty
        self.augment: Augment = Unchanged() if augment is None else augment
        self.annealing = annealing
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
            batch: uint8 images (batches_per_step * N, C, H, W) and labels (batches_per_step * N,).
                N is this process' share of `data.batch_size`.
            batch_idx: Unused; `trainer.global_step` is the position in the run.

        Returns:
            Scalars to report, on the device: losses and mean logits of the last updates.

        Raises:
            FloatingPointError: if a loss or a weight is no longer finite.
        """
        self.health.begin(self.trainer.global_step + 1)
        seed_torch(self.device, self.seed, Stream.NETWORKS, self.trainer.global_step, self.trainer.global_rank)
        self._follow_schedules()
        images, labels = batch
        reported = self.augment.watched()
        local = len(images) // self.batches_per_step
        for update in range(self.discriminator_steps):
            mine = slice(update * local, (update + 1) * local)
            reported |= self._update_discriminator(images[mine], labels[mine], update)
        rest = slice(self.discriminator_steps * local, None)
        reported |= self._update_generator(images[rest], labels[rest], local * self.generator_batch_ratio)
        if self.health.is_due(self.device.type):
            self.health.check()
        return reported

    def _follow_schedules(self) -> None:
        self.set_learning_rates()
        if self.annealing is not None:
            for optimizer in self.trainer.optimizers:
                self.annealing.apply(optimizer, self.images_seen)
        self.augment.begin(self.images_seen)

    def _update_discriminator(self, real: Tensor, y: Tensor, update: int) -> dict[str, Tensor]:
        optimizer, count = self.optimizer_of("discriminator"), len(real)
        index = self.trainer.global_step * self.discriminator_steps + update
        z, fake_y = self._draw(count, update)
        batch = real, y, z, y if self.loss.pairs else fake_y, *self._draw_numbers(count, update)
        with self.toggled_optimizer(optimizer):
            losses = partial(self._discriminator_losses, index)
            reported = self._compute_gradients(optimizer, "discriminator", losses, *batch)
            # LightningOptimizer.step() would count this update in `trainer.global_step`.
            self.trainer.strategy.optimizer_step(optimizer.optimizer, lambda: None)
            self.health.add_weights("discriminator", self.discriminator)
        self.augment.observe(reported["logits/real_sign"], count * self.trainer.world_size, index)
        for penalty in self._penalties():
            penalty.observe(reported["logits/real"], reported["logits/fake"])
        return reported

    def _discriminator_losses(
        self, index: int, images: Tensor, y: Tensor, z: Tensor, fake_y: Tensor, draws: Tensor, numbers: Tensor
    ) -> Losses:
        real, real_draws, fake_draws = self._prepare(images), *draws.unbind(1)
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
            number=index,
            seen=self.images_seen,
            judge=lambda images, judged: self._judge(images, judged.labels, judged.draws),
            generate=torch.no_grad()(self.generator),
        )
        terms = [penalty.discriminator(update._replace(numbers=own)) for penalty, own in self._with_numbers(numbers)]
        return self._with_penalties("loss", loss, terms, reported)

    def _update_generator(self, real: Tensor, real_y: Tensor, count: int) -> dict[str, Tensor]:
        optimizer, update = self.optimizer_of("generator"), self.discriminator_steps
        batches = self.generator_batch_ratio if self.loss.pairs else 1
        z, y = self._draw(count, update, batches)
        batch = real, real_y, z, real_y if self.loss.pairs else y, *self._draw_numbers(count, update, batches)
        with self.toggled_optimizer(optimizer):
            reported = self._compute_gradients(optimizer, "generator", self._generator_losses, *batch)
            optimizer.step()
            self.health.add_weights("generator", self.generator)
        return reported

    def _generator_losses(
        self, images: Tensor, real_y: Tensor, z: Tensor, y: Tensor, draws: Tensor, numbers: Tensor
    ) -> Losses:
        fake, real_draws, fake_draws = self.generator(z, y), *draws.unbind(1)
        reals = [(self._prepare(images), real_y, real_draws)] if len(images) else []
        loss = self.loss.generator(*self._judge_all((fake, y, fake_draws), *reals))
        reported = {"loss/generator": loss.detach()}
        generation = Generation(fake, y, z, numbers, self.generator)
        terms = [penalty.generator(generation._replace(numbers=own)) for penalty, own in self._with_numbers(numbers)]
        return self._with_penalties("loss/generator", loss, terms, reported)

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
        if network in self.weight_penalties:
            total = self._with_weight_penalty(network, total)
        values = self.health.values_to_average(total.pop("objective"))
        averaged = average_gradients(
            getattr(self, network).parameters(), torch.cat([values, torch.stack([*total.values()])])
        )
        self.health.add_loss(network, averaged[: len(values)])
        return dict(zip(total, averaged[len(values) :], strict=True))

    def _with_weight_penalty(self, network: str, total: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add the gradients of the penalty on a network's weights, and report it."""
        term = self.weight_penalties[network](getattr(self, network))
        self.manual_backward(term)
        name = "loss/weight_penalty" if network == "discriminator" else "loss/generator/weight_penalty"
        return {**total, "objective": total["objective"] + term.detach(), name: term.detach()}

    def _with_penalties(
        self, name: str, loss: Tensor, terms: list[Tensor | None], reported: dict[str, Tensor]
    ) -> Losses:
        """Add the penalties that take part in this update, and report their sum."""
        if present := [term for term in terms if term is not None]:
            total = sum(present[1:], start=present[0])
            reported[f"{name}/penalty"] = total.detach()
            loss = loss + total
        return loss, reported

    def _judge_all(self, *groups: tuple[Tensor, Tensor, Tensor]) -> list[Tensor]:
        """Return the logits of groups of images, labels and augmentation draws, in one pass where that is allowed."""
        if len(groups) == 1 or not self.joint_pass:
            return [self._judge(*group) for group in groups]
        logits = self._judge(*(torch.cat(tensors) for tensors in zip(*groups, strict=True)))
        return list(logits.split([len(images) for images, *_ in groups]))

    def _judge(self, images: Tensor, labels: Tensor, draws: Tensor) -> Tensor:
        # Under autocast logits come in half precision: too coarse for a loss.
        return self.discriminator(self.augment(images, draws), labels).to(self.weights_dtype)

    def _penalties(self) -> list[Penalty]:
        return [penalty for penalty in self.penalties if isinstance(penalty, Penalty)]

    def _with_numbers(self, numbers: Tensor) -> list[tuple[Penalty, Tensor]]:
        """Return each penalty with its own random numbers (N, k)."""
        penalties = self._penalties()
        sizes = [penalty.numbers(self.generator.latent_dim) for penalty in penalties]
        return list(zip(penalties, numbers.split(sizes, dim=1), strict=True)) if penalties else []

    def _prepare(self, images: Tensor) -> Tensor:
        return to_float(images).to(dtype=self.weights_dtype, memory_format=self.memory_format)

    # Randomness of one position: drawn for the global batch, of which each process keeps its slice

    def _draw(self, local: int, update: int, batches: int = 1) -> tuple[Tensor, Tensor]:
        count = local * self.trainer.world_size
        z = normal(self._rng(Stream.NOISE, update), count, self.generator.latent_dim)
        y = integers(self._rng(Stream.LABELS, update), max(1, self.generator.num_classes), count)
        return self._slice(z, batches).to(self.weights_dtype), self._slice(y, batches)

    def _draw_numbers(self, local: int, update: int, batches: int = 1) -> tuple[Tensor, Tensor]:
        """Draw the random numbers of augmentation, (N, 2, k) for real and fake, and of all penalties, (N, k)."""
        count = local * self.trainer.world_size
        needed = sum(penalty.numbers(self.generator.latent_dim) for penalty in self._penalties())
        augment = uniform(self._rng(Stream.AUGMENT, update), count, 2, self.augment.numbers)
        mix = uniform(self._rng(Stream.MIX, update), count, needed)
        return self._slice(augment, batches), self._slice(mix, batches)

    def _rng(self, stream: Stream, update: int) -> np.random.Generator:
        return rng(self.seed, stream, self.trainer.global_step, update)

    def _slice(self, drawn: Tensor, batches: int = 1) -> Tensor:
        """Return this process' slice of each of some batches: real images come in the slices of `data.batch_size`."""
        parts = [self.local_slice(part) for part in drawn.chunk(batches)]
        return send(torch.cat(parts) if batches > 1 else parts[0], self.device)

    # What the base class asks for

    @property
    def batches_per_step(self) -> int:
        """One batch of real images for each update of the discriminator; the generator's if the loss compares pairs."""
        return self.discriminator_steps + self.generator_batch_ratio * self.loss.pairs

    @property
    def images_seen(self) -> int:
        """Real images that the discriminator was shown in the steps before this one: the clock of schedules."""
        return int(self.trainer.global_step) * self.discriminator_steps * self.batch_size

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
            if not any(penalty.differentiates_gradient for penalty in self._penalties()):
                compile_network(self.discriminator)
                if self.augment.numbers:
                    compile_network(self.augment)
