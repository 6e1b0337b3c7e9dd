"""A generator and its discriminator as one module: sampling, and rebuilding both from a checkpoint."""

import copy
from typing import Any, NoReturn, TypeVar

from torch import Tensor, nn

from gan.data import ImageData
from gan.data.classes import check_same_classes
from gan.losses import Loss
from gan.networks import Discriminator, Generator
from gan.norms import Norm, normalize
from gan.runs.description import build, describe
from gan.trained import Trained
from gan.training.base import TrainingModule
from gan.training.optimizers import LinearDecay

M = TypeVar("M", bound="GenerativeModule")


class GenerativeModule(TrainingModule, Trained):
    """Two networks with their norms, the loss between them, and optionally an average of the generator.

    `gan.module.GAN` adds the training step. The arguments are those of `GAN`.

    Attributes:
        generator_ema: Average of the generator's weights over the training; None if the run keeps none.
        classes: Names of the classes in the order of their labels; empty if they are not known.

    Raises:
        ValueError: if only the discriminator is conditional, a network is empty, or the seed is out of range.
    """

    facts_key = "gan"

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        loss: Loss,
        generator_norms: list[Norm],
        discriminator_norms: list[Norm],
        seed: int,
        decay: LinearDecay | None,
    ) -> None:
        super().__init__(seed, decay)
        _check_not_empty(generator=generator, discriminator=discriminator)
        self.description: dict[str, Any] = {
            "generator": describe(generator),
            "discriminator": describe(discriminator),
            "loss": describe(loss),
            "generator_norms": [describe(norm) for norm in generator_norms],
            "discriminator_norms": [describe(norm) for norm in discriminator_norms],
        }
        self.generator = normalize(generator, generator_norms)
        self.discriminator = normalize(discriminator, discriminator_norms)
        self.generator_ema: Generator | None = None
        self.classes: tuple[str, ...] = ()
        if discriminator.conditional and not self.conditional:
            raise ValueError("the discriminator is conditional, but the generator is not: add ConditionalBatch to it")
        self.loss = loss

    def add_average(self) -> Generator:
        """Add `generator_ema`, a frozen copy of the generator. Samples are drawn from it from now on."""
        self.generator_ema = copy.deepcopy(self.generator).eval().requires_grad_(False)
        return self.generator_ema

    # Sampling

    @property
    def sampler(self) -> Generator:
        return self.generator if self.generator_ema is None else self.generator_ema

    @property
    def weights_name(self) -> str:
        return "raw" if self.generator_ema is None else "ema"

    @classmethod
    def load_from_checkpoint(cls, *args: object, **kwargs: object) -> NoReturn:
        """Do not use: a checkpoint says how its networks are built, and `gan.load` reads that."""
        raise TypeError(f"{cls.__name__}.load_from_checkpoint cannot build the networks: use gan.load(path)")

    def to_onnx(self, *args: object, **kwargs: object) -> NoReturn:
        """Do not use: a GAN is two networks."""
        raise TypeError("a GAN is two networks: `gan export RUN --to onnx` or torch.onnx.export exports one")

    def to_torchscript(self, *args: object, **kwargs: object) -> NoReturn:
        """Do not use: a GAN is two networks."""
        raise TypeError("a GAN is two networks: `gan export RUN` or torch.export.export exports one")

    # Lightning's hooks

    def setup(self, stage: str) -> None:
        """Take the names of the classes from the data of a training.

        Raises:
            ValueError: if a conditional generator has another number of classes.
        """
        super().setup(stage)
        data = getattr(self.trainer, "datamodule", None)
        if stage != "fit" or not isinstance(data, ImageData):
            return
        if self.conditional and data.num_classes != self.generator.num_classes:
            raise ValueError(
                f"the generator is built for {self.generator.num_classes} classes, the data have {data.num_classes}"
            )
        self.classes = data.classes

    # Checkpoints

    def facts(self) -> dict[str, Any]:
        """Return, as plain data, everything that `from_checkpoint` needs to rebuild the module."""
        return {**self.description, "seed": self.seed, "classes": list(self.classes)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint fits the configuration, and add the average if only the checkpoint has one.

        Raises:
            ValueError: if it does not fit.
        """
        super().on_load_checkpoint(checkpoint)
        self._take_classes(checkpoint)
        has_average = _has_average(checkpoint)
        if has_average != (self.generator_ema is not None) and (self.trainer.training or not has_average):
            holds, asks = ("", "no ") if has_average else ("no ", "")
            raise ValueError(f"the checkpoint holds {holds}averaged weights, but the config has {asks}EMA callback")
        self._prepare_for(checkpoint)

    def _take_classes(self, checkpoint: dict[str, Any]) -> None:
        """Take the names of the classes from the checkpoint, unless the data of a training have other ones."""
        saved = tuple(checkpoint["gan"].get("classes") or ())  # earlier versions saved none
        if self.conditional and saved and self.classes:
            check_same_classes(saved, self.classes)
        self.classes = self.classes or saved

    def _prepare_for(self, checkpoint: dict[str, Any]) -> None:
        if _has_average(checkpoint) and self.generator_ema is None:
            self.add_average()
        self.check_fit(checkpoint)

    @classmethod
    def from_checkpoint(cls: type[M], checkpoint: dict[str, Any]) -> M:
        """Rebuild the module, including its weights, from the content of a checkpoint file.

        What only training needs, the state of augmentation and penalties, is left out.
        """
        description, state = checkpoint["gan"], _without_training_state(checkpoint["state_dict"])
        checkpoint = {**checkpoint, "state_dict": state}
        module = cls(
            build(description["generator"], Generator),
            build(description["discriminator"], Discriminator),
            build(description["loss"], Loss),  # type: ignore[type-abstract]
            [build(norm, Norm) for norm in description["generator_norms"]],
            [build(norm, Norm) for norm in description["discriminator_norms"]],
            seed=description["seed"],
            decay=None,
        )
        module._take_classes(checkpoint)
        module._prepare_for(checkpoint)
        # Otherwise load_state_dict would cast to float32, in which the networks are built
        module.to(next(tensor.dtype for tensor in checkpoint["state_dict"].values() if tensor.is_floating_point()))
        module.load_state_dict(checkpoint["state_dict"])
        return module.eval()


def _without_training_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    of_training = "augment.", "penalties.", "weight_penalties."
    return {name: tensor for name, tensor in state.items() if not name.startswith(of_training)}


def _has_average(checkpoint: dict[str, Any]) -> bool:
    return any(key.startswith("generator_ema.") for key in checkpoint["state_dict"])


def _check_not_empty(**networks: nn.Module) -> None:
    for network, module in networks.items():
        if empty := [name for name, parameter in module.named_parameters() if parameter.numel() == 0]:
            raise ValueError(f"{network}: its widths must be at least 1, but {empty[0]} is empty")
