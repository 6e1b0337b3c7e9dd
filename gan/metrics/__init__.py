"""Scores of generated images, and how they were made."""

from gan.metrics.digits import DigitsClassifier
from gan.metrics.features import BFloat16, FeatureNetwork
from gan.metrics.fidelity import TorchFidelity
from gan.metrics.frechet import Frechet
from gan.metrics.inception import InceptionV3
from gan.metrics.inception_score import InceptionScore
from gan.metrics.kernel import KernelDistance
from gan.metrics.manifold import DensityCoverage, PrecisionRecall
from gan.metrics.score import Score

__all__ = [
    "BFloat16",
    "DensityCoverage",
    "DigitsClassifier",
    "FeatureNetwork",
    "Frechet",
    "InceptionScore",
    "InceptionV3",
    "KernelDistance",
    "PrecisionRecall",
    "Score",
    "TorchFidelity",
]
