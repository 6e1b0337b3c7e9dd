"""Scores of any two sets of images in one call."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from gan.checks import check_at_least
from gan.data.sources import Source
from gan.images import ImageSize
from gan.metrics.evaluator import Evaluator, ReportProgress
from gan.metrics.frechet import Frechet
from gan.metrics.image_set import Images, image_set, open_images, size_of
from gan.metrics.protocol import Protocol
from gan.metrics.score import Score
from gan.metrics.statistics import States


@dataclass(frozen=True)
class Result:
    """Values of scores by name, and how they were computed."""

    values: dict[str, float]
    protocol: Protocol


def evaluate(
    images: Images,
    reference: Images | None,
    features: nn.Module,
    scores: Sequence[Score] = (Frechet(),),
    *,
    size: ImageSize | None = None,
    channels: int | None = None,
    batch_size: int = 64,
    device: torch.device | str | None = None,
    report_progress: ReportProgress | None = None,
) -> Result:
    """Score a set of images against reference images.

    A set is a folder or zip, all of whose image files are taken; a tensor of uint8 images (N, 1 or 3, H, W); or a
    `gan.data.sources.Source`, for example a split of a data set. Statistics of a reference folder or zip are cached.
    Under several processes (an initialized `torch.distributed`), each goes through its share; all have to call this.

    Args:
        images: The images to score.
        reference: The images to compare with; None if no score needs them.
        features: The feature network, see `gan.metrics.features`.
        scores: The scores.
        size: Height and width that images are made to fit (a number if they are equal): the middle of the same shape is
            cropped, then resized. None: all images must have the same size.
        channels: 1 (gray) or 3 (RGB) that images are converted to. None: a tensor keeps its own, files become RGB.
        batch_size: Images at a time, in every process.
        device: Where to compute; None: on a CUDA GPU if there is one, else on the CPU.
        report_progress: Called after each batch, with the number of images done and the number in all.

    Raises:
        OSError: A folder or zip, or the network's weights, are missing.
        ValueError: The images cannot be read, differ in size, or are too few for a score.
    """
    check_at_least(1, batch_size=batch_size)
    if not scores:
        raise ValueError("scores must hold at least one score, got none")
    scored = _open("images", images, size, channels)
    real = None if reference is None else _open("reference", reference, size, channels)
    shape = size_of(scored)
    if real is not None and size_of(real) != shape:
        raise ValueError(
            f"images are {_text(shape)}, those of the reference {_text(size_of(real))} (width x height x channels): "
            "choose a size and channels that both are made to fit"
        )
    evaluator = Evaluator(features, scores)
    evaluator.to(torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")))
    evaluator.prepare(*shape)
    evaluator.check(len(scored), 0 if real is None else len(real))
    compared = {} if real is None else _reference_states(evaluator, reference, real, batch_size, report_progress)
    values = evaluator.evaluate(image_set(scored, batch_size), compared, report_progress)
    protocol = evaluator.protocol(
        reference="none" if real is None else f"{_name(reference)} {_text(shape)}",
        reference_images=0 if real is None else len(real),
        reference_content="none" if real is None else real.content_hash,
        samples=len(scored),
        source=_name(images) + (", made to fit" if size else ""),
    )
    return Result(values, protocol)


def _reference_states(
    evaluator: Evaluator, reference: object, source: Source, batch_size: int, report_progress: ReportProgress | None
) -> States:
    images = image_set(source, batch_size)
    if isinstance(reference, str | Path):
        return evaluator.reference(images, source.content_hash, report_progress)
    statistics = {score.statistics for score in evaluator.scores if score.uses_reference}
    return evaluator.accumulate(images, statistics, report_progress) if statistics else {}


def _open(argument: str, images: Images, size: ImageSize | None, channels: int | None) -> Source:
    try:
        return open_images(images, size, channels)
    except (OSError, ValueError) as error:
        raise type(error)(f"{argument}: {error}") from None


def _name(images: object) -> str:
    if isinstance(images, Tensor):
        return "a tensor"
    return str(images) if isinstance(images, str | Path) else type(images).__name__


def _text(shape: tuple[int, int, int]) -> str:
    channels, height, width = shape
    return f"{width}x{height}x{channels}"
