"""Lenses and movement."""

from typing import Any

import numpy as np
from scipy import ndimage

from robustness.corruptions.base import Corruption, Pixels, Random, as_uint8
from robustness.corruptions.fields import motion_blur, zoom


class DefocusBlur(Corruption):
    """Spreads each pixel over a disk; strength: its radius, and the blur of its edge."""

    strengths = (0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)

    def apply(self, x: Pixels, strength: tuple[float, float], *noise: Any) -> Pixels:
        radius, edge = strength
        rows, columns = np.mgrid[-2:3, -2:3]  # the largest disk is 3 pixels wide, and its blurred edge one more
        disk = (rows**2 + columns**2 <= radius**2).astype(np.float64)
        line = np.exp(-0.5 * (np.arange(-1, 2) / edge) ** 2)
        disk = ndimage.convolve(disk / disk.sum(), np.outer(line, line) / line.sum() ** 2, mode="constant")
        return ndimage.convolve(x, disk[None, None], mode="mirror")


class GlassBlur(Corruption):
    """Blurs, lets pixels take the value of a neighbour above or to the left, and blurs again.

    Strength: Gaussian's standard deviation, and how often pixels move. The published code means to exchange pixels, but
    copies one of them: so it is done here.
    """

    strengths = (0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2)

    def draw(self, random: Random, image: Pixels, strength: tuple[float, int]) -> tuple[Any, ...]:
        return (random.integers(-1, 1, (strength[1], 2, *image.shape[1:])),)

    def apply(self, x: Pixels, strength: tuple[float, int], *noise: Any) -> Pixels:
        sigma, times = strength
        x = as_uint8(_gaussian(x, sigma)) / 255
        rows, columns = np.indices(x.shape[2:])
        inner = (rows >= 2) & (columns >= 2)
        images = np.arange(len(x))[:, None, None]
        for shift in np.moveaxis(noise[0], 1, 0)[:times]:
            moved = x.swapaxes(0, 1)[:, images, rows + shift[:, 0] * inner, columns + shift[:, 1] * inner]
            x = moved.swapaxes(0, 1)
        return _gaussian(x, sigma)


class MotionBlur(Corruption):
    """Smears the image along a line of some -45 to 45 degrees; strength: radius and standard deviation."""

    strengths = (6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)

    def draw(self, random: Random, image: Pixels, strength: tuple[int, float]) -> tuple[Any, ...]:
        return (random.uniform(-45, 45),)

    def apply(self, x: Pixels, strength: tuple[int, float], *noise: Any) -> Pixels:
        return motion_blur(x, *strength, noise[0])


class ZoomBlur(Corruption):
    """The mean of the image and its enlargements by 1, 1.01, 1.02, ...; strength: their number.

    The numbers are odd: steps of 0.01 up to 1.06 or 1.11, exclusive, but rounding includes these two.
    """

    strengths = 7, 12, 16, 21, 26

    def apply(self, x: Pixels, strength: int, *noise: Any) -> Pixels:
        return (x + sum(zoom(x, 1 + step / 100) for step in range(strength))) / (strength + 1)


class GaussianBlur(Corruption):
    """Blurs with a Gaussian; strength: its standard deviation. Extra."""

    is_extra = True
    strengths = 0.4, 0.6, 0.7, 0.8, 1

    def apply(self, x: Pixels, strength: float, *noise: Any) -> Pixels:
        return _gaussian(x, strength)


def _gaussian(x: Pixels, sigma: float) -> Pixels:
    blurred: Pixels = ndimage.gaussian_filter(x, (0, 0, sigma, sigma), mode="nearest")
    return blurred
