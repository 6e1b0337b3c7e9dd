"""The grid of a convolution's full output, on which a zero-padded convolution is circular."""

from collections.abc import Sequence
from typing import NamedTuple

from convnorm.layers import Convolution, check_padding, reaches, zero_padding


class Grid(NamedTuple):
    """The grid of a layer's full output, and the layer's own output on it; one entry per spatial axis.

    Attributes:
        size: N, large enough that no product of a pixel and a kernel tap wraps around.
        padding: zeros around the image in the full convolution; `output_padding` of a full transposed convolution.
        crop: positions that the layer's padding and stride select.
    """

    size: tuple[int, ...]
    padding: tuple[int, ...]
    crop: tuple[range, ...]


def full_grid(layer: Convolution, image_size: Sequence[int], output_size: Sequence[int] | None = None) -> Grid:
    """Return the grid of a layer for images of size H, after any padding that is not zeros (`layers.pad_image`).

    Args:
        layer: a convolution, plain or transposed.
        image_size: H.
        output_size: H' of a transposed convolution, instead of that by the layer's `output_padding`.

    Raises:
        TypeError: if `output_size` is given for a convolution that is not transposed.
        ValueError: if the output would be empty, `output_size` is out of range, or torch refuses such a padding.
    """
    check_padding(layer)
    if layer.transposed:
        grid = _transposed_grid(layer, image_size, output_size)
    elif output_size is not None:
        raise TypeError(f"output_size is an argument of transposed convolutions only, got {layer}")
    else:
        zeros = zero_padding(layer)
        grid = Grid(*zip(*(_axis(layer, i, h, *zeros[i]) for i, h in enumerate(image_size)), strict=True))
    if not all(grid.crop) or not all(image_size):
        raise ValueError(f"image of size {tuple(image_size)} is too small for {layer}")
    return grid


def _axis(layer: Convolution, i: int, h: int, before: int, after: int) -> tuple[int, int, range]:
    stride, reach = layer.stride[i], reaches(layer)[i]
    padding = max(reach, before)  # `reach` zeros give the full output; a layer may pad with more
    start, count = padding - before, (h + before + after - reach - 1) // stride + 1
    return h + 2 * padding - reach, padding, range(start, start + count * stride, stride)


def _transposed_grid(layer: Convolution, image_size: Sequence[int], output_size: Sequence[int] | None) -> Grid:
    start = [before for before, _ in zero_padding(layer)]
    full = [(h - 1) * s + reach + 1 for h, s, reach in zip(image_size, layer.stride, reaches(layer), strict=True)]
    least = [n - 2 * p for n, p in zip(full, start, strict=True)]
    if output_size is None:
        output_size = [n + extra for n, extra in zip(least, layer.output_padding, strict=True)]
    else:
        _check_output_size(output_size, least, [n + s - 1 for n, s in zip(least, layer.stride, strict=True)])
    crop = tuple(range(first, first + n) for first, n in zip(start, output_size, strict=True))
    # The output may reach beyond the full one.
    beyond = tuple(max(axis.stop - n, 0) for axis, n in zip(crop, full, strict=True))
    return Grid(tuple(n + extra for n, extra in zip(full, beyond, strict=True)), beyond, crop)


def _check_output_size(output_size: Sequence[int], least: Sequence[int], most: Sequence[int]) -> None:
    within = len(output_size) == len(least)
    if not within or any(not low <= n <= high for low, n, high in zip(least, output_size, most, strict=True)):
        raise ValueError(f"output_size must be from {tuple(least)} to {tuple(most)}, got {tuple(output_size)}")
