"""The exponential moving average of the generator's weights."""

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from gan.module import GAN
from gan.schedules import Schedule, extremes, value_at


class EMA(Callback):
    """Keeps an exponential moving average of the generator's weights, from which samples are drawn.

    After each generator step the average moves towards the weights by the factor 1 - 2^(-n/h), where n is the size of
    the generator's batch and h the half-life (Karras et al., StyleGAN2-ADA, NeurIPS 2020). Buffers such as the running
    statistics of batch norm are copied. Buffers of parametrizations, such as the singular vectors of spectral norm, are
    not: the average has its own, which follow its own weights. The average is `generator_ema` of the module and part of
    its checkpoints.

    Args:
        half_life_images: Number of generated images after which a weight's share in the average has halved. A number,
            or a schedule over the real images seen so far; where it is 0, the average equals the weights.
        ramp_up: If given, h is at most this times the real images seen so far. A long average then forgets the first
            weights early. StyleGAN2-ADA uses 0.05.

    Raises:
        ValueError: if an argument is out of its range.
    """

    def __init__(self, half_life_images: float | Schedule = 10_000.0, ramp_up: float | None = None) -> None:
        least, most = extremes(half_life_images)
        if not least >= 0 or not (most > 0 or isinstance(half_life_images, Schedule)):
            raise ValueError(f"EMA: half_life_images must be positive, got {half_life_images}")
        if ramp_up is not None and not ramp_up > 0:
            raise ValueError(f"EMA: ramp_up must be positive, got {ramp_up}")
        self.half_life_images = half_life_images
        self.ramp_up = ramp_up

    def half_life(self, seen: int) -> float:
        """Return the half-life, in images, after `seen` real images."""
        half_life = value_at(self.half_life_images, seen)
        return half_life if self.ramp_up is None else min(half_life, self.ramp_up * seen)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Add the average to the module before a checkpoint is loaded."""
        assert isinstance(pl_module, GAN)
        if stage == "fit" and pl_module.generator_ema is None:
            pl_module.add_average()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that the average can be kept.

        Raises:
            ValueError: if there are several EMA callbacks, or the weights are in half precision.
        """
        assert isinstance(pl_module, GAN)
        if sum(isinstance(callback, EMA) for callback in trainer.callbacks) > 1:  # type: ignore[attr-defined]
            raise ValueError("EMA: there can be one average only, but trainer.callbacks has several EMA")
        if pl_module.weights_dtype.itemsize < 4:
            raise ValueError(
                f"EMA: {pl_module.weights_dtype} is too coarse for an average's small steps; bf16-mixed keeps float32"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Update after every step of the generator's optimizer, independent of the order of the callbacks."""
        assert isinstance(pl_module, GAN)
        module = pl_module
        self._hook = trainer.optimizers[0].register_step_post_hook(lambda *_: self._update(module, trainer))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop updating."""
        self._hook.remove()

    @torch.no_grad()
    def _update(self, module: GAN, trainer: Trainer) -> None:
        average = module.generator_ema
        assert average is not None
        half_life = self.half_life(module.images_seen)
        decay = 0.5 ** (module.generator_batch_size / half_life) if half_life > 0 else 0.0
        torch._foreach_lerp_(list(average.parameters()), list(module.generator.parameters()), 1 - decay)
        ours, theirs = dict(average.named_buffers()), dict(module.generator.named_buffers())
        if copied := [name for name in ours if "parametrizations." not in name]:
            torch._foreach_copy_([ours[name] for name in copied], [theirs[name] for name in copied])
        with torch.autocast(module.device.type, enabled=False):
            _update_parametrizations(average)


def _update_parametrizations(network: nn.Module) -> None:
    """Update parametrizations as a training forward pass does, by a step of the power iteration for example."""
    for module in network.modules():
        if is_parametrized(module):
            assert isinstance(module.parametrizations, nn.ModuleDict)
            for name, parametrization in module.parametrizations.items():
                if next(parametrization.buffers(), None) is None:
                    continue  # a function of the weights alone
                parametrization.train()
                getattr(module, name)
                parametrization.eval()
