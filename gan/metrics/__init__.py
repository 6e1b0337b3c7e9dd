from gan.metrics.evaluation import Evaluation
from gan.metrics.features import DigitsClassifier, FeatureNetwork
from gan.metrics.frechet import Frechet
from gan.metrics.inception import InceptionV3
from gan.metrics.inception_score import InceptionScore
from gan.metrics.score import Score

__all__ = ["DigitsClassifier", "Evaluation", "FeatureNetwork", "Frechet", "InceptionScore", "InceptionV3", "Score"]
