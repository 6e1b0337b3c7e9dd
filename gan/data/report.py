"""Messages about the data at the start of a run."""

import statistics
import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gan.data.files import count_by_suffix
from gan.data.sources import FileSource
from gan.data.words import some
from gan.images import height_and_width

_TRIED = 5  # images that are decoded to learn how long one takes; the first also loads the decoder
_SLOW_START = 10.0  # seconds
_SLOW_IMAGE = 0.02


def found(name: str, classes: Sequence[str], labels: Tensor, passed_over: Mapping[str, int]) -> str:
    """Return a line on the training images: how many, of which classes, and which files are none."""
    line = f"{name}: {len(labels):,} training images"
    if classes:
        counts = torch.bincount(labels, minlength=len(classes))
        least, most = int(counts.argmin()), int(counts.argmax())
        line += f" of {len(classes):,} classes ({some(classes)})"
        if counts[least] == counts[most]:
            line += f", {int(counts[most]):,} each"
        else:
            line += f", from {int(counts[least]):,} ({classes[least]}) to {int(counts[most]):,} ({classes[most]})"
    return f"{line}; passed over: {count_by_suffix(passed_over)}" if passed_over else line


def slow_start(source: FileSource, streamed: bool) -> str | None:
    """Return a line on how long decoding takes and what makes it faster, if it is slow.

    Args:
        source: The images, of which a few are decoded.
        streamed: Whether they are decoded each time that they are seen; else once, at the start.
    """
    tried = range(0, len(source), max(1, len(source) // _TRIED))[:_TRIED]
    times = []
    for index in tried:
        started = time.perf_counter()
        try:
            source[index]
        except ValueError:
            return None  # to be reported where it matters
        times.append(time.perf_counter() - started)
    seconds = statistics.median(times)
    total = seconds * len(source)
    if not (seconds > _SLOW_IMAGE if streamed else total > _SLOW_START):
        return None
    height, width = height_and_width(source.frame.size)
    size = f"{height}" if height == width else f"{height} {width}"
    when = "each time that it is seen" if streamed else f"at every start, all {len(source):,} about {total:.0f} s"
    return (
        f"decoding takes {seconds:.2f} s an image, {when}: "
        f"gan data convert {source.files.root} small.zip --size {size} does it once"
    )
