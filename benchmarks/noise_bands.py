"""Which frequencies disturb a classifier: its accuracy with noise of one band at a time.

    python -m benchmarks.noise_bands runs/robustness_cifar10_small/conv-seed0/version_0 --root data

Normal noise is cut to a ring of spatial frequencies and scaled, so that its root mean square is the same in every
band. The noise of an image depends on its number alone, and is the same for every run. One line of JSON a run:
accuracies in percent.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.records import Row, markdown, spread
from gan.data import CIFAR10
from gan.randomness import Stream, rng
from gan.runs.checkpoints import find_checkpoint, read_checkpoint
from robustness.building import FACTS, network_of
from robustness.corruptions.base import Pixels
from robustness.measurement import SEED, Change, Images, Meter, unchanging
from robustness.trials import as_they_are

EDGES = 0, 1 / 8, 1 / 4, 3 / 8, 1  # cycles a pixel; 0.71 is the highest there is
BANDS = {"below 1/8": EDGES[0:2], "1/8 to 1/4": EDGES[1:3], "1/4 to 3/8": EDGES[2:4], "above 3/8": EDGES[3:5]}
STRENGTH = 0.06  # root mean square, of pixels in [0, 1]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the accuracies of the runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs on CIFAR-10")
    parser.add_argument("--root", default="data", help="folder or archive of CIFAR-10")
    parser.add_argument("--images", type=int, default=2000, help="number of test images")
    options = parser.parse_args(arguments)
    images = Images.choose(CIFAR10(root=options.root).loaded("test"), options.images)
    for run in options.runs:
        print(json.dumps({"run": run.parent.name, **accuracies(run, images)}), flush=True)


def accuracies(run: Path, images: Images) -> dict[str, float]:
    """Return the accuracy of a run's last network on the images as they are, and with noise of each band."""
    network = network_of(read_checkpoint(find_checkpoint(run), FACTS)).to(memory_format=torch.channels_last)
    meter = Meter(lambda x: network(x * 2 - 1), lambda x: x.float() / 255, torch.device("cpu"), batch_size=250)
    with unchanging(network, "cpu"), torch.no_grad():
        found = {"clean": meter.accuracy(images, as_they_are)}
        for name, band in BANDS.items():
            found[name] = meter.accuracy(images, _with_noise(band))
    return found


def noise_of_band(white: Pixels, band: tuple[float, float]) -> Pixels:
    """Return noise (channels, height, width) of the spatial frequencies of a band, its root mean square 1.

    Args:
        white: Noise of all frequencies.
        band: Frequencies in cycles a pixel: at least the first and below the second.
    """
    vertical, horizontal = (np.fft.fftfreq(size) for size in white.shape[-2:])
    frequency = np.hypot(vertical[:, None], horizontal)
    kept = np.fft.ifft2(np.fft.fft2(white) * ((band[0] <= frequency) & (frequency < band[1]))).real
    return kept / np.sqrt(np.square(kept).mean())


def table(lines: Sequence[dict[str, float | str]], methods: Sequence[str]) -> str:
    """Return the means over seeds as Markdown, from lines that `main` printed."""
    columns = ["clean", *BANDS]
    rows: list[Row] = []
    for method in methods:
        of = [line for line in lines if str(line["run"]).rpartition("-seed")[0] == method]
        rows.append([method, *(spread([float(line[column]) for line in of], 1) for column in columns)])
    return markdown(["", *columns], rows)


def _with_noise(band: tuple[float, float]) -> Change:
    def change(meter: Meter, images: Tensor, labels: Tensor, numbers: list[int]) -> Tensor:
        shape = images.shape[1:]
        white = (rng(SEED, Stream.CORRUPTION, number).standard_normal(shape) for number in numbers)
        noise = torch.from_numpy(np.stack([noise_of_band(each, band) for each in white])).float()
        return (meter.pixels(images) + STRENGTH * noise).clamp(0, 1)

    return change


if __name__ == "__main__":
    main()
