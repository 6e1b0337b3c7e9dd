"""The adversarial training step."""

from collections.abc import Callable, Hashable
from functools import partial

import torch
from torch import Tensor, nn

from gan.augment import Augment
from gan.distributed import average_gradients
from gan.images import to_float
from gan.inference import GenerativeModule
from gan.losses import Penalties
from gan.randomness import Stream, seed_torch
from gan.training.batch import Batch, Draws, DrawSizes
from gan.training.cuda_graphs import UpdateGraphs
from gan.training.objective import Losses, Objective
from gan.training.optimizers import Annealing


class AdversarialStep(GenerativeModule):
    """The step of `gan.module.GAN`, whose arguments are the attributes here."""

    penalties: Penalties
    weight_penalties: nn.ModuleDict
    augment: Augment
    annealing: Annealing | None
    discriminator_steps: int
    joint_pass: bool
    generator_batch_ratio: int
    micro_batches: int
    clips: dict[str, float]
    memory_format: torch.memory_format
    _graphs: UpdateGraphs | None

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
            reported |= self._update_discriminator(update, self._batch(update, images[mine], labels[mine], local))
        rest, count = slice(self.discriminator_steps * local, None), local * self.generator_batch_ratio
        reported |= self._update_generator(self._batch(self.discriminator_steps, images[rest], labels[rest], count))
        if self.health.is_due(self.device.type):
            self.health.check()
        return reported

    def _follow_schedules(self) -> None:
        self.set_learning_rates()
        if self.annealing is not None:
            for optimizer in self.trainer.optimizers:
                self.annealing.apply(optimizer, self.images_seen)
        self.augment.begin(self.images_seen)
        self.penalties.begin(self.images_seen)

    def _update_discriminator(self, update: int, batch: Batch) -> dict[str, Tensor]:
        optimizer = self.optimizer_of("discriminator")
        index = self.trainer.global_step * self.discriminator_steps + update
        with self.toggled_optimizer(optimizer):
            losses = partial(self.objective.for_discriminator, number=index, seen=self.images_seen)
            phase = self.penalties.phase(index, self.images_seen)
            reported = self._compute_gradients("discriminator", phase, losses, batch)
            # LightningOptimizer.step() would count this update in `trainer.global_step`.
            self.trainer.strategy.optimizer_step(optimizer.optimizer, lambda: None)
            self.health.add_weights("discriminator", self.discriminator)
        self.augment.observe(reported["logits/real_sign"], len(batch.real) * self.trainer.world_size, index)
        self.penalties.observe(reported["logits/real"], reported["logits/fake"])
        return reported

    def _update_generator(self, batch: Batch) -> dict[str, Tensor]:
        optimizer = self.optimizer_of("generator")
        with self.toggled_optimizer(optimizer):
            reported = self._compute_gradients("generator", None, self.objective.for_generator, batch)
            optimizer.step()
            self.health.add_weights("generator", self.generator)
        return reported

    def _compute_gradients(
        self, network: str, phase: Hashable, losses: Callable[[Batch], Losses], batch: Batch
    ) -> dict[str, Tensor]:
        """Compute the gradients of a network, averaged over the processes. Return the means of what `losses` reports.

        Updates of the same phase make the same computation.
        """
        compute = partial(self._compute_own_gradients, network, losses)
        parameters = list(getattr(self, network).parameters())
        if self._graphs is None:
            total = compute(batch)
        else:
            total = self._graphs.compute(network, phase, compute, batch, parameters)
        values = self.health.values_to_average(total.pop("objective"))
        averaged = average_gradients(parameters, torch.cat([values, torch.stack([*total.values()])]))
        self.health.add_loss(network, averaged[: len(values)])
        if network in self.clips:  # after the average over processes: the gradient of the whole batch
            self.clip_gradients(self.optimizer_of(network).optimizer, self.clips[network], "norm")
        return dict(zip(total, averaged[len(values) :], strict=True))

    def _compute_own_gradients(
        self, network: str, losses: Callable[[Batch], Losses], batch: Batch
    ) -> dict[str, Tensor]:
        """Compute the gradients of this process' images, one micro-batch at a time, and the means of the reports."""
        self.optimizer_of(network).zero_grad()
        total: dict[str, Tensor] = {}
        for part in batch.split(self.micro_batches):
            loss, reported = losses(part)
            self.manual_backward(loss / self.micro_batches)
            reported["objective"] = loss.detach()
            total = {name: value / self.micro_batches + total.get(name, 0) for name, value in reported.items()}
        return self._with_weight_penalty(network, total) if network in self.weight_penalties else total

    def _with_weight_penalty(self, network: str, total: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add the gradients of the penalty on a network's weights, and report it."""
        term = self.weight_penalties[network](getattr(self, network))
        self.manual_backward(term)
        name = "loss/weight_penalty" if network == "discriminator" else "loss/generator/weight_penalty"
        return {**total, "objective": total["objective"] + term.detach(), name: term.detach()}

    @property
    def objective(self) -> Objective:
        """What both networks minimize."""
        return Objective(self.generator, self.discriminator, self.loss, self.penalties, self.augment, self.joint_pass)

    def _batch(self, update: int, real: Tensor, real_labels: Tensor, count: int) -> Batch:
        """Return what an update of this step works on; this process generates `count` images in it."""
        latent_dim = self.generator.latent_dim
        penalties = self.penalties.numbers(latent_dim)
        sizes = DrawSizes(latent_dim, self.generator.num_classes, self.augment.numbers, penalties)
        drawn = sizes.draw(count * self.trainer.world_size, self.seed, self.trainer.global_step, update)
        # Real images come as this process' slices of whole batches, and so must what is drawn for them.
        batches = max(1, len(real) * self.trainer.world_size // self.batch_size)
        draws = Draws(*(self.local_slice(each, batches) for each in drawn))
        labels = real_labels if self.loss.pairs else draws.labels
        real = to_float(real).to(dtype=self.weights_dtype, memory_format=self.memory_format)
        return Batch(real, real_labels, draws._replace(latents=draws.latents.to(self.weights_dtype), labels=labels))

    @property
    def images_seen(self) -> int:
        """Real images that the discriminator was shown in the steps before this one: the clock of schedules."""
        return int(self.trainer.global_step) * self.discriminator_steps * self.batch_size
