"""What a score is: a name, the statistics it needs, and a formula."""

from abc import ABC, abstractmethod

from gan.metrics.statistics import Batch, Statistics, Sums

PAPER = "inception"  # the name of the network that FID, IS and KID are defined with


class Score(ABC):
    """A score of generated images, computed from statistics of their features and of the reference's.

    Its attributes and its statistics' are what its value depends on: as `str`, they are part of the protocol.
    """

    def __str__(self) -> str:
        settings = ", ".join(f"{name}={value}" for name, value in (vars(self) | vars(self.statistics)).items())
        return f"{type(self).__name__}({settings})" if settings else type(self).__name__

    @property
    @abstractmethod
    def statistics(self) -> Statistics:
        """What has to be known of a set of images."""

    uses_reference: bool = True
    """Whether reference images take part."""

    uses_logits: bool = False
    """Whether the feature network has to return logits."""

    def check(self, example: Batch, num_reference: int) -> None:  # noqa: B027 (most scores need nothing)
        """Raise or warn of what can be known before the first image is generated.

        Args:
            example: What the feature network returns, and how many images will be generated.
            num_reference: How many reference images there are.

        Raises:
            ValueError: The score cannot be computed so.
        """

    @abstractmethod
    def compute(self, generated: Sums, reference: Sums, network: str) -> dict[str, float]:
        """Return the values by name.

        Args:
            generated: The statistics of the generated images.
            reference: The statistics of the reference images; empty if they take no part.
            network: The feature network's name, for the names of the values.
        """
