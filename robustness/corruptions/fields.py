"""Operations that several corruptions share: motion blur, zoom, moving pixels, and random fields."""

import math

import numpy as np
from numpy.typing import NDArray

from robustness.corruptions.base import Pixels


def sample(x: Pixels, rows: Pixels, columns: Pixels) -> Pixels:
    """Read images (N, C, H, W) between pixels, bilinearly, at rows and columns (N or 1, H', W'); the edge mirrors."""
    (top, down), (left, right) = _neighbours(rows, x.shape[2]), _neighbours(columns, x.shape[3])
    below, beside = rows - np.floor(rows), columns - np.floor(columns)
    upper = _pixels(x, top, left) * (1 - beside) + _pixels(x, top, right) * beside
    lower = _pixels(x, down, left) * (1 - beside) + _pixels(x, down, right) * beside
    return np.moveaxis(upper * (1 - below) + lower * below, 0, 1)


def zoom(x: Pixels, factor: float) -> Pixels:
    """Enlarge the middle of images by a factor of at least 1 and keep their size."""
    size = x.shape[2]
    crop = math.ceil(size / factor)
    enlarged = round(crop * factor)
    step = (crop - 1) / max(1, enlarged - 1)
    source = (size - crop) // 2 + (np.arange(size) + (enlarged - size) // 2) * step
    first = np.floor(source).astype(int)
    between, pixels = source - first, np.arange(size)
    line = np.zeros((size, size))  # maps a row of the image to a row of its middle
    line[pixels, first] = 1 - between
    line[pixels, np.minimum(first + 1, size - 1)] += between
    return line @ x @ line.T


def motion_blur(x: Pixels, radius: int, sigma: float, angles: NDArray[np.float64]) -> Pixels:
    """Smear images (N, C, H, W) along a line, as ImageMagick does: with one half of a Gaussian, from each pixel on.

    Args:
        x: The images.
        radius: The line is 2 * `radius` + 1 pixels long.
        sigma: Standard deviation of the Gaussian, in pixels.
        angles: Direction for each image, in degrees.
    """
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-0.5 * (steps / sigma) ** 2)
    rows, columns = np.indices(x.shape[2:])
    smeared = np.zeros_like(x)
    for step, weight in zip(steps, weights / weights.sum(), strict=True):
        down = np.ceil(step * np.sin(np.radians(angles)) - 0.5).astype(int)[:, None, None]
        right = np.ceil(step * np.cos(np.radians(angles)) - 0.5).astype(int)[:, None, None]
        moved = (rows + down).clip(0, x.shape[2] - 1), (columns + right).clip(0, x.shape[3] - 1)
        smeared += weight * np.moveaxis(_pixels(x, *moved), 0, 1)
    return smeared


def plasma(noise: Pixels, decay: float) -> Pixels:
    """Return fractal landscapes in [0, 1] by the diamond-square algorithm, on a torus.

    Args:
        noise: Numbers in [-1, 1], one for each point: (N, size, size), size a power of two.
        decay: By how much the roughness falls from one scale to the next.
    """
    size = step = noise.shape[1]
    heights, rough, every = np.zeros_like(noise), 100.0, slice(None)
    while step >= 2:
        even, odd = slice(0, size, step), slice(step // 2, size, step)
        wobble = noise * rough**2  # the published code multiplies twice
        corners = heights[every, even, even]
        pairs = corners + np.roll(corners, -1, 1)
        centers = (pairs + np.roll(pairs, -1, 2)) / 4 + wobble[every, odd, odd]
        heights[every, odd, odd] = centers
        for rows, columns, axis in (even, odd, 1), (odd, even, 2):
            around = centers + np.roll(centers, 1, axis) + corners + np.roll(corners, -1, 3 - axis)
            heights[every, rows, columns] = around / 4 + wobble[every, rows, columns]
        step, rough = step // 2, rough / decay
    heights -= heights.min((1, 2), keepdims=True)
    return heights / heights.max((1, 2), keepdims=True)


def field(size: int) -> int:
    """Return the size of the smallest landscape that covers an image."""
    return int(2 ** math.ceil(math.log2(size)))


def _neighbours(places: Pixels, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    first = np.floor(places).astype(np.int64)
    return _mirrored(first, size), _mirrored(first + 1, size)


def _mirrored(places: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Fold indices into the image, the outermost pixel counting twice."""
    folded = places % (2 * size)
    return np.minimum(folded, 2 * size - 1 - folded)


def _pixels(x: Pixels, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Pixels:
    """Return (C, N, H', W')."""
    images = np.arange(len(x))[:, None, None]
    return x.swapaxes(0, 1)[:, images, rows, columns]
