"""The adversarial training step."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gan.checks import check_at_least
from gan.distributed import average_gradients
from gan.images import to_float
from gan.inference import Pair
from gan.losses import Loss, Penalty
from gan.networks import Discriminator, Generator
from gan.norms import Norm
from gan.randomness import Stream, integers, normal, rng, seed_torch, uniform
from gan.runs.logger import ProtocolFields, RunLogger
from gan.training.compilation import compile_network
from gan.training.health import Watch
from gan.training.optimizers import LinearDecay, Optimizer, Saved, adam, check_states, make_optimizer, settings_of
from gan.training.strategy import GANStrategy
from gan.transfer import send

Losses = tuple[Tensor, dict[str, Tensor]]  # what a network minimizes, and what there is to watch


class GAN(Pair):
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
        compile: Compile the networks with `torch.compile` for the training step: meant for GPUs, on CPUs it gains
            nothing. The first step then takes half a minute or more. A discriminator with a penalty stays as it is,
            since compiled gradients cannot be differentiated; so does, with a warning, what cannot be compiled.
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
        compile: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(generator, discriminator, loss, generator_norms, discriminator_norms, seed)
        check_at_least(1, discriminator_steps=discriminator_steps)
        check_at_least(1, generator_batch_ratio=generator_batch_ratio, micro_batches=micro_batches)
        self.automatic_optimization = False
        self.penalty = penalty
        self.optimizer_factories = generator_optimizer, discriminator_optimizer
        self.decay = decay
        self.discriminator_steps = discriminator_steps
        has_batch_norm = any(isinstance(module, _BatchNorm) for module in self.discriminator.modules())
        self.joint_pass = joint_pass and not has_batch_norm
        self.generator_batch_ratio = generator_batch_ratio
        self.micro_batches = micro_batches
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.compiled = compile
        self.watch = Watch()
        self._loaded_optimizers: list[str] | None = None
        self._loaded_states: list[Saved] = []
        self._loaded_step = 0
        self.published_at: dict[str, int] = {}  # the generator step of each value's latest publication
        self.to(memory_format=self.memory_format)

    @property
    def generator_batch_size(self) -> int:
        """Images of one update of the generator, all processes together."""
        return int(self.trainer.datamodule.batch_size) * self.generator_batch_ratio  # type: ignore[attr-defined]

    def learning_rates(self) -> dict[str, float]:
        """Return the learning rate of each network's optimizer: that of the latest update."""
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
        seed_torch(self.device, self.seed, Stream.NETWORKS, self.trainer.global_step, self.trainer.global_rank)
        self._set_learning_rates()
        images, labels = batch
        watched: dict[str, Tensor] = {}
        updates = zip(images.chunk(self.discriminator_steps), labels.chunk(self.discriminator_steps), strict=True)
        for update, (real, y) in enumerate(updates):
            watched |= self._update_discriminator(real, y, update)
        watched |= self._update_generator(len(real) * self.generator_batch_ratio)
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
        return send(drawn.chunk(self.trainer.world_size)[self.trainer.global_rank], self.device)

    # What Lightning asks for

    def setup(self, stage: str) -> None:
        """Have the data type before a checkpoint is loaded: Lightning converts later, when digits are lost."""
        self.trainer.precision_plugin.convert_module(self)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Make both optimizers, the generator's first."""
        optimizers = [make_optimizer(*configured) for configured in self._configured_optimizers()]
        self._optimizer_settings = [settings_of(each) for each in optimizers]
        return optimizers

    def on_fit_start(self) -> None:
        """Check that the trainer can train a GAN.

        Raises:
            ValueError: if it cannot.
        """
        if not self.generator.training or not self.discriminator.training:
            raise ValueError(
                "the networks are in evaluation mode, as those of gan.load are: to train on from a checkpoint give it "
                "to Trainer.fit as ckpt_path, with a new GAN"
            )
        self._check_processes()
        self._check_limits()
        self._count_steps_alone()
        self._check_decay()
        local = int(self.trainer.datamodule.batch_size) // self.trainer.world_size  # type: ignore[attr-defined]
        if local % self.micro_batches:
            raise ValueError(f"micro_batches must divide a process' {local} images, got {self.micro_batches}")
        self._check_loaded_optimizers()
        if self._loaded_step >= self.trainer.max_steps:
            steps = f"generator step {self._loaded_step} of trainer.max_steps {self.trainer.max_steps}"
            self.trainer.print(f"nothing to train: the run is at {steps} already")
        if self.compiled:
            compile_network(self.generator)
            if self.penalty is None:
                compile_network(self.discriminator)

    def _count_steps_alone(self) -> None:
        """Let generator steps be all that ends a training: Lightning counts epochs that were cut short, too."""
        loop, epochs, batches = self.trainer.fit_loop, self.trainer.max_epochs, self.trainer.limit_train_batches
        self._asked_limits = epochs, loop.epoch_loop.max_steps
        loop.min_epochs = None  # Lightning sets 1 beside `min_steps`, and our epoch has no end
        if isinstance(batches, int) and epochs is not None and epochs > 0:
            loop.epoch_loop.max_steps = min(loop.epoch_loop.max_steps, epochs * batches)
            loop.max_epochs = -1

    def _check_processes(self) -> None:
        started = self.trainer._accelerator_connector.cluster_environment.world_size()
        if started != self.trainer.world_size:
            raise ValueError(
                f"{started} processes have been started, but trainer.devices and trainer.num_nodes ask for "
                f"{self.trainer.world_size}"
            )
        if started > 1 and not isinstance(self.trainer.strategy, GANStrategy):
            raise ValueError("several processes need trainer.strategy=gan.training.strategy.GANStrategy")

    def _check_limits(self) -> None:
        if self.trainer.max_steps < 1:
            raise ValueError(f"trainer.max_steps must be at least 1 (generator steps), got {self.trainer.max_steps}")
        epochs, batches = self.trainer.max_epochs, self.trainer.limit_train_batches
        for setting, limit in {"limit_train_batches": batches, "max_epochs": epochs}.items():
            if limit == 0:
                raise ValueError(f"trainer.{setting} must not be 0: nothing would be trained")
        if epochs is not None and epochs > 0 and not isinstance(batches, int):
            raise ValueError(
                f"trainer.max_epochs must be -1, got {epochs}: the data have no end, trainer.max_steps is the limit"
            )
        if batches := self.trainer.overfit_batches:  # type: ignore[attr-defined]
            raise ValueError(
                f"trainer.overfit_batches must be 0 (all images take their turn: use fewer), got {batches}"
            )

    def _check_decay(self) -> None:
        if self.decay is not None and self.decay.end < self.trainer.max_steps:
            raise ValueError(
                f"model.decay.end: the learning rates are 0 from generator step {self.decay.end} on, but "
                f"trainer.max_steps is {self.trainer.max_steps}"
            )

    def _check_loaded_optimizers(self) -> None:
        if self._loaded_optimizers not in (None, kinds := self._optimizer_kinds()):
            saved, asked = ", ".join(self._loaded_optimizers), ", ".join(kinds)
            raise ValueError(f"the checkpoint holds the states of {saved}, but the configuration asks for {asked}")
        for saved_states, configured in zip(self._loaded_states, self._configured_optimizers(), strict=False):
            check_states(*configured, saved_states)

    def on_train_start(self) -> None:
        """Let what the configuration says of the optimizers hold: a checkpoint brings its own with the moments.

        From here on the run goes on: its records after the checkpoint are cut.

        Raises:
            ValueError: if the processes do not start at the same step: each looks at its own disk.
        """
        step, first = self.trainer.global_step, self.trainer.strategy.broadcast(self.trainer.global_step)
        if step != first:
            rank = self.trainer.global_rank
            raise ValueError(f"process {rank} found a checkpoint of step {step}, but process 0 one of step {first}")
        for logger in self.trainer.loggers:
            if isinstance(logger, RunLogger):
                logger.cut_once()
        for group, settings in self._groups_and_settings():
            group.update(settings)

    def on_fit_end(self) -> None:
        """Leave the trainer's limits as they were asked for."""
        self.trainer.fit_loop.max_epochs, self.trainer.fit_loop.epoch_loop.max_steps = self._asked_limits

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Do nothing: validation is what the metrics callback does when its loop ends."""

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Do nothing: testing is what the metrics callback does when its loop ends."""

    def predict_step(self, batch: Any, batch_idx: int) -> None:
        """Do nothing: predicting is what `gan.callbacks.SampleWriter` does when its loop ends."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the facts, and whose states the optimizers' are."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["gan"]["optimizers"] = self._optimizer_kinds()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember of which step it is, and whose states the optimizers' are."""
        super().on_load_checkpoint(checkpoint)
        self._loaded_step = checkpoint["global_step"]
        self._loaded_optimizers = checkpoint["gan"].get("optimizers")
        self._loaded_states = [Saved.of(states) for states in checkpoint.get("optimizer_states", [])]

    def publish(self, values: dict[str, float], protocol: ProtocolFields | None = None) -> None:
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

    def _optimizers(self) -> list[LightningOptimizer]:
        optimizers = self.optimizers()
        assert isinstance(optimizers, list)
        return optimizers

    def _configured_optimizers(self) -> Iterator[tuple[str, Optimizer, nn.Module]]:
        for network, factory in zip(("generator", "discriminator"), self.optimizer_factories, strict=True):
            yield f"{network}_optimizer", factory, getattr(self, network)

    def _groups_and_settings(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        for optimizer, settings in zip(self.trainer.optimizers, self._optimizer_settings, strict=True):
            yield from zip(optimizer.param_groups, settings, strict=True)

    def _optimizer_kinds(self) -> list[str]:
        return [f"{type(each).__module__}.{type(each).__qualname__}" for each in self.trainer.optimizers]

    def _set_learning_rates(self) -> None:
        factor = 1.0 if self.decay is None else self.decay(self.trainer.global_step)
        for group, settings in self._groups_and_settings():
            group["lr"] = settings["lr"] * factor
