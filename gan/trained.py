"""Samples from a trained generator. Needs torch alone."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan.classes import class_numbers
from gan.images import to_uint8
from gan.latents import SAMPLE_BLOCK, Labels, sample_inputs
from gan.networks import Generator
from gan.networks.evaluation_mode import evaluating
from gan.networks.exported import build_network, read_exported


class Trained(ABC):
    """Base of what samples can be drawn from.

    Attributes:
        generator: The generator.
        classes: Names of the classes in the order of their labels; empty if they are not known.
        seed: Seed of the stream of samples.
    """

    generator: Generator
    classes: tuple[str, ...]
    seed: int

    @property
    @abstractmethod
    def sampler(self) -> Generator:
        """The generator that samples are drawn from: the average if there is one."""

    @property
    @abstractmethod
    def weights_name(self) -> str:
        """The weights that `sample` uses: "ema" or "raw"."""

    @property
    def conditional(self) -> bool:
        """Whether the generator uses its labels."""
        by_norm = any(getattr(module, "uses_labels", False) for module in self.generator.modules())
        return self.generator.conditional or by_norm

    @torch.no_grad()
    def generate(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map latent vectors (N, latent_dim) and labels (N,) to images (N, C, H, W) in [-1, 1], in evaluation mode.

        Raises:
            ValueError: if the generator is conditional and there are no labels.
        """
        if self.conditional and labels is None:
            raise ValueError("the generator is conditional: generate() needs labels (N,), sample() draws them")
        with evaluating(self.sampler) as sampler:
            weight = next(sampler.parameters())
            images: Tensor = sampler.forward(  # not the compiled form, which is for the training's batches
                z.to(weight.device, weight.dtype), None if labels is None else labels.to(weight.device)
            )
        return images

    def sample(
        self,
        n: int | None = None,
        labels: Labels | Sequence[str] | None = None,
        *,
        seed: int | None = None,
        start: int = 0,
        truncation: float | None = None,
    ) -> Tensor:
        """Return samples `start` to `start + n` of an endless stream.

        Args:
            n: Number of samples; None: one for each label.
            labels: Their n classes, for a conditional generator: a tensor or list of numbers, or a list of names, or
                one name for all of them. None draws them uniformly.
            seed: Seed of the stream; None takes the run's own seed.
            start: Index of the first sample. Sample i depends on the seed and i alone, not on n or start.
            truncation: Entries of z beyond it are drawn again, see `gan.latents.sample_inputs`; None keeps all.

        Returns:
            uint8 images (n, C, H, W) in [0, 255], on the generator's device.

        Raises:
            ValueError: if labels are given to an unconditional generator, their number is not n, or one is not a class;
                if neither n nor labels are given, n is below 1, start below 0, or seed out of range.
        """
        if labels is not None and not self.conditional:
            raise ValueError("labels were given, but the generator is not conditional")
        if isinstance(labels, str):
            labels = [labels] * (1 if n is None else n)
        if n is None:
            if labels is None:
                raise ValueError("sample needs n, the number of samples, or labels, their classes")
            n = len(labels)
        numbers = class_numbers(labels, self.generator.num_classes, self.classes)
        seed = self.seed if seed is None else seed
        z, y = sample_inputs(self.generator, n, seed=seed, start=start, labels=numbers, truncation=truncation)
        batches = zip(z.split(SAMPLE_BLOCK), y.split(SAMPLE_BLOCK), strict=True)
        images = [to_uint8(self.generate(z_block, y_block)) for z_block, y_block in batches]
        return torch.cat(images)


class TrainedGenerator(Trained):
    """A generator from an exported file, with what the file says of it.

    Args:
        generator: The generator.
        facts: What the file says, see `gan.networks.read_facts`.

    Attributes:
        facts: The same.
    """

    def __init__(self, generator: Generator, facts: dict[str, Any]) -> None:
        self.generator, self.facts = generator, facts
        self.classes, self.seed = tuple(facts["classes"]), int(facts["seed"])

    @classmethod
    def from_file(cls, file: str | Path, *, trust: bool = False) -> "TrainedGenerator":
        """Read an exported file; the arguments and errors are those of `gan.networks.load`.

        Raises:
            ValueError: also if the file holds a discriminator.
        """
        facts, tensors = read_exported(file)
        generator = build_network(file, facts, tensors, trust)
        if not isinstance(generator, Generator):
            raise ValueError(f"{file} holds a discriminator, which makes no samples: gan.networks.load reads it")
        return cls(generator, facts)

    @property
    def sampler(self) -> Generator:
        return self.generator

    @property
    def weights_name(self) -> str:
        return str(self.facts["weights"])

    def to(self, device: str | torch.device) -> "TrainedGenerator":
        """Move the generator to a device; return self."""
        self.generator.to(device)
        return self
