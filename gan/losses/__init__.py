"""Adversarial losses, and penalties that are added to them: `GAN(loss=..., penalty=...)`. Plain torch."""

from gan.losses.adversarial import Hinge, LeastSquares, Loss, NonSaturating, Relativistic, Wasserstein
from gan.losses.consistency import BalancedConsistency, Consistency, LatentConsistency
from gan.losses.gradient import R1, R2, WGANGP, GradientPenalty
from gan.losses.lecam import LeCam
from gan.losses.penalty import Generation, Judged, Penalty, Update

__all__ = [
    "R1",
    "R2",
    "WGANGP",
    "BalancedConsistency",
    "Consistency",
    "Generation",
    "GradientPenalty",
    "Hinge",
    "Judged",
    "LatentConsistency",
    "LeCam",
    "LeastSquares",
    "Loss",
    "NonSaturating",
    "Penalty",
    "Relativistic",
    "Update",
    "Wasserstein",
]
