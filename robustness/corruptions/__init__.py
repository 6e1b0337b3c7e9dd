"""Corruptions in the style of CIFAR-10-C: its kinds and its severities, without its files.

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019.
The published generator draws without a seed and needs ImageMagick, photographs of frost and functions that its
libraries have removed, so nobody can make the published images again. These here are the same on every machine. Numbers
on them are not numbers on CIFAR-10-C.
"""

from robustness.corruptions.base import SEVERITIES, Corruption
from robustness.corruptions.blur import DefocusBlur, GaussianBlur, GlassBlur, MotionBlur, ZoomBlur
from robustness.corruptions.digital import Contrast, ElasticTransform, JpegCompression, Pixelate, Saturate
from robustness.corruptions.noise import GaussianNoise, ImpulseNoise, ShotNoise, SpeckleNoise
from robustness.corruptions.weather import Brightness, Fog, Frost, Snow, Spatter

STANDARD: tuple[type[Corruption], ...] = (
    GaussianNoise,
    ShotNoise,
    ImpulseNoise,
    DefocusBlur,
    GlassBlur,
    MotionBlur,
    ZoomBlur,
    Snow,
    Frost,
    Fog,
    Brightness,
    Contrast,
    ElasticTransform,
    Pixelate,
    JpegCompression,
)
EXTRA: tuple[type[Corruption], ...] = (SpeckleNoise, GaussianBlur, Spatter, Saturate)

__all__ = ["EXTRA", "SEVERITIES", "STANDARD", "Corruption", *(kind.__name__ for kind in (*STANDARD, *EXTRA))]
