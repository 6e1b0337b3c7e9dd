"""A generator and a discriminator in training: what can be configured, and what follows from it."""

from collections.abc import Mapping

import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, nn

from gan.augment import Augment, Unchanged
from gan.checks import check_at_least
from gan.images import height_and_width
from gan.losses import Loss, Penalties, Penalty, WeightPenalty
from gan.networks import Discriminator, Generator
from gan.norms import Norm
from gan.runs.description import norms_in_words, short_name
from gan.step import AdversarialStep
from gan.training.compilation import compile_network
from gan.training.cuda_graphs import UpdateGraphs, reason_against
from gan.training.objective import uses_batch_statistics
from gan.training.optimizers import Annealing, LinearDecay, Optimizer, adam

# Augmentation is recommended for fewer images that are seen more often. Both numbers are our choice. The scores of the
# quickstart get better to the end of its 27 passes over 1,797 digits, so it gets no such line.
FEW_IMAGES = 5_000
MANY_PASSES = 100


class GAN(AdversarialStep):
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
        generator_clip: Largest norm of the generator's gradient, over all its weights together: a longer one is scaled
            to this length in every update. None: gradients stay as they are. Not with the precision 16-mixed.
        discriminator_clip: The same for the discriminator.
        channels_last: Keep weights and images in the channels-last memory format, which is faster for convolutions.
        compile: Compile the networks with `torch.compile` for the training step. Meant for GPUs; CPUs gain nothing.
            The first step then takes half a minute or more. With a gradient penalty the discriminator and the
            augmentation are not compiled, since compiled gradients cannot be differentiated. Networks that cannot be
            compiled run as they are, with a warning.
        cuda_graphs: Record each kind of update once as a CUDA graph and replay it: a step then no longer waits for a
            host that launches its kernels one by one. Losses, penalties, norms and augmentations must keep what changes
            in tensors, changed in place, as all of this package do. The first updates run without; where a recording is
            impossible, as with several processes, all do, with a warning.
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
        generator_clip: float | None = None,
        discriminator_clip: float | None = None,
        channels_last: bool = False,
        compile: bool = False,
        cuda_graphs: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(generator, discriminator, loss, generator_norms, discriminator_norms, seed, decay)
        check_at_least(1, discriminator_steps=discriminator_steps)
        check_at_least(1, generator_batch_ratio=generator_batch_ratio, micro_batches=micro_batches)
        if decay is not None and annealing is not None:
            raise ValueError("decay and annealing both set the learning rates: give one of them")
        self.penalties = Penalties([penalty] if isinstance(penalty, Penalty) else penalty or [])
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
        self.joint_pass = joint_pass and not uses_batch_statistics(self.discriminator)
        self.generator_batch_ratio = generator_batch_ratio
        self.micro_batches = micro_batches
        self.clips = _clips(generator=generator_clip, discriminator=discriminator_clip)
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.compiled = compile
        self.cuda_graphs = cuda_graphs
        self._graphs: UpdateGraphs | None = None
        self.to(memory_format=self.memory_format)

    # What the base class asks for

    @property
    def batches_per_step(self) -> int:
        """One batch of real images for each update of the discriminator; the generator's if the loss compares pairs."""
        return self.discriminator_steps + self.generator_batch_ratio * self.loss.pairs

    @property
    def generator_batch_size(self) -> int:
        """Images of one update of the generator, all processes together."""
        return self.batch_size * self.generator_batch_ratio

    @property
    def introduction(self) -> str:
        """Both networks with their norms and sizes, and the loss."""
        parts = []
        for name, network in ("generator", self.generator), ("discriminator", self.discriminator):
            kind = short_name(self.description[name]["class_path"])
            parts.append(f"{kind} ({norms_in_words(self.description[f'{name}_norms'], network)})")
        loss = short_name(self.description["loss"]["class_path"])
        return f"training {parts[0]} against {parts[1]}, {loss} loss"

    def check_share(self, images: int) -> None:
        """Check that `micro_batches` divides them."""
        if images % self.micro_batches:
            raise ValueError(f"micro_batches must divide a process' {images} images, got {self.micro_batches}")

    def check_own_images(self, images: Tensor, labels: Tensor) -> None:
        """Check that images have the generator's shape, and labels its classes."""
        shape = self.generator.channels, *height_and_width(self.generator.image_size)
        if images.shape[1:] != shape:
            raise ValueError(f"the networks are built for images {shape}, got {tuple(images.shape[1:])}")
        classes = self.generator.num_classes
        if self.conditional and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            bounds = f"{int(labels.min())} to {int(labels.max())}"
            raise ValueError(f"the networks are built for labels 0 to {classes - 1}, got {bounds}")

    def advice(self, images: int, passes: float) -> str | None:
        """Recommend augmentation where the discriminator can learn the images by heart."""
        if images >= FEW_IMAGES or passes <= MANY_PASSES or self.augment.numbers:
            return None
        return (
            f"few images ({images:,}): the discriminator may learn them by heart. "
            "--model.augment DiffAugment helps; configs/few_images.yaml is a recipe"
        )

    @property
    def uses_labels(self) -> bool:
        """Whether the generator is conditional."""
        return self.conditional

    def example_inputs(self) -> Mapping[str, tuple[nn.Module, tuple[Tensor, ...]]]:
        """Return both networks with zeros, and class 0."""
        shape = self.generator.channels, *height_and_width(self.generator.image_size)
        z = torch.zeros(1, self.generator.latent_dim, device=self.device, dtype=self.weights_dtype)
        image = torch.zeros(1, *shape, device=self.device, dtype=self.weights_dtype)
        y = torch.zeros(1, dtype=torch.long, device=self.device)
        return {"generator": (self.generator, (z, y)), "discriminator": (self.discriminator, (image, y))}

    def trained_networks(self) -> Mapping[str, tuple[nn.Module, Optimizer]]:
        """Return both networks, the generator first."""
        for_generator, for_discriminator = self.optimizer_factories
        return {"generator": (self.generator, for_generator), "discriminator": (self.discriminator, for_discriminator)}

    def on_fit_start(self) -> None:
        """Check the configuration, and compile the networks if asked to."""
        super().on_fit_start()
        if self.clips and self.trainer.precision == "16-mixed":
            raise ValueError("generator_clip and discriminator_clip need another precision than 16-mixed: bf16-mixed")
        if self.compiled:
            compile_network(self.generator)
            if not self.penalties.differentiates_gradient:
                compile_network(self.discriminator)
                if self.augment.numbers:
                    compile_network(self.augment)
        if self.cuda_graphs:
            self._begin_graphs()

    def _begin_graphs(self) -> None:
        if reason := reason_against(self.device, self.trainer.world_size):
            rank_zero_warn(f"model.cuda_graphs: the updates run without CUDA graphs ({reason})")
        else:
            self._graphs = UpdateGraphs(self)

    def on_fit_end(self) -> None:
        """Drop the graphs, and restore the trainer's own limits."""
        self._graphs = None
        super().on_fit_end()


def _clips(**given: float | None) -> dict[str, float]:
    """Return the largest norm of the gradients of each network that has one."""
    clips = {network: clip for network, clip in given.items() if clip is not None}
    for network, clip in clips.items():
        if not clip > 0:
            raise ValueError(f"{network}_clip must be greater than 0, got {clip}")
    return clips
