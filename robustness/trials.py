"""What is done to the images, for every row of the table."""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from robustness.attacks import Attack
from robustness.corruptions import SEVERITIES, STANDARD, Corruption
from robustness.corruptions.published import PublishedImages
from robustness.measurement import SEED, Change, Images, Meter
from robustness.table import Row


def as_they_are(meter: Meter, images: Tensor, labels: Tensor, numbers: list[int]) -> Tensor:
    """Change nothing."""
    return meter.pixels(images)


@dataclass(frozen=True)
class Trial:
    """A row of the table, to be measured; its other attributes are those of `Row`.

    Attributes:
        images: The images.
        change: What is done to them.
    """

    kind: str
    name: str
    images: Images
    change: Change = as_they_are
    group: str = ""
    severity: int = 0

    def row(self, meter: Meter) -> Row:
        """Measure it."""
        accuracy = meter.accuracy(self.images, self.change)
        return Row(self.kind, self.name, self.group, self.severity, len(self.images), accuracy)


def of_corruptions(corruptions: Iterable[Corruption], images: Images) -> list[Trial]:
    """Return a trial for each corruption and severity."""

    def corrupted(corruption: Corruption, severity: int) -> Change:
        return lambda meter, x, labels, numbers: meter.pixels(corruption(x, severity, numbers, SEED))

    return [
        Trial("corruption", each.name, images, corrupted(each, severity), each.group, severity)
        for each in corruptions
        for severity in SEVERITIES
    ]


def of_published(published: PublishedImages, count: int | None) -> list[Trial]:
    """Return a trial for each file of CIFAR-10-C and severity, on so many images."""
    groups = {kind().name: kind().group for kind in STANDARD}
    return [
        Trial(
            "published",
            name,
            Images.choose(published.source(name, severity), count),
            group=groups.get(name, ""),
            severity=severity,
        )
        for name in published.names
        for severity in SEVERITIES
    ]


def of_attacks(attacks: Iterable[Attack], images: Images, other: nn.Module | None = None) -> list[Trial]:
    """Return a trial for each attack: on the classifier, or on another network, whose images it then gets."""

    def attacked(attack: Attack) -> Change:
        if other is None:
            return lambda meter, x, labels, numbers: attack(meter.logits, meter.pixels(x), labels, numbers, SEED)
        return lambda meter, x, labels, numbers: attack(
            lambda pixels: other(pixels * 2 - 1), meter.pixels(x), labels, numbers, SEED
        )

    kind = "attack" if other is None else "transfer"
    return [Trial(kind, attack.name, images, attacked(attack)) for attack in attacks]
