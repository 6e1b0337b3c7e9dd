"""Whether the discriminator learns its training images by heart."""

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from gan.checks import check_at_least
from gan.data import ImageData
from gan.images import to_float
from gan.latents import sample_inputs
from gan.module import GAN
from gan.networks.evaluation_mode import evaluating

HELD_OUT = "test"
_BATCH = 64
_SEED = 0  # of the generated images, the same in every run


class Overfitting(Callback):
    """Compares what the discriminator says of training, held-out and generated images, every n generator steps.

    All are seen without augmentation and in evaluation mode. Held-out images are those of the split "test", if the data
    has one. Logged are

    - `overfitting/train_sign`: the mean sign of the logits of training images. 1: it takes all of them to be real.
    - `overfitting/held_out_sign`: the same for held-out images.
    - `overfitting/gap`: (E[D(train)] - E[D(held out)]) / (E[D(train)] - E[D(generated)]). 0: held-out images look as
      real as training ones. 1: they look like generated ones, so the training images are known by heart. It is left out
      where the discriminator does not tell training from generated images, since the ratio then means nothing: where
      their mean logits differ by less than a standard deviation. That bound is ours.

    These are r_t and r_v of Karras et al. (ADA, NeurIPS 2020, equation 1). With a loss that compares pairs the sign of
    a logit means nothing, and only the gap is logged. One line says when a bound is passed for the first time.

    Args:
        every_n_steps: Generator steps between two looks.
        num_images: Images of each kind, at most.
        max_gap: Bound of the gap.
        max_sign: Bound of `train_sign` where there are no held-out images.

    Raises:
        ValueError: if an argument is out of its range.
    """

    def __init__(
        self, every_n_steps: int = 1000, num_images: int = 512, max_gap: float = 0.5, max_sign: float = 0.9
    ) -> None:
        check_at_least(1, "Overfitting: ", every_n_steps=every_n_steps, num_images=num_images)
        self.every_n_steps, self.num_images = every_n_steps, num_images
        self.max_gap, self.max_sign = max_gap, max_sign
        self._said = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that there are images to look at.

        Raises:
            ValueError: if the data are no `ImageData`.
        """
        _data(pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look every n steps."""
        assert isinstance(pl_module, GAN)
        if trainer.global_step % self.every_n_steps:
            return
        values = self.look(pl_module, _data(pl_module))
        pl_module.publish({f"overfitting/{name}": value for name, value in values.items()})
        if not self._said and (reason := self.verdict(values)):
            self._said = True
            advice = "keep a checkpoint from before"
            if not pl_module.augment.numbers:
                advice = "augmentation helps (configs/few_images.yaml)"
            pl_module.print(f"step {trainer.global_step}: {reason}; {advice}")

    def state_dict(self) -> dict[str, Any]:
        """Return whether the line has been said."""
        return {"said": self._said}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore it."""
        self._said = state_dict["said"]

    def verdict(self, values: dict[str, float]) -> str | None:
        """Return what is to be said of some values; None if no bound is passed."""
        gap, sign = values.get("gap"), values.get("train_sign")
        if gap is not None:
            real = "the discriminator learns the training images by heart: held-out ones look"
            return f"{real} {gap:.0%} of the way to generated ones" if gap > self.max_gap else None
        if sign is not None and "held_out_sign" not in values and sign > self.max_sign:
            return f"the discriminator takes {(1 + sign) / 2:.0%} of the training images to be real, maybe by heart"
        return None

    @torch.no_grad()
    def look(self, module: GAN, data: ImageData) -> dict[str, float]:
        """Return what is logged, without "overfitting/"."""
        train, held_out = _judge_split(module, data, "train", self.num_images), None
        if HELD_OUT in data.splits:
            held_out = _judge_split(module, data, HELD_OUT, self.num_images)
        values = {}
        if not module.loss.pairs:
            signs = {"train_sign": train, "held_out_sign": held_out}
            values = {name: float(logits.sign().mean()) for name, logits in signs.items() if logits is not None}
        if held_out is not None:
            generated = _judge_generated(module, self.num_images)
            if (told_apart := train.mean() - generated.mean()) > _deviation(train, generated):
                values["gap"] = float((train.mean() - held_out.mean()) / told_apart)
        return values


def _deviation(*groups: Tensor) -> Tensor:
    """Return the standard deviation within groups of logits of about the same size."""
    return torch.stack([logits.var(correction=0) for logits in groups]).mean().sqrt()


def _data(module: LightningModule) -> ImageData:
    assert isinstance(module, GAN)
    if (data := module.image_data) is None:
        raise ValueError("Overfitting looks at images of an ImageData, but they come from another data loader")
    return data


def _judge_split(module: GAN, data: ImageData, split: str, count: int) -> Tensor:
    """Return logits of images from all over a split, since files are often sorted by class."""
    total = data.num_images(split)
    indices = torch.arange(min(count, total)) * total // min(count, total)
    images, labels = data.images_at(split, indices.tolist()), data.labels(split)[indices]
    return _judge(module, to_float(images.to(module.device)), labels)


def _judge_generated(module: GAN, count: int) -> Tensor:
    latents, labels = sample_inputs(module.generator, count, seed=_SEED)
    latents = latents.to(module.device, module.weights_dtype)
    with evaluating(module.generator) as generator:
        parts = zip(latents.split(_BATCH), labels.to(module.device).split(_BATCH), strict=True)
        images = torch.cat([generator.forward(z, y) for z, y in parts])  # not the compiled form
    return _judge(module, images, labels)


def _judge(module: GAN, images: Tensor, labels: Tensor) -> Tensor:
    with evaluating(module.discriminator) as discriminator:
        parts = zip(images.to(module.weights_dtype).split(_BATCH), labels.to(module.device).split(_BATCH), strict=True)
        return torch.cat([discriminator.forward(x, y) for x, y in parts]).double()
