"""Scores of one set of images against another, from a single pass of the feature network over each."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from gan.metrics import reference
from gan.metrics.collect import Collected, any_process, collect, my_blocks, split_blocks
from gan.metrics.features import Features, name_of, weights_hash
from gan.metrics.score import Score
from gan.metrics.statistics import Batch, Statistics

Progress = Callable[[int, int], None]  # images done, images in all


class Evaluator:
    """A feature network and the scores that are computed from its features.

    Args:
        network: The feature network.
        scores: The scores.
        batch_size: Images at a time, in every process.
    """

    def __init__(self, network: nn.Module, scores: list[Score], batch_size: int) -> None:
        self.network = network.eval().requires_grad_(False)
        self.scores = scores
        self.batch_size = batch_size
        self.name = name_of(network)
        self._weights_hash = ""

    @property
    def weights_hash(self) -> str:
        """Identifies the feature network's weights; known once it has seen an image."""
        if not self._weights_hash:
            self._weights_hash = weights_hash(self.network)
        return self._weights_hash

    def check(self, image: Tensor, num_samples: int, num_reference: int) -> None:
        """Find out with one image (1, C, H, W) what would fail, or be worth a warning, in an evaluation.

        Raises:
            FileNotFoundError: The network's weights are not there.
            ValueError: The network does not return what it should, or a score cannot be computed from it.
        """
        example = self._example(image, num_samples)
        self.name = name_of(self.network)
        for score in self.scores:
            score.check(example, num_reference)

    def generated(self, sample: Callable[[int, int], Tensor], total: int, progress: Progress) -> Collected:
        """Return the statistics of `total` images, of which `sample(n, start)` makes n from number `start` on."""
        blocks = ((start, sample(length, start)) for start, length in my_blocks(total, self.batch_size))
        return self._collect({score.statistics for score in self.scores}, blocks, sample(1, 0), total, progress)

    def reference(
        self,
        images: Callable[[], Iterator[Tensor]],
        total: int,
        content_hash: str,
        device: torch.device,
        progress: Progress,
    ) -> Collected:
        """Return the statistics of the reference images: from the cache, else computed and cached.

        Args:
            images: Starts an iteration over all of them, in batches of any size.
            total: Their number.
            content_hash: Identifies them.
            device: Where to compute.
            progress: Called after each batch, not at all if all statistics are in the cache.
        """
        image = next(images())[:1].to(device)
        example = self._example(image, total)
        key = (self.name, self.weights_hash, content_hash)
        files = {s.statistics: reference.cache_file(*key, s.statistics) for s in self.scores if s.uses_reference}
        cached = {statistics: reference.load(file, statistics.zeros(example)) for statistics, file in files.items()}
        complete = {statistics: sums for statistics, sums in cached.items() if sums is not None}
        if not any_process(len(complete) < len(files), device):
            return complete
        blocks = split_blocks(images(), total, self.batch_size)
        computed = self._collect(set(files), blocks, image, total, progress)
        for statistics, file in files.items():
            reference.save(file, computed[statistics])
        return computed

    def compute(self, generated: Collected, reference: Collected) -> dict[str, float]:
        """Return the values of all scores by name."""
        values: dict[str, float] = {}
        for score in self.scores:
            sums = reference[score.statistics] if score.uses_reference else {}
            values |= score.compute(generated[score.statistics], sums, self.name)
        return values

    def _collect(
        self,
        statistics: set[Statistics],
        blocks: Iterable[tuple[int, Tensor]],
        image: Tensor,
        total: int,
        progress: Progress,
    ) -> Collected:
        return collect(
            self.network, statistics, self._example(image, total), blocks, lambda done: progress(done, total)
        )

    def _example(self, image: Tensor, total: int) -> Batch:
        with torch.no_grad():
            features, logits = checked(self.network(image))
        return Batch(features, logits, 0, total)


def checked(returned: object) -> Features:
    """Return what a feature network returned, if it is what it should be.

    Raises:
        ValueError: It is not a pair of features (N, D) and logits (N, K) or None.
    """
    match returned:
        case (Tensor(ndim=2) as features, Tensor(ndim=2) | None as logits):
            return features, logits
    raise ValueError(
        f"the feature network must return (features (N, D), logits (N, K) or None), got {_description(returned)}"
    )


def _description(value: object) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(_description(part) for part in value)})"
    return f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
