"""The tiles of each kernel: what one program computes, with how many warps and stages of its pipeline."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
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


# By kernel: the largest size and the tile up to it. Measured on an H100.
TILES: dict[str, list[tuple[float, Tile]]] = {
    "both": [(math.inf, Tile((64, 64, 32), 4, 3))],  # columns, rows, inner
    "both_adjoint": [(math.inf, Tile((64, 64, 32), 4, 3))],  # columns, rows, inner
    "first": [(math.inf, Tile((64, 64, 32), 4, 3))],  # columns, rows, inner
    "first_adjoint": [(math.inf, Tile((64, 64, 32), 4, 3))],  # columns, rows, inner
    "second": [(math.inf, Tile((64, 64, 32), 4, 3))],  # columns, rows, inner
    "second_adjoint": [(math.inf, Tile((64, 64, 32), 4, 3))],  # columns, rows, inner
    "products": [(math.inf, Tile((64, 64, 32), 4, 3))],  # rows, columns, inner
    "spectrum": [(math.inf, Tile((32, 64), 4))],  # points, input channels
    "kernels_to_points": [(math.inf, Tile((64, 64), 4))],  # rows, pairs of channels
    "points_to_kernels": [(math.inf, Tile((64, 64), 4, 3))],  # rows, pairs of channels
}
_instead: dict[str, Tile] = {}


def tile(kernel: str, size: int) -> Tile:
    """Return the tile of a kernel for a size."""
    return _instead.get(kernel) or next(tile for most, tile in TILES[kernel] if size <= most)


@contextmanager
def tiles(**instead: Tile) -> Iterator[None]:
    """Use other tiles, by kernel, to measure them."""
    before = _instead.copy()
    _instead.update(instead)
    try:
        yield
    finally:
        _instead.clear()
        _instead.update(before)
