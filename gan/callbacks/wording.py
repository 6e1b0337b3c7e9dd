"""Numbers as people read them."""

from collections.abc import Mapping

_NOT_SCORES = "evaluation_seconds", "evaluation_share", "images_per_second", "peak_memory_gib"
_STD = "_std"


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


def duration(seconds: float) -> str:
    """Return a time in one unit: "40 s", "3 minutes", "2 hours"."""
    for unit, length in ("hours", 3600), ("minutes", 60):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(1, round(seconds))} s"
