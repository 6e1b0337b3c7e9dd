"""The adversarial training step."""

import copy
from typing import Any

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from gan.description import build, describe
from gan.images import to_float, to_uint8
from gan.losses import Loss, Penalty
from gan.networks import Discriminator, Generator
from gan.norms import ConditionalBatchNorm, Norm, normalize
from gan.optimizers import LinearDecay, Optimizer, adam
from gan.randomness import MAX_SEED, Stream, integers, normal, rng, uniform
from gan.sampling import SAMPLE_BLOCK, sample_inputs
from gan.strategy import GANStrategy, average_gradients


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
        generator_batch_ratio: The generator's batch as a multiple of the discriminator's (SNGAN's ResNets use 2).
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
        generator_batch_ratio: int = 1,
        channels_last: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        _check_at_least_one("discriminator_steps", discriminator_steps)
        _check_at_least_one("generator_batch_ratio", generator_batch_ratio)
        if not 0 <= seed <= MAX_SEED:
            raise ValueError(f"seed must be between 0 and {MAX_SEED}, got {seed}")
        self.automatic_optimization = False
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
        self.generator_batch_ratio = generator_batch_ratio
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.seed = seed
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
        """
        images, labels = batch
        watched: dict[str, Tensor] = {}
        updates = zip(images.chunk(self.discriminator_steps), labels.chunk(self.discriminator_steps), strict=True)
        for update, (real, y) in enumerate(updates):
            watched |= self._update_discriminator(self._prepare(real), y, update)
        watched |= self._update_generator(len(real) * self.generator_batch_ratio)
        for schedule in self._schedules():
            schedule.step()
        return watched

    def _update_discriminator(self, real: Tensor, y: Tensor, update: int) -> dict[str, Tensor]:
        optimizer = self._optimizers()[1]
        z, fake_y = self._draw(len(real), update)
        with torch.no_grad():
            fake = self.generator(z, fake_y)
        with self.toggled_optimizer(optimizer):
            real_logits = self._judge(real, y)
            fake_logits = self._judge(fake, fake_y)
            loss = self.loss.discriminator(real_logits, fake_logits)
            watched = {
                "loss/discriminator": loss.detach(),
                "logits/real": real_logits.detach().mean(),
                "logits/fake": fake_logits.detach().mean(),
            }
            if self.penalty is not None:
                mix = self._slice(uniform(self._rng(Stream.MIX, update), len(real) * self.trainer.world_size))
                penalty = self.penalty(self.discriminator, real, fake, y, mix)
                watched["loss/penalty"] = penalty.detach()
                loss = loss + penalty
            self._descend(optimizer, self.discriminator, loss)
            # Not LightningOptimizer.step(), which would count this update in `trainer.global_step`.
            self.trainer.strategy.optimizer_step(optimizer.optimizer, lambda: None)
        return watched

    def _update_generator(self, batch_size: int) -> dict[str, Tensor]:
        optimizer = self._optimizers()[0]
        z, y = self._draw(batch_size, update=self.discriminator_steps)
        with self.toggled_optimizer(optimizer):
            loss = self.loss.generator(self._judge(self.generator(z, y), y))
            self._descend(optimizer, self.generator, loss)
            optimizer.step()
        return {"loss/generator": loss.detach()}

    def _judge(self, images: Tensor, labels: Tensor) -> Tensor:
        # Under autocast logits come in half precision: too coarse for a loss.
        return self.discriminator(images, labels).to(self.weights_dtype)

    def _descend(self, optimizer: LightningOptimizer, network: nn.Module, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        average_gradients(network.parameters())

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

    def configure_optimizers(self) -> tuple[list[torch.optim.Optimizer], list[LRScheduler]]:
        """Make both optimizers, the generator's first, and their schedules."""
        make_generators, make_discriminators = self.optimizer_factories
        optimizers = [
            make_generators(self.generator.parameters()),
            make_discriminators(self.discriminator.parameters()),
        ]
        if self.decay is None:
            return optimizers, []
        return optimizers, [LambdaLR(optimizer, self.decay) for optimizer in optimizers]

    def on_fit_start(self) -> None:
        """Check that the trainer can train a GAN."""
        if self.trainer.max_steps < 1:
            raise ValueError(f"trainer.max_steps must be at least 1 (generator steps), got {self.trainer.max_steps}")
        if self.trainer.world_size > 1 and not isinstance(self.trainer.strategy, GANStrategy):
            raise ValueError("several processes need trainer.strategy=gan.strategy.GANStrategy")

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Do nothing: validation is what the metrics callback does when its loop ends."""

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Do nothing: testing is what the metrics callback does when its loop ends."""

    def predict_step(self, batch: Any, batch_idx: int) -> None:
        """Do nothing: predicting is what `gan.callbacks.SampleWriter` does when its loop ends."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what `from_checkpoint` needs to rebuild the module."""
        checkpoint["gan"] = {**self.description, "seed": self.seed, "discriminator_steps": self.discriminator_steps}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make room for averaged weights where the checkpoint has some."""
        has_average = any(key.startswith("generator_ema.") for key in checkpoint["state_dict"])
        fitting = self._trainer is not None and self.trainer.training
        if has_average == (self.generator_ema is not None):
            return
        if fitting or not has_average:
            holds, asks = ("", "no ") if has_average else ("no ", "")
            raise ValueError(f"the checkpoint holds {holds}averaged weights, but the config has {asks}EMA callback")
        self.add_average()

    def add_average(self) -> Generator:
        """Give the module a frozen copy of the generator, `generator_ema`, from which samples are drawn from now on."""
        self.generator_ema = copy.deepcopy(self.generator).eval().requires_grad_(False)
        return self.generator_ema

    def publish(self, values: dict[str, float]) -> None:
        """Log values under the generator step, and show them to callbacks that watch `trainer.callback_metrics`."""
        for logger in self.trainer.loggers:
            logger.log_metrics(values, step=self.trainer.global_step)
        self.trainer.callback_metrics.update({name: torch.tensor(value) for name, value in values.items()})
        self.published_at.update(dict.fromkeys(values, self.trainer.global_step))

    @classmethod
    def from_checkpoint(cls, checkpoint: dict[str, Any]) -> "GAN":
        """Rebuild the module, with its weights, from the content of a checkpoint file."""
        description = checkpoint["gan"]
        module = cls(
            build(description["generator"], Generator),
            build(description["discriminator"], Discriminator),
            build(description["loss"], Loss),
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

    def _schedules(self) -> list[LRScheduler]:
        schedules = self.lr_schedulers()
        return schedules if isinstance(schedules, list) else []


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


def _check_at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
