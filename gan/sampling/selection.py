"""Selects samples: their latent vectors, labels and names."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gan.classes import class_number
from gan.latents import sample_inputs
from gan.networks import Generator


@dataclass(frozen=True)
class Selection:
    """Some samples of a generator.

    Attributes:
        numbers: What the samples are called: their numbers in a stream, or, without a stream, their seeds.
        stream: The seed of an endless stream of samples; None: every sample is the first of a stream of its own, so
            that `seeds=[5]` is `sample(1, seed=5)`.
        truncation: Entries of the latent vectors beyond it are drawn again; None: none.
    """

    numbers: Sequence[int]
    stream: int | None
    truncation: float | None = None

    def inputs(self, generator: Generator) -> tuple[Tensor, Tensor]:
        """Return latent vectors (N, latent_dim) and the labels that go with them, (N,)."""
        if self.stream is not None:
            start, count = self.numbers[0], len(self.numbers)
            return sample_inputs(generator, count, seed=self.stream, start=start, truncation=self.truncation)
        drawn = [sample_inputs(generator, 1, seed=seed, truncation=self.truncation) for seed in self.numbers]
        return torch.cat([z for z, _ in drawn]), torch.cat([labels for _, labels in drawn])


def parse_numbers(text: str) -> list[int]:
    """Return the numbers that "0-3,7" means: 0, 1, 2, 3, 7.

    Raises:
        ValueError: if it means none.
    """
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(f"expected numbers such as 0-99 or 1,4,7, got {text!r}")
        numbers += range(int(first), int(last or first) + 1)
    if not numbers:
        raise ValueError(f"{text!r} means no number: the first of a range is its smallest")
    return numbers


def parse_labels(text: str, num_classes: int, names: Sequence[str]) -> list[int]:
    """Return the labels that "0,3", "cat,dog" or "all" means.

    Args:
        text: Numbers or names, with commas between them.
        num_classes: Classes of the generator.
        names: Names of the classes; empty if they are not known.

    Raises:
        ValueError: if there is no such class.
    """
    if text == "all":
        return list(range(num_classes))
    given = [text] if text in names else [part.strip() for part in text.split(",")]  # a name may have a comma
    return [class_number(part, num_classes, names) for part in given]
