"""Contrast, saturation, shape, resolution and compression."""

import io
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from robustness.corruptions.base import Corruption, Pixels, Random, as_uint8
from robustness.corruptions.fields import sample


class Contrast(Corruption):
    """Pulls each channel towards its mean; strength: what is left of the difference."""

    strengths = 0.75, 0.5, 0.4, 0.3, 0.15

    def apply(self, x: Pixels, strength: float, *noise: Any) -> Pixels:
        mean = x.mean((2, 3), keepdims=True)
        return mean + strength * (x - mean)


class ElasticTransform(Corruption):
    """Moves three points, with all of the image, and then each pixel a little.

    Strength, in image sizes: how far pixels move, over how wide a neighbourhood alike, and how far the points move.
    """

    strengths = (0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)

    def draw(self, random: Random, image: Pixels, strength: tuple[float, float, float]) -> tuple[Any, ...]:
        return random.uniform(-1, 1, (3, 2)), random.uniform(-1, 1, (2, *image.shape[1:]))

    def apply(self, x: Pixels, strength: tuple[float, float, float], *noise: Any) -> Pixels:
        size = x.shape[2]
        alpha, sigma, jump = (size * each for each in strength)
        points = np.array([[1, 1], [1, -1], [-1, -1]]) * (size // 3) + size // 2
        moved = points + jump * noise[0]
        columns, rows = np.meshgrid(np.arange(size), np.arange(size))
        places = np.stack([columns.ravel(), rows.ravel(), np.ones(size**2)])  # (3, pixels)
        ones = np.ones((len(x), 3, 1))
        back = np.linalg.solve(np.concatenate([moved, ones], 2), np.broadcast_to(points, moved.shape))  # (N, 3, 2)
        source = (back.swapaxes(1, 2) @ places).reshape(len(x), 2, size, size)
        warped = sample(x, source[:, 1], source[:, 0])
        if not alpha:
            return warped
        shift = alpha * ndimage.gaussian_filter(noise[1], (0, 0, sigma, sigma), mode="reflect", truncate=3)
        return sample(warped, rows + shift[:, 1], columns + shift[:, 0])


class Pixelate(Corruption):
    """Makes the image smaller and enlarges it again, without a filter; strength: the factor."""

    strengths = 0.95, 0.9, 0.85, 0.75, 0.65

    def apply(self, x: Pixels, strength: float, *noise: Any) -> Pixels:
        size = x.shape[2]
        small = max(1, int(size * strength))
        resized = [
            image.resize((small, small), Image.Resampling.BOX).resize((size, size), Image.Resampling.BOX)
            for image in _to_pillow(x)
        ]
        return _from_pillow(resized, x)


class JpegCompression(Corruption):
    """Compresses as JPEG; strength: the quality. The last bits depend on Pillow's JPEG library."""

    strengths = 80, 65, 58, 50, 40

    def apply(self, x: Pixels, strength: int, *noise: Any) -> Pixels:
        compressed: list[Image.Image] = []
        for image in _to_pillow(x):
            file = io.BytesIO()
            image.save(file, "JPEG", quality=strength)
            compressed.append(Image.open(file))
        return _from_pillow(compressed, x)


class Saturate(Corruption):
    """Changes the saturation, in HSV; strength: a factor, and what is added. Extra; not for gray images."""

    is_extra = True
    strengths = (0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)

    def apply(self, x: Pixels, strength: tuple[float, float], *noise: Any) -> Pixels:
        if x.shape[1] != 3:
            raise ValueError("Saturate needs RGB images, got gray ones")
        value = x.max(1, keepdims=True)
        spread = value - x  # each channel's distance from the largest: value * saturation for the smallest
        widest = spread.max(1, keepdims=True)
        hue = np.where(widest > 0, spread / np.maximum(widest, 1e-12), np.array([0, 1, 1]).reshape(1, 3, 1, 1))
        saturation = (widest / np.maximum(value, 1e-12) * strength[0] + strength[1]).clip(0, 1)
        return value * (1 - saturation * hue)  # gray is a red without saturation


def _to_pillow(x: Pixels) -> list[Image.Image]:
    pixels = np.moveaxis(as_uint8(x), 1, -1)
    return [Image.fromarray(each.squeeze(-1) if each.shape[-1] == 1 else each) for each in pixels]


def _from_pillow(images: list[Image.Image], like: Pixels) -> Pixels:
    pixels = np.stack([np.asarray(image) for image in images]) / 255
    return np.moveaxis(pixels, -1, 1) if like.shape[1] == 3 else pixels[:, None]
