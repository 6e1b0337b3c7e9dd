"""The cost of each form on a device. `choice` takes the cheapest.

The CPU's costs are measured. Other devices have not been measured: they take the form that launches and moves least.
"""

from collections.abc import Callable
from typing import NamedTuple

FFT = 1000  # an FFT and its inverse, per number, in operations of a large matrix product; so are the next three
CONVOLUTION = 0.4  # an operation of a convolution
REORDER = 150  # to reorder a number of the image for the separable form
MATRIX = 85  # to make an entry of the separable form's matrices
NARROWEST = 16  # columns that a matrix product pays for at least

LAUNCH = 2**20  # numbers that a GPU moves in the time of a launch: 4 MB at 1 TB/s in 4 us. An estimate.


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
    )


def by_traffic(sizes: Sizes) -> Costs:
    """Return the numbers that a forward pass reads and writes, and its launches as numbers. Counted, not measured.

    The plain form launches a convolution, two FFTs of two kernels each, a product, a conversion and a crop.
    """
    b, i, o, _, grid, image, crop = sizes
    separated = 3 * b * grid**0.5 * (image * i + crop * o)  # transforms of one axis, in both other forms
    return Costs(
        plain=8 * LAUNCH + b * grid * (i + 7 * o),
        channel_products=12 * LAUNCH + separated + 3 * b * grid * (i + o) + 6 * grid * i * o,
        separable=24 * LAUNCH + separated + b * grid * (12 * i + 2 * o) + 27 * grid * i * o,
    )


BY_DEVICE: dict[str, Callable[[Sizes], Costs]] = {"cpu": by_operations, "cuda": by_traffic}


def costs(device_type: str, sizes: Sizes) -> Costs:
    """Return the cost of each form on a device; one without an entry counts as a GPU."""
    return BY_DEVICE.get(device_type, by_traffic)(sizes)
