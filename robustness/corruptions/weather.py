"""Snow, frost, fog, brightness, and drops on the lens."""

from typing import Any

import numpy as np
from scipy import ndimage

from robustness.corruptions.base import Corruption, Pixels, Random, as_uint8, gray
from robustness.corruptions.fields import field, motion_blur, plasma, zoom

ICE, WATER, MUD = (0.85, 0.93, 1.0), (175 / 255, 238 / 255, 238 / 255), (63 / 255, 42 / 255, 20 / 255)


class Snow(Corruption):
    """Whitens the image and lets flakes fall.

    Strength: mean and standard deviation of the flakes, their size, the threshold below which there is none, radius and
    standard deviation of their fall, and the share of the image that is not whitened.
    """

    strengths = (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    )

    def draw(self, random: Random, image: Pixels, strength: Any) -> tuple[Any, ...]:
        return random.standard_normal((1, *image.shape[1:])), random.uniform(-135, -45)

    def apply(self, x: Pixels, strength: Any, *noise: Any) -> Pixels:
        mean, deviation, size, threshold, radius, sigma, kept = strength
        flakes = zoom(mean + deviation * noise[0], size)
        flakes = as_uint8((flakes * (flakes >= threshold)).clip(0, 1)) / 255
        falling = motion_blur(flakes, radius, sigma, noise[1])
        whitened = np.maximum(x, gray(x) * 1.5 + 0.5)
        return kept * x + (1 - kept) * whitened + falling + np.rot90(falling, 2, axes=(2, 3))


class Frost(Corruption):
    """Lays ice over the image; strength: the share of the image, and that of the ice.

    CIFAR-10-C takes photographs of frost. Here the ice is a ridged fractal, which needs no files: the corruption that
    differs most from the published one.
    """

    strengths = (1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)

    def draw(self, random: Random, image: Pixels, strength: tuple[float, float]) -> tuple[Any, ...]:
        return (random.uniform(-1, 1, (field(image.shape[1]),) * 2),)

    def apply(self, x: Pixels, strength: tuple[float, float], *noise: Any) -> Pixels:
        image, ice = strength
        size = x.shape[2]
        ridges = (1 - np.abs(2 * plasma(noise[0], 1.3) - 1))[:, None, :size, :size] ** 3
        return image * x + ice * ridges * _colored(ICE, x)


class Fog(Corruption):
    """Mixes in a fractal landscape; strength: its share, and how much its roughness falls from scale to scale."""

    strengths = (0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)

    def draw(self, random: Random, image: Pixels, strength: tuple[float, float]) -> tuple[Any, ...]:
        return (random.uniform(-1, 1, (field(image.shape[1]),) * 2),)

    def apply(self, x: Pixels, strength: tuple[float, float], *noise: Any) -> Pixels:
        share, decay = strength
        brightest = x.max((1, 2, 3), keepdims=True)
        fog = plasma(noise[0], decay)[:, None, : x.shape[2], : x.shape[3]]
        return (x + share * fog) * brightest / (brightest + share)


class Brightness(Corruption):
    """Adds to the value of each color, in HSV; strength: how much."""

    strengths = 0.05, 0.1, 0.15, 0.2, 0.3

    def apply(self, x: Pixels, strength: float, *noise: Any) -> Pixels:
        value = x.max(1, keepdims=True)
        brighter = (value + strength).clip(0, 1)
        return np.where(value > 0, x * brighter / np.maximum(value, 1e-12), brighter)


class Spatter(Corruption):
    """Drops of water or, from severity 4 on, mud on the lens. Extra.

    Strength: mean and standard deviation of the liquid, its blur, the threshold below which there is none; the share of
    the water, or the blur of the mud; and which of them it is.
    """

    is_extra = True
    strengths = (
        (0.62, 0.1, 0.7, 0.7, 0.5, 0),
        (0.65, 0.1, 0.8, 0.7, 0.5, 0),
        (0.65, 0.3, 1, 0.69, 0.5, 0),
        (0.65, 0.1, 0.7, 0.69, 0.6, 1),
        (0.65, 0.1, 0.5, 0.68, 0.6, 1),
    )

    def draw(self, random: Random, image: Pixels, strength: Any) -> tuple[Any, ...]:
        return (random.standard_normal((1, *image.shape[1:])),)

    def apply(self, x: Pixels, strength: Any, *noise: Any) -> Pixels:
        mean, deviation, blur, threshold, last, is_mud = strength
        liquid = ndimage.gaussian_filter(mean + deviation * noise[0], (0, 0, blur, blur), mode="nearest")
        liquid = liquid * (liquid >= threshold)
        if is_mud:
            mud = ndimage.gaussian_filter((liquid > 0).astype(np.float64), (0, 0, last, last), mode="nearest")
            mud = mud * (mud >= 0.8)
            return x * (1 - mud) + mud * _colored(MUD, x)
        relief = np.stack([_relief(image > 0) for image in liquid[:, 0]])[:, None] * liquid
        brightest = relief.max((1, 2, 3), keepdims=True)
        return x + last * relief / np.maximum(brightest, 1e-12) * _colored(WATER, x)


def _relief(drops: Any) -> Pixels:
    """Return how light falls on drops (H, W): on the distance to their edge, equalized and embossed."""
    edge = drops & ~ndimage.binary_erosion(drops)
    distance = ndimage.distance_transform_edt(~edge) if edge.any() else np.zeros(drops.shape)
    distance = ndimage.uniform_filter(distance.clip(0, 20), 3, mode="mirror")
    ranks = np.searchsorted(np.sort(distance.ravel()), distance, side="right") / distance.size * 255
    light = ndimage.correlate(ranks, np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]]), mode="mirror").clip(0, 255)
    relief: Pixels = ndimage.uniform_filter(light, 3, mode="mirror")
    return relief


def _colored(color: tuple[float, float, float], x: Pixels) -> Pixels:
    """Return a color as (1, channels, 1, 1), or its luma for gray images."""
    rgb = np.array(color).reshape(1, 3, 1, 1)
    return gray(rgb) if x.shape[1] == 1 else rgb
