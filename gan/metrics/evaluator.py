"""Scores of a set of images against reference images, from one pass of the feature network over each."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from gan.distributed import all_reduce, any_process, is_first_of_node, process_group
from gan.metrics.exactness import exact_inference
from gan.metrics.features import Features, checked, name_of, precision_of, resize_of, weights_hash_of
from gan.metrics.image_set import ImageSet
from gan.metrics.inception import InceptionV3
from gan.metrics.protocol import Protocol, package_versions
from gan.metrics.reference import cache_file, load, save
from gan.metrics.score import PAPER, Score
from gan.metrics.statistics import FeatureBatch, States, Statistics

ReportProgress = Callable[[int, int], None]  # images done, images in all


class StoppedError(Exception):
    """An evaluation was asked to stop, and has no result."""


class Evaluator:
    """Computes scores from the features of images.

    `prepare` has to be called first, then `check`. Under several processes each goes through its share of the images,
    and all have to call the methods that compute statistics. Computation is in IEEE float32 and deterministic, and
    settings of torch that would change it are put back afterwards.

    Args:
        network: The feature network, see `gan.metrics.features`.
        scores: The scores.
    """

    def __init__(self, network: nn.Module, scores: Sequence[Score]) -> None:
        self.network = network.eval().requires_grad_(False)
        self.scores = list(scores)
        self.device = torch.device("cpu")
        self._example_features: Features
        self._weights_hash: str
        self._behavior: str

    @property
    def name(self) -> str:
        """The feature network's name, part of the names of the values.

        Only `InceptionV3` may have the name that makes a distance an FID.
        """
        name = name_of(self.network)
        return f"{name}_custom" if name == PAPER and not isinstance(self.network, InceptionV3) else name

    def prepare(self, channels: int, height: int, width: int) -> None:
        """Run the network on a test image of the size of those to come.

        Networks that load their weights late load them here. The output for the test image is part of the key of cached
        statistics: it changes when the network's code does.

        Raises:
            FileNotFoundError: The network's weights are missing.
            ValueError: The network takes no uint8 images, or does not return features and logits.
        """
        pixels = torch.arange(channels * height * width).remainder(251).to(torch.uint8)
        try:
            self._example_features = self.extract(pixels.view(1, channels, height, width))
        except RuntimeError as error:
            if not re.search("unsigned char|Byte|uint8", str(error)):
                raise
            raise ValueError(
                f"the feature network {self.name} must take uint8 images (N, C, H, W) in [0, 255] "
                f"and scale them itself; it raised: {error}"
            ) from error
        self._behavior = _summary(self._example_features)
        self._weights_hash = weights_hash_of(self.network)

    def check(self, num_images: int, num_reference: int) -> None:
        """Raise or warn if scores of so many images cannot be computed, or mean little.

        Raises:
            ValueError: A score cannot be computed.
        """
        for score in self.scores:
            if score.uses_logits and self._example_features[1] is None:
                raise ValueError(f"{type(score).__name__} needs logits, but the feature network {self.name} has none")
            if score.uses_reference and num_reference == 0:
                raise ValueError(f"{type(score).__name__} needs reference images to compare with, got none")
            score.check(self._example(num_images), num_reference)

    def to(self, device: torch.device) -> None:
        """Compute on a device from now on."""
        self.network.to(device)
        self.device = device

    def extract(self, images: Tensor) -> Features:
        """Return features and logits of uint8 images (N, C, H, W), on a device that has float64."""
        with exact_inference(self.device.type):
            features, logits = checked(self.network(images.to(self.device)))
        device = self._state_device
        return features.to(device), None if logits is None else logits.to(device)

    def accumulate(
        self,
        images: ImageSet,
        statistics: Iterable[Statistics],
        report_progress: ReportProgress | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> States:
        """Return statistics of a whole set of images, the same in every process.

        Args:
            images: The set.
            statistics: Which ones.
            report_progress: Called after each batch, with the number of images that all processes have done by then.
            should_stop: Called between batches. The evaluation stops in all processes if it returns True in one.

        Raises:
            FloatingPointError: In every process, if features or logits that the statistics use are not finite.
            StoppedError: In every process, if one should stop.
        """
        states = {each: each.zeros(self._example(images.num_images)) for each in sorted(set(statistics), key=repr)}
        done = 0
        with exact_inference(self.device.type):  # also while images are generated
            for start, batch in images.batches():
                features = FeatureBatch(*self.extract(batch), start, images.num_images)
                for each, state in states.items():
                    each.add(state, features)
                done = min(done + images.batch_size * process_group()[1], images.num_images)
                if report_progress is not None:
                    report_progress(done, images.num_images)
                if should_stop is not None and done < images.num_images and any_process(should_stop(), self.device):
                    raise StoppedError
        for state in states.values():
            all_reduce(*state.values())
            if not all(bool(tensor.isfinite().all()) for tensor in state.values()):
                raise FloatingPointError(f"the feature network {self.name} returned numbers that are not finite")
        return states

    def reference(
        self,
        images: ImageSet,
        images_hash: str,
        report_progress: ReportProgress | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> States:
        """Load the statistics of reference images from the cache; if they are missing, compute and cache them.

        Args:
            images: The images. They are only read if statistics are missing.
            images_hash: Identifies the images.
            report_progress: See `accumulate`.
            should_stop: See `accumulate`.
        """
        files = self.reference_files(images_hash)
        loaded = {each: load(file, self._state_device) for each, file in files.items()}
        states = {each: state for each, state in loaded.items() if state is not None}
        new = set()
        if any_process(len(states) < len(files), self.device):
            states = self.accumulate(images, files, report_progress, should_stop)
            new = set(files)
        new |= self._derive(states)
        if is_first_of_node():
            for each in new:
                save(files[each], states[each])
        return states

    def _derive(self, reference: States) -> set[Statistics]:
        """Add what scores derive from the reference alone, if it is missing; return the statistics it is added to."""
        changed = set()
        with exact_inference(self.device.type):
            for score in self.scores:
                for name, derive in score.derived.items() if score.uses_reference else ():
                    if any_process(name not in reference[score.statistics], self.device):
                        reference[score.statistics][name] = derive(reference[score.statistics])
                        changed.add(score.statistics)
        return changed

    def reference_files(self, images_hash: str) -> dict[Statistics, Path]:
        """Return the cache files of the reference statistics that the scores need."""
        statistics = {score.statistics for score in self.scores if score.uses_reference}
        network = type(self.network).__module__, type(self.network).__qualname__, self.name, self._weights_hash
        how = resize_of(self.network), precision_of(self.network), self._behavior, self.device.type
        return {each: cache_file(*network, *how, images_hash, each) for each in statistics}

    def evaluate(
        self,
        images: ImageSet,
        reference: States,
        report_progress: ReportProgress | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> dict[str, float]:
        """Return the values of all scores of a set of images, by name.

        Args:
            images: The set.
            reference: Statistics of the reference images.
            report_progress: See `accumulate`.
            should_stop: See `accumulate`.
        """
        states = self.accumulate(images, (score.statistics for score in self.scores), report_progress, should_stop)
        values: dict[str, float] = {}
        with exact_inference(self.device.type):
            for score in self.scores:
                state = reference[score.statistics] if score.uses_reference else {}
                values |= score.compute(states[score.statistics], state, self.name)
        return values

    def protocol(
        self,
        *,
        reference: str,
        reference_images: int,
        reference_content: str,
        samples: int,
        source: str,
        seed: int | None = None,
        normalization: str = "unknown",
        generator_precision: str | None = None,
    ) -> Protocol:
        """Return the protocol of values of this evaluator; see `Protocol` for the arguments."""
        generator = "" if generator_precision is None else f"generator {generator_precision}, "
        cuda = self.device.type == "cuda"
        return Protocol(
            scores=", ".join(map(str, self.scores)),
            features=self.name,
            features_weights=self._weights_hash,
            resize=resize_of(self.network),
            reference=reference,
            reference_images=reference_images,
            reference_content=reference_content[:16],
            samples=samples,
            source=source,
            seed=seed,
            normalization=normalization,
            precision=f"{generator}features {precision_of(self.network)}",
            device=torch.cuda.get_device_name(self.device) if cuda else self.device.type,
            versions=package_versions(),
        )

    @property
    def _state_device(self) -> torch.device:
        """Where float64 exists: not on Apple's GPUs."""
        return torch.device("cpu") if self.device.type == "mps" else self.device

    def _example(self, total: int) -> FeatureBatch:
        features, logits = self._example_features
        device = self._state_device
        return FeatureBatch(features.to(device), None if logits is None else logits.to(device), 0, total)


def _summary(outputs: Features) -> str:
    """Return root mean squares and relative means in so few digits that rounding hardly changes one."""
    tensors = [tensor for tensor in outputs if tensor is not None]
    sizes = [float(tensor.square().mean().sqrt()) for tensor in tensors]
    means = [float(tensor.mean()) for tensor in tensors]  # nothing but rounding after a layer norm, say
    return " ".join(f"{size:.3g} {round(mean / (size or 1), 2) + 0.0}" for size, mean in zip(sizes, means, strict=True))
