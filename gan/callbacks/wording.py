"""Numbers as people read them."""

from collections.abc import Mapping
from typing import Any

_NOT_SCORES = "evaluation_seconds", "evaluation_share", "images_per_second", "peak_memory_gib"
_STD = "_std"
_LOSS = "loss/"
_SHORT = {"discriminator": "D", "generator": "G"}


def scores_in_words(values: Mapping[str, float]) -> str:
    """Return the scores among some values: "fd_digits 0.88  is_digits 3.01 ± 0.05".

    A standard deviation stands with its score, if it can be seen beside it. Losses and the like are left out.
    """
    words = []
    for name, value in values.items():
        if "/" in name or name in _NOT_SCORES or (name.endswith(_STD) and name.removesuffix(_STD) in values):
            continue
        deviation = values.get(name + _STD, 0.0)
        seen = deviation > 1e-3 * abs(value)
        words.append(f"{name} {value:.4g}" + (f" ± {deviation:.2g}" if seen else ""))
    return "  ".join(words)


def losses_in_words(outputs: Mapping[str, Any]) -> str:
    """Return the losses among what a training step reports: "D 1.234  G 0.567"."""
    losses = {name.removeprefix(_LOSS): value for name, value in outputs.items() if name.startswith(_LOSS)}
    return "  ".join(f"{_SHORT.get(name, name)} {float(losses[name]):.3f}" for name in losses if "/" not in name)


def duration(seconds: float) -> str:
    """Return a time in one unit: "40 s", "3 minutes", "2 hours"."""
    for unit, length in ("hours", 3600), ("minutes", 60):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(1, round(seconds))} s"
