"""Base class of scores: the statistics that a score needs, and its formula."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

from torch import Tensor

from gan.metrics.statistics import FeatureBatch, State, Statistics

PAPER = "inception"  # the network that FID, IS and KID are defined with


class Score(ABC):
    """A score of a set of images, computed from statistics of their features and of reference images' features.

    Its value depends on its attributes and on those of its statistics. `str` lists them for the protocol.
    """

    def __str__(self) -> str:
        settings = ", ".join(f"{name}={value}" for name, value in (vars(self) | vars(self.statistics)).items())
        return f"{type(self).__name__}({settings})" if settings else type(self).__name__

    @property
    @abstractmethod
    def statistics(self) -> Statistics:
        """The statistics that the score is computed from."""

    uses_reference: bool = True
    """Whether the score compares with reference images."""

    uses_logits: bool = False
    """Whether the feature network has to return logits."""

    def check(self, example: FeatureBatch, num_reference: int) -> None:  # noqa: B027 (most scores need nothing)
        """Raise or warn before the first image is generated, if the score cannot be computed or means little.

        Args:
            example: Output of the feature network for one image; `total` is the number of images to be scored.
            num_reference: Number of reference images.

        Raises:
            ValueError: The score cannot be computed.
        """

    @property
    def derived(self) -> Mapping[str, Callable[[State], Tensor]]:
        """What follows from the reference images' statistics alone, by its name in their state.

        The cache keeps it beside them, so that `compute` finds it there.
        """
        return {}

    @abstractmethod
    def compute(self, generated: State, reference: State, network: str) -> dict[str, float]:
        """Return the values by name.

        Args:
            generated: Statistics of the scored images.
            reference: Statistics of the reference images; empty if the score uses none.
            network: Name of the feature network, for the names of the values.
        """
