"""Scores of one set of images against another, from a single pass of the feature network over each."""

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from gan.distributed import all_reduce, any_process, is_first_of_node, process_group
from gan.metrics.features import Features, checked, name_of, precision_of, resize_of, weights_hash_of
from gan.metrics.image_set import ImageSet
from gan.metrics.inception import InceptionV3
from gan.metrics.reference import cache_file, load, save
from gan.metrics.score import PAPER, Score
from gan.metrics.statistics import Batch, Collected, Statistics

Progress = Callable[[int, int], None]  # images done, images in all


class Evaluator:
    """A feature network and the scores that are computed of its features.

    Args:
        network: The feature network.
        scores: The scores.
    """

    def __init__(self, network: nn.Module, scores: list[Score]) -> None:
        self.network = network.eval().requires_grad_(False)
        self.scores = scores
        self.device = torch.device("cpu")
        self.outputs: Features
        self.weights_hash: str
        self._behaviour: str

    @property
    def name(self) -> str:
        """The feature network's name, which stands in the names of the values.

        The name that makes a distance an FID is `InceptionV3`'s alone, whatever other networks call themselves.
        """
        name = name_of(self.network)
        return f"{name}_custom" if name == PAPER and not isinstance(self.network, InceptionV3) else name

    def prepare(self, image: Tensor) -> None:
        """Get to know the network by what it makes of a uint8 image (1, C, H, W), before anything else is asked for.

        Reads the network's weights, where they are read late. What it makes of the image tells it from another network
        of the same name and weights, as one whose code has been edited: let the image be the same always.

        Raises:
            FileNotFoundError: The network's weights are not there.
            ValueError: The network does not return what it should.
        """
        self.outputs = self.extract(image)
        self._behaviour = _summary(self.outputs)
        self.weights_hash = weights_hash_of(self.network)

    def check(self, num_samples: int, num_reference: int) -> None:
        """Raise or warn of what would be wrong with the scores of so many images.

        Raises:
            ValueError: A score cannot be computed so.
        """
        for score in self.scores:
            if score.uses_logits and self.outputs[1] is None:
                raise ValueError(f"{type(score).__name__} needs logits, but the feature network {self.name} has none")
            score.check(self._example(num_samples), num_reference)

    def to(self, device: torch.device) -> None:
        """Compute on a device from now on."""
        self.network.to(device)
        self.device = device

    @torch.no_grad()
    def extract(self, images: Tensor) -> Features:
        """Return features and logits of uint8 images (N, C, H, W), where they can be summed up in float64."""
        features, logits = checked(self.network(images.to(self.device)))
        device = self._sums_device
        return features.to(device), None if logits is None else logits.to(device)

    def collect(self, images: ImageSet, kinds: Iterable[Statistics], progress: Progress) -> Collected:
        """Return the statistics of a whole set, in every process, each going through its share of the images.

        Args:
            images: The set.
            kinds: The kinds of statistics.
            progress: Called after each block, with what all processes have done when they have gone through as many. As
                long as images are left, all of them call it equally often, unless the set was joined of several.

        Raises:
            FloatingPointError: In every process, if what the statistics took of features or logits is not finite.
        """
        collected = {kind: kind.zeros(self._example(images.total)) for kind in sorted(set(kinds), key=repr)}
        done = 0
        for start, block in images.blocks():
            batch = Batch(*self.extract(block), start, images.total)
            for kind, sums in collected.items():
                kind.add(sums, batch)
            done += images.batch_size * process_group()[1]
            progress(min(done, images.total), images.total)
        for sums in collected.values():
            all_reduce(*sums.values())
            if not all(bool(tensor.isfinite().all()) for tensor in sums.values()):
                raise FloatingPointError(f"the feature network {self.name} returned numbers that are not finite")
        return collected

    def reference(self, images: ImageSet, images_hash: str, progress: Progress) -> Collected:
        """Return the statistics of the reference images: from the cache, else computed and cached.

        Args:
            images: The images, not looked at if all statistics are in the cache.
            images_hash: Identifies them.
            progress: Called after each block.
        """
        files = self.reference_files(images_hash)
        loaded = {kind: load(file, self._sums_device) for kind, file in files.items()}
        found = {kind: sums for kind, sums in loaded.items() if sums is not None}
        if not any_process(len(found) < len(files), self.device):
            return found
        computed = self.collect(images, files, progress)
        if is_first_of_node():
            for kind, file in files.items():
                save(file, computed[kind])
        return computed

    def reference_files(self, images_hash: str) -> dict[Statistics, Path]:
        """Return where the statistics that the scores need of reference images are kept."""
        kinds = {score.statistics for score in self.scores if score.uses_reference}
        network = type(self.network).__module__, type(self.network).__qualname__, self.name, self.weights_hash
        how = resize_of(self.network), precision_of(self.network), self._behaviour, self.device.type
        return {kind: cache_file(*network, *how, images_hash, kind) for kind in kinds}

    def evaluate(self, images: ImageSet, reference: Collected, progress: Progress) -> dict[str, float]:
        """Return the values of all scores of a set of images, by name; every process has to call it."""
        generated = self.collect(images, (score.statistics for score in self.scores), progress)
        values: dict[str, float] = {}
        for score in self.scores:
            sums = reference[score.statistics] if score.uses_reference else {}
            values |= score.compute(generated[score.statistics], sums, self.name)
        return values

    @property
    def _sums_device(self) -> torch.device:
        """Where float64 exists: not on Apple's GPUs."""
        return torch.device("cpu") if self.device.type == "mps" else self.device

    def _example(self, total: int) -> Batch:
        features, logits = self.outputs
        device = self._sums_device
        return Batch(features.to(device), None if logits is None else logits.to(device), 0, total)


def _summary(outputs: Features) -> str:
    """Return sizes and means relative to them, in so few digits that another machine's rounding hardly changes one."""
    tensors = [tensor for tensor in outputs if tensor is not None]
    sizes = [float(tensor.square().mean().sqrt()) for tensor in tensors]
    means = [float(tensor.mean()) for tensor in tensors]  # nothing but rounding after a layer norm, say
    return " ".join(f"{size:.3g} {round(mean / (size or 1), 2) + 0.0}" for size, mean in zip(sizes, means, strict=True))
