"""Adversarial losses, and penalties that are added to them. Plain torch.

- `GAN(loss=...)` takes a `Loss`.
- `GAN(penalty=...)` takes a `Penalty`, or several: terms of images, logits and gradients, for each micro-batch.
- `GAN(generator_weight_penalty=..., discriminator_weight_penalty=...)` takes a `WeightPenalty`: a term of the network's
  weights, once an update. It is a function of any network: `ConvOrthogonality()(classifier)` is a term of its loss.
"""

from gan.losses.adversarial import Hinge, LeastSquares, Loss, NonSaturating, Relativistic, Wasserstein
from gan.losses.consistency import BalancedConsistency, Consistency, LatentConsistency
from gan.losses.gradient import R1, R2, WGANGP, GradientPenalty
from gan.losses.lecam import LeCam
from gan.losses.orthogonality import ConvOrthogonality, Orthogonality, WeightPenalty
from gan.losses.penalties import Penalties
from gan.losses.penalty import Generation, Judged, Penalty, Update

__all__ = [
    "R1",
    "R2",
    "WGANGP",
    "BalancedConsistency",
    "Consistency",
    "ConvOrthogonality",
    "Generation",
    "GradientPenalty",
    "Hinge",
    "Judged",
    "LatentConsistency",
    "LeCam",
    "LeastSquares",
    "Loss",
    "NonSaturating",
    "Orthogonality",
    "Penalties",
    "Penalty",
    "Relativistic",
    "Update",
    "Wasserstein",
    "WeightPenalty",
]
