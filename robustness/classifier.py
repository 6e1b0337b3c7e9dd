"""The training step of a classifier."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan.checks import check_at_least
from gan.data.classes import check_same_classes
from gan.data.sources import Source
from gan.data.subset import Subset
from gan.distributed import average_gradients
from gan.images import height_and_width
from gan.losses import WeightPenalty
from gan.norms import Norm
from gan.randomness import Stream, integers, rng, seed_torch
from gan.runs.description import norms_in_words, short_name
from gan.training.base import TrainingModule
from gan.training.optimizers import Optimizer
from robustness.adversarial import FreeTraining
from robustness.building import FACTS, check_batch_norms, description_of, normalized
from robustness.crops import cropped
from robustness.holdout import Holdout
from robustness.label_noise import LabelNoise
from robustness.schedules import Drops, Schedule


def sgd(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Return SGD as in the ConvNorm paper's code: learning rate 0.1, momentum 0.9, weight decay 1e-4."""
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=1e-4)


class Classifier(TrainingModule):
    """A network that learns the classes of images.

    One `training_step` is one batch. The network gets images in [-1, 1]. Its own batch norms stay, over the batch of
    all processes; a `Conv` puts ConvNorm before them.

    Args:
        network: The plain network.
        norms: Norms for its convolutions, in order.
        optimizer: Makes the optimizer from the parameters. The default has the paper's settings.
        schedule: How the learning rate falls; None keeps it constant.
        label_smoothing: The share of the target that goes to all classes alike.
        weight_penalty: A penalty on the weights, added to the loss.
        crop: Each training image is moved by up to so many pixels, at random, and what is new is black. The paper: 4.
        label_noise: Which training labels are made wrong. Those of the validation part stay right.
        adversarial: Train on attacked images; None: on the images as they are.
        validation: The share of the training images of each class that is held back for validation. Which ones
            depends on the seed alone.
        channels_last: Keep weights and images in the channels-last memory format, which is faster for convolutions.
        seed: Of everything random. The command line sets it from `seed_everything`.

    Attributes:
        classes: Names of the classes in the order of their labels; empty before there are data.
    """

    facts_key = FACTS
    batches_per_step = 1
    uses_labels = True

    def __init__(
        self,
        network: nn.Module,
        norms: list[Norm] = [],  # noqa: B006 (never changed; a list in YAML)
        optimizer: Optimizer = sgd,
        schedule: Schedule | None = Drops(),  # noqa: B008 (frozen)
        label_smoothing: float = 0.0,
        weight_penalty: WeightPenalty | None = None,
        crop: int = 0,
        label_noise: LabelNoise | None = None,
        adversarial: FreeTraining | None = None,
        validation: float = 0.1,
        channels_last: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(seed, decay=None)
        check_at_least(0, crop=crop)
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing must be at least 0 and below 1, got {label_smoothing}")
        self.description = description_of(network, norms)
        self.network = normalized(network, norms)
        self.classes: tuple[str, ...] = ()
        self._subset, self._held_back_then = Subset(), ""
        self.optimizer_factory, self.schedule = optimizer, schedule
        self.label_smoothing, self.weight_penalty, self.crop = label_smoothing, weight_penalty, crop
        self.label_noise, self.adversarial, self.holdout = label_noise, adversarial, Holdout(validation, seed)
        if weight_penalty is not None:
            weight_penalty.layers(self.network)  # refuses a network without any
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.to(memory_format=self.memory_format)

    # The step

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Learn from a batch.

        Args:
            batch: uint8 images (N, C, H, W) and labels (N,), this process' share.
            batch_idx: Unused; `trainer.global_step` is the position in the run.

        Returns:
            Scalars to report: the loss, and the share of the batch that was classified right, of the last update.

        Raises:
            FloatingPointError: if a loss or a weight is no longer finite.
        """
        self.health.begin(self.trainer.global_step + 1)
        seed_torch(self.device, self.seed, Stream.NETWORKS, self.trainer.global_step, self.trainer.global_rank)
        self.set_learning_rates()
        images, labels = batch
        images, repeats = self.pixels(self._cropped(images)), self.adversarial.repeats if self.adversarial else 1
        change, reported = torch.zeros_like(images), {}
        for repeat in range(repeats):
            x = (images + change).clamp_(0, 1).requires_grad_(repeat + 1 < repeats)
            reported = self._update(x, labels, is_last=repeat + 1 == repeats)
            if self.adversarial is not None and x.grad is not None:
                change = self.adversarial.moved(change, x.grad)
        if self.health.is_due(self.device.type):
            self.health.check()
        return reported

    def _update(self, images: Tensor, labels: Tensor, is_last: bool) -> dict[str, Tensor]:
        optimizer = self.optimizer_of("network")
        optimizer.zero_grad()
        logits = self.logits(images)
        objective = loss = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        reported = {"loss/classification": loss, "accuracy/batch": 100 * (logits.argmax(1) == labels).float().mean()}
        if self.weight_penalty is not None:
            reported["loss/penalty"] = penalty = self.weight_penalty(self.network)
            objective = loss + penalty
        self.manual_backward(objective)
        values = torch.cat([self.health.values_to_average(objective), torch.stack([*reported.values()]).detach()])
        averaged = average_gradients(self.network.parameters(), values)
        self.health.add_loss("network", averaged[:2])
        if is_last:
            optimizer.step()
        else:  # LightningOptimizer.step() would count this update in `trainer.global_step`
            self.trainer.strategy.optimizer_step(optimizer.optimizer, lambda: None)
        self.health.add_weights("network", self.network)
        return dict(zip(reported, averaged[2:], strict=True))

    def _cropped(self, images: Tensor) -> Tensor:
        if not self.crop:
            return images
        count = len(images) * self.trainer.world_size
        corners = integers(rng(self.seed, Stream.CROP, self.trainer.global_step), 2 * self.crop + 1, count, 2)
        return cropped(images, self.local_slice(corners), self.crop)

    def pixels(self, images: Tensor) -> Tensor:
        """Map uint8 images to [0, 1], in the type and the memory format of the network."""
        return (images.float() / 255).to(dtype=self.weights_dtype, memory_format=self.memory_format)

    def logits(self, pixels: Tensor) -> Tensor:
        """Map images (N, C, H, W) in [0, 1] to logits (N, classes), in the type of the weights."""
        logits: Tensor = self.network(pixels * 2 - 1)
        return logits.to(self.weights_dtype)  # half precision, as under autocast, is too coarse for a loss

    # The data

    def training_part(self, source: Source) -> Source:
        """Return what is not held back, with the noise in its labels."""
        self._check_held_back()
        part = self.holdout.kept(source)
        if self.label_noise is None:
            return part
        num_classes = max(len(self.classes), int(source.labels.max()) + 1)
        return part.relabelled(self.label_noise(part.labels, num_classes, self.seed))

    def validation_part(self, source: Source) -> Source:
        """Return what is held back of the split "train".

        Raises:
            ValueError: if the network comes from a checkpoint for which other images were held back.
        """
        self._check_held_back()
        return self.holdout.held_back(source)

    def _check_held_back(self) -> None:
        now = self._held_back()
        if self._held_back_then not in ("", now):
            raise ValueError(
                f"the checkpoint's network has seen what is held back now ({now}); held back then: "
                f"{self._held_back_then}. Give the same seed_everything, model.validation and data"
            )

    def _held_back(self) -> str:
        """Return which images are held back, as a checkpoint keeps it."""
        if self._subset.takes_all:
            return f"{self.holdout}, of all images"
        count = self._subset.num_images or self._subset.fraction
        return f"{self.holdout}, of {count} by subset_seed {self._subset.seed}"

    # What the base class asks for

    @property
    def introduction(self) -> str:
        """The network with its norms and its size, the label noise, the penalty and the adversarial training."""
        kind = short_name(self.description["network"]["class_path"])
        parts = [f"training {kind} ({norms_in_words(self.description['norms'], self.network)})"]
        if self.label_noise is not None:
            parts.append(f"label noise {type(self.label_noise).__name__} {self.label_noise.fraction:g}")
        parts += [type(each).__name__ for each in (self.weight_penalty, self.adversarial) if each is not None]
        return ", ".join(parts)

    def example_inputs(self) -> Mapping[str, tuple[nn.Module, tuple[Tensor, ...]]]:
        """Return the network with an image of zeros, of the size of the data."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        shape = data.channels, *height_and_width(data.image_size)
        return {"network": (self.network, (torch.zeros(1, *shape, device=self.device, dtype=self.weights_dtype),))}

    def trained_networks(self) -> Mapping[str, tuple[nn.Module, Optimizer]]:
        """Return the network."""
        return {"network": (self.network, self.optimizer_factory)}

    def learning_rate_factor(self) -> float:
        """Return the schedule's factor at the current step of `max_steps`."""
        progress = self.trainer.global_step / self.trainer.max_steps
        return 1.0 if self.schedule is None else self.schedule(progress)

    def setup(self, stage: str) -> None:
        """Take the names of the classes from the data.

        Raises:
            ValueError: if there are none, or a batch norm cannot take its statistics over several processes.
        """
        super().setup(stage)
        if self.trainer.world_size > 1:
            check_batch_norms(self.network)
        if (data := self.image_data) is not None:
            self.classes, self._subset = data.classes, data.subset
            if data.num_classes < 2:
                raise ValueError(f"a classifier needs at least 2 classes, the images of {data.name} have no labels")

    def facts(self) -> dict[str, Any]:
        """Return what `network_of` needs, the seed, and the names of the classes."""
        facts = {"seed": self.seed, "classes": list(self.classes), "held_back": self._held_back()}
        return {**self.description, **facts}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint fits the configuration and the data.

        Raises:
            ValueError: if it has another network, or classes of other names or in another order.
        """
        super().on_load_checkpoint(checkpoint)
        self._held_back_then = checkpoint[FACTS].get("held_back", "")  # earlier versions saved none
        if (saved := checkpoint[FACTS].get("classes")) and self.classes:  # earlier versions saved none
            check_same_classes(saved, self.classes)
        self.check_fit(checkpoint)

    def _configured_optimizers(self) -> Iterator[tuple[str, Optimizer, nn.Module]]:
        yield "optimizer", self.optimizer_factory, self.network
