"""What is measured of a classifier."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from gan.data import ImageData
from gan.data.sources import Source
from gan.data.words import some
from gan.images import height_and_width
from gan.runs.checkpoints import find_checkpoint, read_checkpoint
from robustness.attacks import Attack
from robustness.building import FACTS, network_of
from robustness.corruptions import Corruption
from robustness.corruptions.published import PublishedImages
from robustness.measurement import SEED, Images
from robustness.trials import Trial, of_attacks, of_corruptions, of_published


@dataclass(frozen=True)
class Plan:
    """The corruptions and attacks of a test, and on how many images; the attributes are arguments of `Evaluation`.

    Raises:
        ValueError: if two corruptions or two attacks have one name, under which only one result could stand.
    """

    corruptions: Sequence[Corruption]
    attacks: Sequence[Attack]
    num_images: int | None
    num_corrupted: int | None
    num_attacked: int | None
    published: PublishedImages | None
    transfer_from: str | None

    def __post_init__(self) -> None:
        for option, damages in ("corruptions", self.corruptions), ("attacks", self.attacks):
            names = [each.name for each in damages]
            if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
                raise ValueError(f"evaluation.{option}: {', '.join(twice)} stands there twice")

    def check(self, data: ImageData) -> None:
        """Check that the images of the data can be damaged, and that the published ones are like them.

        Raises:
            ValueError: if not.
        """
        for corruption in self.corruptions:
            _check_takes(corruption, data)
        if self.published is None:
            return
        if (data.channels, data.image_size) != (3, 32):
            raise ValueError(f"cifar10_c holds RGB images of 32x32 pixels, which those of {data.name} are not")
        if (known := int(self.published.labels.max()) + 1) != data.num_classes:
            raise ValueError(f"cifar10_c {self.published.folder} has {known} classes, {data.name} {data.num_classes}")

    def other_network(self, classes: Sequence[str]) -> nn.Module | None:
        """Return the network that attacks are made for too, if there is one.

        Raises:
            ValueError: if it knows other classes than these.
        """
        if self.transfer_from is None:
            return None
        checkpoint = read_checkpoint(find_checkpoint(self.transfer_from), FACTS)
        saved = tuple(checkpoint[FACTS].get("classes") or classes)  # earlier versions saved none
        if saved != tuple(classes):
            known, needed = some(saved), some(classes)
            raise ValueError(f"transfer_from {self.transfer_from} knows the classes {known}; the data have {needed}")
        return network_of(checkpoint)

    def trials(self, source: Source, workers: int, other: nn.Module | None) -> list[Trial]:
        """Return what becomes the rows of the table.

        Args:
            source: The images.
            workers: Processes that decode them.
            other: The network of `other_network`.
        """
        trials = [Trial("clean", "clean", Images.choose(source, self.num_images, workers))]
        trials += of_corruptions(self.corruptions, Images.choose(source, self.num_corrupted, workers))
        if self.published is not None:
            trials += of_published(self.published, self.num_corrupted)
        attacked = Images.choose(source, self.num_attacked, workers)
        trials += of_attacks(self.attacks, attacked)
        return trials if other is None else trials + of_attacks(self.attacks, attacked, other)

    def protocol(self, data: ImageData, split: str, images: int) -> dict[str, str | int]:
        """Return how a split with so many images is measured."""
        clean, corrupted, attacked = (
            min(images, count or images) for count in (self.num_images, self.num_corrupted, self.num_attacked)
        )
        fields: dict[str, str | int] = {
            "split": f"{data.name}/{split}",
            "classes": f"{data.num_classes} ({some(data.classes)})",
            "images": clean,
            "corrupted": f"{corrupted} of them, CIFAR-10-C-style",
            "corruptions": ", ".join(each.name for each in self.corruptions),
            "attacked": f"{attacked} of them",
            "attacks": ", ".join(map(repr, self.attacks)),
            "seed": SEED,
        }
        if self.published is not None:
            fields["published"] = str(self.published.folder)
        return fields if self.transfer_from is None else fields | {"transfer_from": self.transfer_from}


def _check_takes(corruption: Corruption, data: ImageData) -> None:
    """Try a corruption on one black image, since not all take gray or rectangular ones."""
    image = torch.zeros(1, data.channels, *height_and_width(data.image_size), dtype=torch.uint8)
    try:
        shape = corruption(image, 1, [0]).shape
    except Exception as error:  # numpy and scipy raise nearly anything
        shape, reason = None, f" ({error})"
    else:
        reason = ""
    if shape != image.shape:
        channels, height, width = image.shape[1:]
        raise ValueError(
            f"{corruption.name} cannot damage images of {channels} channels and {height}x{width} pixels{reason}: "
            "evaluation.corruptions names those that are tested"
        )
