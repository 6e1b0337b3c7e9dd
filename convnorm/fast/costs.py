"""The cost of each form on a device. `choice` takes the cheapest.

The CPU's costs and those of one GPU are measured. Other devices take the form that launches and moves least.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

FFT = 1000  # an FFT and its inverse, per number, in operations of a large matrix product; so are the next three
CONVOLUTION = 0.4  # an operation of a convolution
REORDER = 150  # to reorder a number of the image for the separable form
MATRIX = 85  # to make an entry of the separable form's matrices
NARROWEST = 16  # columns that a matrix product pays for at least

# Microseconds of a million numbers, and of a form's launches whatever the sizes; measured as `by_traffic` says. The
# plain form moves float32 and has the most operations.
PLAIN, PLAIN_LAUNCHES = 17.5, 40
MOVE, LAUNCH = 2.5, 18


class Sizes(NamedTuple):
    """The sizes of a layer and its images.

    Attributes:
        batch: B.
        inputs: I.
        outputs: O.
        taps: k*k.
        grid: N*N, the size of the full output.
        image: W, the image's width.
        crop: W', the output's width.
    """

    batch: int
    inputs: int
    outputs: int
    taps: int
    grid: int
    image: int
    crop: int


class Costs(NamedTuple):
    """The cost of each form of one layer, in any one unit."""

    plain: float
    channel_products: float
    separable: float
    triton: float


def by_operations(sizes: Sizes) -> Costs:
    """Return operations per number of the grid. Measured on AMD (Zen 3 and 4), forward and backward.

    Channel products and the separable form pay for the kernels' transforms, so they need a batch.
    """
    b, i, o, taps, _, image, crop = sizes
    wide = image * max(i, NARROWEST) + crop * max(o, NARROWEST)
    return Costs(
        plain=b * o * (2 * taps * i * CONVOLUTION + FFT),
        channel_products=b * 8 * wide + 3 * i * o * (b + 2 * taps),
        separable=b * (4 * (image * i + crop * o) + REORDER * i) + 8 * i * o * (b + MATRIX),
        triton=math.inf,
    )


def by_traffic(sizes: Sizes) -> Costs:
    """Return microseconds, by the numbers that a forward pass reads and writes, and by its launches.

    The constants fit seven layers, forward and backward, in bfloat16 with batch 128 as CUDA graphs on an H100.
    """
    b, i, o, _, grid, image, crop = sizes
    separated = 3 * b * grid**0.5 * (image * i + crop * o)  # transforms of one axis
    moved = Costs(
        plain=b * grid * (i + 7 * o),
        channel_products=separated + 3 * b * grid * (i + o) + 6 * grid * i * o,
        separable=separated + b * grid * (12 * i + 2 * o) + 27 * grid * i * o,
        triton=3 * b * grid * (i + o) + 2 * grid * i * o,
    )
    return Costs(
        plain=PLAIN_LAUNCHES + PLAIN * moved.plain / 1e6,
        channel_products=12 * LAUNCH + MOVE * moved.channel_products / 1e6,
        separable=24 * LAUNCH + MOVE * moved.separable / 1e6,
        triton=3 * LAUNCH + MOVE * moved.triton / 1e6,
    )


BY_DEVICE: dict[str, Callable[[Sizes], Costs]] = {"cpu": by_operations, "cuda": by_traffic}


def costs(device_type: str, sizes: Sizes) -> Costs:
    """Return the cost of each form on a device; one without an entry counts as a GPU."""
    return BY_DEVICE.get(device_type, by_traffic)(sizes)
