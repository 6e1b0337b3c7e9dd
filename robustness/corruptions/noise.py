"""Random numbers at every pixel."""

from typing import Any

import numpy as np

from robustness.corruptions.base import Corruption, Pixels, Random


class GaussianNoise(Corruption):
    """Adds normal noise; strength: its standard deviation."""

    strengths = 0.04, 0.06, 0.08, 0.09, 0.10

    def draw(self, random: Random, image: Pixels, strength: float) -> tuple[Any, ...]:
        return (random.standard_normal(image.shape),)

    def apply(self, x: Pixels, strength: float, *noise: Any) -> Pixels:
        return x + strength * noise[0]


class ShotNoise(Corruption):
    """Counts photons; strength: how many a white pixel gives on average."""

    strengths = 500, 250, 100, 75, 50

    def draw(self, random: Random, image: Pixels, strength: float) -> tuple[Any, ...]:
        return (random.poisson(image * strength),)

    def apply(self, x: Pixels, strength: float, *noise: Any) -> Pixels:
        return noise[0] / strength


class ImpulseNoise(Corruption):
    """Makes values 0 or 1, salt and pepper; strength: the share of such values."""

    strengths = 0.01, 0.02, 0.03, 0.05, 0.07

    def draw(self, random: Random, image: Pixels, strength: float) -> tuple[Any, ...]:
        return random.random(image.shape) < strength, random.random(image.shape) < 0.5

    def apply(self, x: Pixels, strength: float, *noise: Any) -> Pixels:
        hit, white = noise
        return np.where(hit, white, x)


class SpeckleNoise(Corruption):
    """Adds normal noise in proportion to the pixel; strength: its standard deviation where that is 1. Extra."""

    is_extra = True
    strengths = 0.06, 0.1, 0.12, 0.16, 0.2

    def draw(self, random: Random, image: Pixels, strength: float) -> tuple[Any, ...]:
        return (random.standard_normal(image.shape),)

    def apply(self, x: Pixels, strength: float, *noise: Any) -> Pixels:
        return x * (1 + strength * noise[0])
