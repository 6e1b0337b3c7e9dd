"""How many images are evaluated, and how often."""

import math
from dataclasses import dataclass

from gan.checks import check_at_least


@dataclass(frozen=True)
class Plan:
    """Size and frequency of the evaluations.

    Attributes:
        num_samples: Generated images.
        every_n_steps: Generator steps between two evaluations.
        batch_size: Images at a time, in every process.
    """

    num_samples: int
    every_n_steps: int
    batch_size: int

    def __post_init__(self) -> None:
        check_at_least(1, **vars(self))


# Inception does some 25 images/s on two CPU cores, thousands on a GPU. Large batches are slower where caches are small.
# Of fewer samples than Inception has features, 2,048, an FID is far too large.
_CPU = Plan(num_samples=2_500, every_n_steps=5_000, batch_size=16)
_GPU = Plan(num_samples=10_000, every_n_steps=1_000, batch_size=128)


def default_plan(device_type: str) -> Plan:
    """Return the plan for a type of device ("cpu", "cuda", ...)."""
    return _CPU if device_type == "cpu" else _GPU


def announcement(plan: Plan, seconds_per_batch: float, num_reference: int) -> str:
    """Return the announcement of the cost of a training's evaluations.

    Args:
        plan: The plan.
        seconds_per_batch: Duration of a batch, all processes together.
        num_reference: Number of reference images to evaluate first; 0 if their statistics are cached.
    """
    each = _duration(seconds_per_batch * math.ceil(plan.num_samples / plan.batch_size))
    text = f"evaluation: {plan.num_samples:,} samples every {plan.every_n_steps:,} steps, {each} each"
    if num_reference:
        once = _duration(seconds_per_batch * math.ceil(num_reference / plan.batch_size))
        text += f"; first, once for all runs, {num_reference:,} reference images, {once}"
    return text


def _duration(seconds: float) -> str:
    for unit, length in (("hours", 3600), ("minutes", 60)):
        if seconds >= 1.5 * length:
            return f"about {seconds / length:.0f} {unit}"
    return f"about {max(1, round(seconds))} s"
