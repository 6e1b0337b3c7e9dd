"""The tiles of each kernel: what one program computes, with how many warps and stages of its pipeline."""

from typing import NamedTuple


class Tile(NamedTuple):
    """A program's share.

    Attributes:
        block: sizes, in the order of the kernel's parameters.
        warps: of 32 threads each.
        stages: iterations of the inner loop in flight.
    """

    block: tuple[int, ...]
    warps: int
    stages: int = 1


# By kernel: the best over the layers of SNGAN's CNN, measured on an H100.
TILES = {
    "both": Tile((64, 64, 32), 4, 3),  # columns, rows, inner
    "both_adjoint": Tile((64, 64, 32), 4, 3),  # columns, rows, inner
    "first": Tile((64, 64, 32), 4, 3),  # columns, rows, inner
    "first_adjoint": Tile((64, 64, 32), 4, 3),  # columns, rows, inner
    "second": Tile((64, 64, 32), 4, 3),  # columns, rows, inner
    "second_adjoint": Tile((64, 64, 32), 4, 3),  # columns, rows, inner
    "products": Tile((64, 64, 32), 4, 3),  # rows, columns, inner
    "spectrum": Tile((32, 64), 4),  # points, input channels
    "kernels_to_points": Tile((64, 64), 4),  # rows, pairs of channels
    "points_to_kernels": Tile((64, 64), 4, 3),  # rows, pairs of channels
}
