"""Scores of sets of images, with the protocol of how they were computed.

`evaluate` scores a folder, zip or tensor in one call. `gan.metrics.torchmetrics` makes a score a torchmetrics metric.
"""

from gan.metrics.digits import DigitsClassifier
from gan.metrics.evaluator import Evaluator
from gan.metrics.features import BFloat16, FeatureNetwork
from gan.metrics.fidelity import TorchFidelity
from gan.metrics.frechet import Frechet
from gan.metrics.inception import InceptionV3
from gan.metrics.inception_score import InceptionScore
from gan.metrics.kernel import KernelDistance
from gan.metrics.manifold import DensityCoverage, PrecisionRecall
from gan.metrics.protocol import Protocol
from gan.metrics.score import Score
from gan.metrics.scoring import Result, evaluate

__all__ = [
    "BFloat16",
    "DensityCoverage",
    "DigitsClassifier",
    "Evaluator",
    "FeatureNetwork",
    "Frechet",
    "InceptionScore",
    "InceptionV3",
    "KernelDistance",
    "PrecisionRecall",
    "Protocol",
    "Result",
    "Score",
    "TorchFidelity",
    "evaluate",
]
