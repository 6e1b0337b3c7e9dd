"""Scores as metrics of torchmetrics."""

from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from gan.distributed import alone
from gan.metrics.evaluator import Evaluator
from gan.metrics.exactness import exact_inference
from gan.metrics.score import Score
from gan.metrics.statistics import FeatureBatch, State


class ScoreMetric(Metric):
    """A score as a `torchmetrics.Metric`: `update` with batches of images, then `compute`.

    Sums over features are kept if the score needs no more, as for `Frechet`. Else features and logits of all images
    are kept, and the processes' images come one process after the other: scores that shuffle or draw images, as
    `InceptionScore` and `KernelDistance`, then depend on their order.

    The feature network is no submodule, so that it enters no checkpoint. It follows the images to their device.

    Args:
        score: The score.
        features: The feature network, see `gan.metrics.features`.
        image_shape: Channels, height and width of the images, as needed to find out the number of features.
        **kwargs: Arguments of `torchmetrics.Metric`.

    Raises:
        FileNotFoundError: The network's weights are missing.
        ValueError: The score needs logits that the network does not have.
    """

    full_state_update = False

    def __init__(
        self, score: Score, features: nn.Module, image_shape: tuple[int, int, int] = (3, 299, 299), **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.score = score
        self._evaluator = (Evaluator(features, [score]),)  # in a tuple: no submodule
        self._evaluator[0].prepare(*image_shape)
        example = FeatureBatch(*self._evaluator[0].extract(torch.zeros(1, *image_shape, dtype=torch.uint8)), 0, 1)
        if score.uses_logits and example.logits is None:
            raise ValueError(f"{type(score).__name__} needs logits, but the feature network has none")
        self._sum_names = [] if score.statistics.uses_index else list(score.statistics.zeros(example))
        for side in self._sides:
            self._add_states(side, example)

    @property
    def evaluator(self) -> Evaluator:
        """The feature network and the score."""
        return self._evaluator[0]

    @property
    def _sides(self) -> tuple[str, ...]:
        return ("fake", "real") if self.score.uses_reference else ("fake",)

    def _add_states(self, side: str, example: FeatureBatch) -> None:
        self.add_state(f"{side}_images", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        if self.score.statistics.uses_index:
            for name in ("features", "logits") if self.score.uses_logits else ("features",):
                self.add_state(f"{side}_{name}", [], dist_reduce_fx="cat")
        else:
            for name, zeros in self.score.statistics.zeros(example).items():
                self.add_state(f"{side}_{name}", zeros, dist_reduce_fx="sum")

    def update(self, images: Tensor, real: bool = False) -> None:
        """Add a batch of images.

        Args:
            images: uint8 (N, C, H, W).
            real: Whether they are reference images. A score without a reference ignores those.
        """
        side = "real" if real else "fake"
        if side not in self._sides:
            return
        if self.evaluator.device != images.device:
            self.evaluator.to(images.device)
        features, logits = self.evaluator.extract(images)
        batch = FeatureBatch(features, logits, 0, len(images))
        setattr(self, f"{side}_images", getattr(self, f"{side}_images") + len(images))
        if not self.score.statistics.uses_index:
            self.score.statistics.add(self._sums(side), batch)
            return
        getattr(self, f"{side}_features").append(features)
        if self.score.uses_logits:
            getattr(self, f"{side}_logits").append(logits)

    def compute(self) -> dict[str, float]:
        """Return the values by name.

        Raises:
            ValueError: There are too few images.
        """
        counts = {side: int(getattr(self, f"{side}_images")) for side in self._sides}
        if counts["fake"] == 0:
            raise ValueError("ScoreMetric: update(images) has to be called before compute()")
        self.evaluator.check(counts["fake"], counts.get("real", 0))
        states = {side: self._state(side, counts[side]) for side in self._sides}
        with alone(), exact_inference(self.evaluator.device.type):  # what torchmetrics has gathered is all there is
            return self.score.compute(states["fake"], states.get("real", {}), self.evaluator.name)

    def _state(self, side: str, total: int) -> State:
        """Return the statistics of one side's images."""
        if not self.score.statistics.uses_index:
            return self._sums(side)
        logits = dim_zero_cat(getattr(self, f"{side}_logits")) if self.score.uses_logits else None
        batch = FeatureBatch(dim_zero_cat(getattr(self, f"{side}_features")), logits, 0, total)
        state = self.score.statistics.zeros(batch)
        self.score.statistics.add(state, batch)
        return state

    def _sums(self, side: str) -> State:
        return {name: getattr(self, f"{side}_{name}") for name in self._sum_names}
