"""The training step of a classifier."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import convnorm
from gan.checks import check_at_least
from gan.data.sources import Source
from gan.data.subset import Subset
from gan.data.transfer import send
from gan.distributed import average_gradients
from gan.images import height_and_width
from gan.losses import WeightPenalty
from gan.norms import BatchNorm, Norm, normalize
from gan.randomness import Stream, integers, rng, seed_torch
from gan.runs.description import build, describe, norms_in_words, public_path, short_name
from gan.training.base import TrainingModule
from gan.training.optimizers import Optimizer
from robustness.label_noise import LabelNoise
from robustness.schedules import Drops, Schedule


def sgd(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Return SGD as in the ConvNorm paper's code: learning rate 0.1, momentum 0.9, weight decay 1e-4."""
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=1e-4)


@dataclass(frozen=True)
class FreeTraining:
    """Adversarial training that takes several updates on each batch, each with a step of the attack, at no extra pass.

    As the ConvNorm paper's code has it: "free" training (Shafahi et al., NeurIPS 2019), but the change of the images
    begins at zero in every batch.

    Attributes:
        repeats: Updates on each batch. A training step then is as long as so many.
        epsilon: Largest change of a value, in units of 1/255.
        step_size: Change of a value in one step, in units of 1/255.
    """

    repeats: int = 4
    epsilon: float = 8.0
    step_size: float = 8.0

    def __post_init__(self) -> None:
        check_at_least(1, "FreeTraining: ", repeats=self.repeats)
        if not min(self.epsilon, self.step_size) > 0:
            raise ValueError(f"FreeTraining: epsilon and step_size must be positive, got {self}")

    def moved(self, change: Tensor, gradient: Tensor) -> Tensor:
        """Return the change after a step along the sign of the loss' gradient."""
        epsilon = self.epsilon / 255
        return (change + self.step_size / 255 * gradient.sign()).clamp(-epsilon, epsilon)


class Classifier(TrainingModule):
    """A network that learns the classes of images.

    One `training_step` is one batch. The network gets images in [-1, 1]. Its own batch norms stay, over the batch of
    all processes; a `Conv` puts ConvNorm before them.

    Args:
        network: The plain network.
        norms: Norms for its convolutions, in order.
        normalize_linear: Whether they are for its linear layers too. The paper's are not: the last layer would bound
            the logits.
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
    """

    facts_key = "classifier"
    batches_per_step = 1
    uses_labels = True

    def __init__(
        self,
        network: nn.Module,
        norms: list[Norm] = [],  # noqa: B006 (never changed; a list in YAML)
        normalize_linear: bool = False,
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
        if not 0 < validation < 1:
            raise ValueError(f"validation must be between 0 and 1, got {validation}")
        self.description: dict[str, Any] = {
            "network": _described(network),
            "norms": [describe(norm) for norm in norms],
            "normalize_linear": normalize_linear,
        }
        self.network = convnorm.convert(_normalized(network, norms, normalize_linear), _over_processes)
        self.optimizer_factory, self.schedule = optimizer, schedule
        self.label_smoothing, self.weight_penalty, self.crop = label_smoothing, weight_penalty, crop
        self.label_noise, self.adversarial, self.validation = label_noise, adversarial, validation
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
        return cropped(images, send(self.local_slice(corners), images.device), self.crop)

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
        held_back = torch.zeros(len(source), dtype=torch.bool)
        held_back[self._validation_indices(source)] = True
        part = source.select((~held_back).nonzero().squeeze(1))
        if self.label_noise is None:
            return part
        return part.relabelled(self.label_noise(part.labels, int(source.labels.max()) + 1, self.seed))

    def validation_part(self, source: Source) -> Source:
        """Return what is held back of the split "train"."""
        return source.select(self._validation_indices(source))

    def _validation_indices(self, source: Source) -> Tensor:
        subset = Subset(fraction=self.validation, seed=self.seed, stream=Stream.VALIDATION)
        chosen = subset.choose(source.labels)
        assert chosen is not None
        if len(chosen) == len(source):
            raise ValueError(f"validation {self.validation} of {len(source)} images leaves none to learn from")
        return chosen

    # What the base class asks for

    @property
    def introduction(self) -> str:
        """The network with its norms and its size."""
        kind = short_name(self.description["network"]["class_path"])
        return f"training {kind} ({norms_in_words(self.description['norms'], self.network)})"

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

    def facts(self) -> dict[str, Any]:
        """Return what `network_of` needs, and the seed."""
        return {**self.description, "seed": self.seed}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint fits the configuration."""
        super().on_load_checkpoint(checkpoint)
        self.check_fit(checkpoint)

    def _configured_optimizers(self) -> Iterator[tuple[str, Optimizer, nn.Module]]:
        yield "optimizer", self.optimizer_factory, self.network


def network_of(checkpoint: dict[str, Any]) -> nn.Module:
    """Rebuild the network of a checkpoint, in evaluation mode.

    Raises:
        ValueError: if the checkpoint does not say how, as with networks that keep no record of their arguments.
    """
    facts = checkpoint[Classifier.facts_key]
    if "init_args" not in facts["network"]:
        raise ValueError(f"{facts['network']['class_path']} keeps no record of its arguments: it cannot be rebuilt")
    norms = [build(norm, Norm) for norm in facts["norms"]]
    network = _normalized(build(facts["network"], nn.Module), norms, facts["normalize_linear"])
    state = checkpoint["state_dict"]
    network.load_state_dict(
        {name.removeprefix("network."): state[name] for name in state if name.startswith("network.")}
    )
    return network.eval().requires_grad_(False)


def cropped(images: Tensor, corners: Tensor, border: int) -> Tensor:
    """Move images within a black border: cut their size out of it again, at corners (N, 2) from 0 to 2 * border."""
    count, _, height, width = images.shape
    windows = F.pad(images, (border,) * 4).unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(count, device=images.device), :, corners[:, 0], corners[:, 1]]


def _normalized(network: nn.Module, norms: list[Norm], normalize_linear: bool) -> nn.Module:
    return normalize(network, norms if normalize_linear else [_NotLinear(norm) for norm in norms])


class _NotLinear(Norm):
    """A norm that leaves linear layers alone."""

    def __init__(self, norm: Norm) -> None:
        self.norm = norm
        self.sites = tuple(kind for kind in norm.sites if kind is not nn.Linear)  # type: ignore[misc]

    def of(self, network: nn.Module) -> Norm:
        return _NotLinear(self.norm.of(network))

    def apply(self, site: nn.Module) -> nn.Module:
        return self.norm.apply(site)


def _over_processes(module: nn.Module) -> nn.Module:
    """Return a batch norm over the batch of all processes for one that is not."""
    if type(module) is not nn.BatchNorm2d:
        return module
    settings = module.eps, module.momentum, module.affine, module.track_running_stats
    norm = BatchNorm(module.num_features, *settings)
    norm.load_state_dict(module.state_dict())
    return norm


def _described(network: nn.Module) -> dict[str, Any]:
    try:
        return describe(network)
    except TypeError:  # a network of others, that keeps no record of its arguments
        return {"class_path": public_path(type(network))}
