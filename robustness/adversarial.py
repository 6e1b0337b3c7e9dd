"""Training on attacked images."""

from dataclasses import dataclass

from torch import Tensor

from gan.checks import check_at_least


@dataclass(frozen=True)
class FreeTraining:
    """Adversarial training that takes several updates on each batch, each with a step of the attack, at no extra pass.

    As the ConvNorm paper's code has it: "free" training (Shafahi et al., NeurIPS 2019), but the change of the images
    begins at zero in every batch.

    Attributes:
        repeats: Updates on each batch. A training step then is as long as so many.
        epsilon: Largest change of a value, in units of 1/255.
        step_size: Change of a value in one step, in units of 1/255.
    """

    repeats: int = 4
    epsilon: float = 8.0
    step_size: float = 8.0

    def __post_init__(self) -> None:
        check_at_least(1, "FreeTraining: ", repeats=self.repeats)
        if not min(self.epsilon, self.step_size) > 0:
            raise ValueError(f"FreeTraining: epsilon and step_size must be positive, got {self}")

    def moved(self, change: Tensor, gradient: Tensor) -> Tensor:
        """Return the change after a step along the sign of the loss' gradient."""
        epsilon = self.epsilon / 255
        return (change + self.step_size / 255 * gradient.sign()).clamp(-epsilon, epsilon)
