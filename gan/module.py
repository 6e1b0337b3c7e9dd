"""The adversarial training step."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gan.description import build, changes, describe
from gan.images import to_float, to_uint8
from gan.losses import Loss, Penalty
from gan.networks import Discriminator, Generator
from gan.norms import ConditionalBatchNorm, Norm, normalize
from gan.optimizers import LinearDecay, Optimizer, adam, make_optimizer
from gan.randomness import MAX_SEED, Stream, integers, normal, rng, uniform
from gan.runs import Protocol, RunLogger
from gan.sampling import SAMPLE_BLOCK, sample_inputs
from gan.strategy import GANStrategy, average_gradients
from gan.watch import Watch

Losses = tuple[Tensor, dict[str, Tensor]]  # what a network minimizes, and what there is to watch


class GAN(LightningModule):
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
        decay: How the learning rates fall; None: not at all.
        discriminator_steps: Updates of the discriminator a generator step (the papers' n_dis).
        joint_pass: Judge real and fake images in one pass of the discriminator, which is faster; one with batch norm
            makes two all the same, so that its statistics mix neither. False: two, as the papers do; then spectral
            norm makes two power iterations an update instead of one.
        generator_batch_ratio: The generator's batch as a multiple of the discriminator's (SNGAN's ResNets use 2).
        micro_batches: Parts of equal size that each update goes through one after the other, adding up their gradients,
            so that a batch which does not fit into memory can be trained with. Noise and data are the same as with 1,
            and so is the result, but where a norm depends on the batch or on the number of passes: batch norm takes
            the statistics of each part, spectral norm makes a power iteration a part.
        channels_last: Keep weights and images in the channels-last memory format: the faster one for convolutions.
        seed: Of noise, labels and data order. The command line fills it in from `seed_everything`.
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
        seed: int = 0,
    ) -> None:
        super().__init__()
        _check_at_least_one("discriminator_steps", discriminator_steps)
        _check_at_least_one("generator_batch_ratio", generator_batch_ratio)
        _check_at_least_one("micro_batches", micro_batches)
        if not 0 <= seed <= MAX_SEED:
            raise ValueError(f"seed must be between 0 and {MAX_SEED}, got {seed}")
        self.automatic_optimization = False
        _check_not_empty(generator=generator, discriminator=discriminator)
        self.description = _describe(generator, discriminator, loss, generator_norms, discriminator_norms)
        self.generator = normalize(generator, generator_norms)
        self.discriminator = normalize(discriminator, discriminator_norms)
        self.generator_ema: Generator | None = None
        if discriminator.conditional and not self.conditional:
            raise ValueError("the discriminator is conditional, but the generator is not: add ConditionalBatch to it")
        self.loss = loss
        self.penalty = penalty
        self.optimizer_factories = generator_optimizer, discriminator_optimizer
        self.decay = decay
        self.discriminator_steps = discriminator_steps
        has_batch_norm = any(isinstance(module, _BatchNorm) for module in self.discriminator.modules())
        self.joint_pass = joint_pass and not has_batch_norm
        self.generator_batch_ratio = generator_batch_ratio
        self.micro_batches = micro_batches
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.seed = seed
        self.watch = Watch()
        self._loaded_optimizers: list[str] | None = None
        self.published_at: dict[str, int] = {}  # the generator step of each value's latest publication
        self.to(memory_format=self.memory_format)

    @property
    def conditional(self) -> bool:
        """Whether the generator uses its labels."""
        by_norm = any(isinstance(module, ConditionalBatchNorm) for module in self.generator.modules())
        return self.generator.conditional or by_norm

    @property
    def weights_dtype(self) -> torch.dtype:
        """The data type of the weights, and so of what enters the networks."""
        assert isinstance(self.dtype, torch.dtype)
        return self.dtype

    @property
    def generator_batch_size(self) -> int:
        """Images of one update of the generator, all processes together."""
        return int(self.trainer.datamodule.batch_size) * self.generator_batch_ratio  # type: ignore[attr-defined]

    def learning_rates(self) -> dict[str, float]:
        """Return the learning rate of each network's optimizer."""
        rates = [optimizer.param_groups[0]["lr"] for optimizer in self.trainer.optimizers]
        return dict(zip(("generator", "discriminator"), map(float, rates), strict=True))

    # The step

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Make one generator step.

        Args:
            batch: uint8 images (discriminator_steps * N, C, H, W) and labels (discriminator_steps * N,), N being this
                process' slice of the batch of one update.
            batch_idx: Not used: the position in the run is `trainer.global_step`.

        Returns:
            Scalars to watch, on the device: losses and mean logits of the last updates.

        Raises:
            FloatingPointError: if a loss or the weights are not finite any more.
        """
        self.watch.begin(self.trainer.global_step + 1)
        images, labels = batch
        watched: dict[str, Tensor] = {}
        updates = zip(images.chunk(self.discriminator_steps), labels.chunk(self.discriminator_steps), strict=True)
        for update, (real, y) in enumerate(updates):
            watched |= self._update_discriminator(real, y, update)
        watched |= self._update_generator(len(real) * self.generator_batch_ratio)
        self._set_learning_rates()
        if self.watch.is_due(self.device.type):
            self.watch.check()
        return watched

    def _update_discriminator(self, real: Tensor, y: Tensor, update: int) -> dict[str, Tensor]:
        optimizer, count = self._optimizers()[1], len(real)
        z, fake_y = self._draw(count, update)
        mix = self._slice(uniform(self._rng(Stream.MIX, update), count * self.trainer.world_size))
        with self.toggled_optimizer(optimizer):
            watched = self._descend(optimizer, "discriminator", self._discriminator_losses, real, y, z, fake_y, mix)
            # Not LightningOptimizer.step(), which would count this update in `trainer.global_step`.
            self.trainer.strategy.optimizer_step(optimizer.optimizer, lambda: None)
            self.watch.note_weights("discriminator", self.discriminator)
        return watched

    def _discriminator_losses(self, images: Tensor, y: Tensor, z: Tensor, fake_y: Tensor, mix: Tensor) -> Losses:
        real = self._prepare(images)
        with torch.no_grad():
            fake = self.generator(z, fake_y)
        real_logits, fake_logits = self._judge_both(real, y, fake, fake_y)
        loss = self.loss.discriminator(real_logits, fake_logits)
        watched = {
            "loss/discriminator": loss.detach(),
            "logits/real": real_logits.detach().mean(),
            "logits/fake": fake_logits.detach().mean(),
        }
        if self.penalty is not None:
            penalty = self.penalty(self.discriminator, real, fake, y, mix)
            watched["loss/penalty"] = penalty.detach()
            loss = loss + penalty
        return loss, watched

    def _update_generator(self, batch_size: int) -> dict[str, Tensor]:
        optimizer = self._optimizers()[0]
        z, y = self._draw(batch_size, update=self.discriminator_steps)
        with self.toggled_optimizer(optimizer):
            watched = self._descend(optimizer, "generator", self._generator_losses, z, y)
            optimizer.step()
            self.watch.note_weights("generator", self.generator)
        return watched

    def _generator_losses(self, z: Tensor, y: Tensor) -> Losses:
        loss = self.loss.generator(self._judge(self.generator(z, y), y))
        return loss, {"loss/generator": loss.detach()}

    def _descend(
        self, optimizer: LightningOptimizer, network: str, losses: Callable[..., Losses], *batch: Tensor
    ) -> dict[str, Tensor]:
        """Compute the gradients of an update, part by part; return the means of what there is to watch."""
        optimizer.zero_grad()
        total: dict[str, Tensor] = {}
        for part in zip(*(tensor.chunk(self.micro_batches) for tensor in batch), strict=True):
            loss, watched = losses(*part)
            self.manual_backward(loss / self.micro_batches)
            watched["objective"] = loss.detach()
            total = {name: value / self.micro_batches + total.get(name, 0) for name, value in watched.items()}
        passenger = self.watch.passenger(total.pop("objective"))
        self.watch.note_loss(network, average_gradients(getattr(self, network).parameters(), passenger))
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

    def _rng(self, stream: Stream, update: int) -> Any:
        return rng(self.seed, stream, self.trainer.global_step, update)

    def _slice(self, drawn: Tensor) -> Tensor:
        return drawn.chunk(self.trainer.world_size)[self.trainer.global_rank].to(self.device, non_blocking=True)

    # Sampling

    @property
    def sampler(self) -> Generator:
        """The generator that samples are drawn from: the average over the training if there is one."""
        return self.generator if self.generator_ema is None else self.generator_ema

    @property
    def weights_name(self) -> str:
        """Whose weights `sample` uses: "ema" or "raw"."""
        return "raw" if self.generator_ema is None else "ema"

    @torch.no_grad()
    def generate(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map latent vectors (N, latent_dim) and labels (N,) to images (N, C, H, W) in [-1, 1], in evaluation mode."""
        sampler, training = self.sampler, self.sampler.training
        sampler.eval()
        try:
            images: Tensor = sampler(
                z.to(self.device, self.weights_dtype), None if labels is None else labels.to(self.device)
            )
        finally:
            sampler.train(training)
        return images

    def sample(self, n: int, labels: Tensor | None = None, *, seed: int | None = None, start: int = 0) -> Tensor:
        """Return the samples number `start` to `start + n` of an endless stream.

        Args:
            n: Number of samples.
            labels: Their labels (n,), for a conditional generator; None: drawn uniformly.
            seed: Which stream; None: the one of the run's own seed.
            start: Number of the first sample. The stream does not depend on how it is cut into calls.

        Returns:
            uint8 images (n, C, H, W) in [0, 255], on the module's device.

        Raises:
            ValueError: if there is not one label a sample, or one is not a class.
        """
        z, y = sample_inputs(self.generator, n, seed=self.seed if seed is None else seed, start=start, labels=labels)
        batches = zip(z.split(SAMPLE_BLOCK), y.split(SAMPLE_BLOCK), strict=True)
        images = [to_uint8(self.generate(z_block, y_block)) for z_block, y_block in batches]
        return torch.cat(images)

    # What Lightning asks for

    def setup(self, stage: str) -> None:
        """Have the data type before a checkpoint is loaded: Lightning converts later, when digits are lost."""
        self.trainer.precision_plugin.convert_module(self)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Make both optimizers, the generator's first."""
        for_generator, for_discriminator = self.optimizer_factories
        optimizers = [
            make_optimizer("generator_optimizer", for_generator, self.generator),
            make_optimizer("discriminator_optimizer", for_discriminator, self.discriminator),
        ]
        self._optimizer_settings = [[_settings(group) for group in each.param_groups] for each in optimizers]
        return optimizers

    def on_fit_start(self) -> None:
        """Check that the trainer can train a GAN."""
        if self.trainer.max_steps < 1:
            raise ValueError(f"trainer.max_steps must be at least 1 (generator steps), got {self.trainer.max_steps}")
        local = int(self.trainer.datamodule.batch_size) // self.trainer.world_size  # type: ignore[attr-defined]
        if local % self.micro_batches:
            raise ValueError(f"micro_batches must divide a process' {local} images, got {self.micro_batches}")
        if self.trainer.world_size > 1 and not isinstance(self.trainer.strategy, GANStrategy):
            raise ValueError("several processes need trainer.strategy=gan.strategy.GANStrategy")
        if self._loaded_optimizers not in (None, kinds := self._optimizer_kinds()):
            saved, asked = ", ".join(self._loaded_optimizers), ", ".join(kinds)
            raise ValueError(f"the checkpoint holds the states of {saved}, but the configuration asks for {asked}")

    def on_train_start(self) -> None:
        """Let what the configuration says of the optimizers hold: a checkpoint brings its own with the moments.

        Raises:
            ValueError: if the processes do not start at the same step: each looks at its own disk.
        """
        step, first = self.trainer.global_step, self.trainer.strategy.broadcast(self.trainer.global_step)
        if step != first:
            rank = self.trainer.global_rank
            raise ValueError(f"process {rank} found a checkpoint of step {step}, but process 0 one of step {first}")
        for group, settings in self._groups_and_settings():
            group.update(settings)
        self._set_learning_rates()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Do nothing: validation is what the metrics callback does when its loop ends."""

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Do nothing: testing is what the metrics callback does when its loop ends."""

    def predict_step(self, batch: Any, batch_idx: int) -> None:
        """Do nothing: predicting is what `gan.callbacks.SampleWriter` does when its loop ends."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what `from_checkpoint` needs to rebuild the module, and what must be the same to go on training."""
        checkpoint["gan"] = {**self._facts(), "optimizers": self._optimizer_kinds()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make room for averaged weights where the checkpoint has some.

        Raises:
            ValueError: if the checkpoint does not fit the configuration.
        """
        has_average = any(key.startswith("generator_ema.") for key in checkpoint["state_dict"])
        fitting = self._trainer is not None and self.trainer.training
        if has_average != (self.generator_ema is not None):
            if fitting or not has_average:
                holds, asks = ("", "no ") if has_average else ("no ", "")
                raise ValueError(f"the checkpoint holds {holds}averaged weights, but the config has {asks}EMA callback")
            self.add_average()
        self._check_fit(checkpoint)
        self._loaded_optimizers = checkpoint["gan"].get("optimizers")

    def _facts(self) -> dict[str, Any]:
        return {**self.description, "seed": self.seed, "discriminator_steps": self.discriminator_steps}

    def _check_fit(self, checkpoint: dict[str, Any]) -> None:
        shapes, saved = _shapes(self.state_dict()), _shapes(checkpoint["state_dict"])
        if shapes != saved:
            facts = {name: value for name, value in checkpoint["gan"].items() if name in self._facts()}
            reasons = changes(facts, self._facts()) or changes(saved, shapes)
            raise ValueError(f"the checkpoint does not fit the configuration: {'; '.join(reasons)}")

    def add_average(self) -> Generator:
        """Give the module a frozen copy of the generator, `generator_ema`, from which samples are drawn from now on."""
        self.generator_ema = copy.deepcopy(self.generator).eval().requires_grad_(False)
        return self.generator_ema

    def publish(self, values: dict[str, float], protocol: Protocol | None = None) -> None:
        """Log values under the generator step, and show them to callbacks that watch `trainer.callback_metrics`.

        Args:
            values: The values by name.
            protocol: How they were made, for the run's own records.
        """
        for logger in self.trainer.loggers:
            if isinstance(logger, RunLogger):
                logger.log_metrics(values, self.trainer.global_step, protocol)
            else:
                logger.log_metrics(values, self.trainer.global_step)
        self.trainer.callback_metrics.update({name: torch.tensor(value) for name, value in values.items()})
        self.published_at.update(dict.fromkeys(values, self.trainer.global_step))

    @classmethod
    def from_checkpoint(cls, checkpoint: dict[str, Any]) -> "GAN":
        """Rebuild the module, with its weights, from the content of a checkpoint file."""
        description = checkpoint["gan"]
        module = cls(
            build(description["generator"], Generator),
            build(description["discriminator"], Discriminator),
            build(description["loss"], Loss),  # type: ignore[type-abstract]
            [build(norm, Norm) for norm in description["generator_norms"]],
            [build(norm, Norm) for norm in description["discriminator_norms"]],
            seed=description["seed"],
        )
        module.on_load_checkpoint(checkpoint)
        module.load_state_dict(checkpoint["state_dict"])
        return module.eval()

    def _optimizers(self) -> list[LightningOptimizer]:
        optimizers = self.optimizers()
        assert isinstance(optimizers, list)
        return optimizers

    def _groups_and_settings(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        for optimizer, settings in zip(self.trainer.optimizers, self._optimizer_settings, strict=True):
            yield from zip(optimizer.param_groups, settings, strict=True)

    def _optimizer_kinds(self) -> list[str]:
        return [f"{type(each).__module__}.{type(each).__qualname__}" for each in self.trainer.optimizers]

    def _set_learning_rates(self) -> None:
        factor = 1.0 if self.decay is None else self.decay(self.trainer.global_step)
        for group, settings in self._groups_and_settings():
            group["lr"] = settings["lr"] * factor


def _describe(
    generator: Generator,
    discriminator: Discriminator,
    loss: Loss,
    generator_norms: list[Norm],
    discriminator_norms: list[Norm],
) -> dict[str, Any]:
    return {
        "generator": describe(generator),
        "discriminator": describe(discriminator),
        "loss": describe(loss),
        "generator_norms": [describe(norm) for norm in generator_norms],
        "discriminator_norms": [describe(norm) for norm in discriminator_norms],
    }


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name != "params"}


def _shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _check_not_empty(**networks: nn.Module) -> None:
    for network, module in networks.items():
        if empty := [name for name, parameter in module.named_parameters() if parameter.numel() == 0]:
            raise ValueError(f"{network}: its widths must be at least 1, but {empty[0]} is empty")


def _check_at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
