"""Stops a training whose generator has collapsed."""

from typing import Any

from gan.checks import check_at_least


class Collapse:
    """Detects a collapse: a Frechet distance that stays far above its best value. Collapsed GANs do not recover.

    Args:
        metric: Name of the distance: fid or fd_<network>.
        factor: A value is far above if it is at least this factor times the best one.
        patience: Number of evaluations in a row that must be far above.
    """

    def __init__(self, metric: str = "fid", factor: float = 2.0, patience: int = 3) -> None:
        if metric != "fid" and not metric.startswith("fd_"):  # a kernel distance may be negative
            raise ValueError(f"metric must be fid or fd_<network>, got {metric!r}")
        if factor <= 1:
            raise ValueError(f"factor must be above 1, got {factor}")
        check_at_least(1, patience=patience)
        self.metric = metric
        self.factor = factor
        self.patience = patience
        self.best = float("inf")
        self.worse = 0

    def __str__(self) -> str:
        return (
            f"{self.metric} was {self.factor:g} times its best ({self.best:.4g}) or more, {self.worse} times in a row"
        )

    def detect(self, values: dict[str, float]) -> bool:
        """Update with the values of an evaluation; return whether the training should stop.

        Raises:
            ValueError: The metric is not among the values.
        """
        if self.metric not in values:
            raise ValueError(f"Collapse: metric must be one of {', '.join(values)}, got {self.metric!r}")
        value = values[self.metric]
        self.best = min(self.best, value)
        # "not below": a NaN counts as far above
        self.worse = 0 if value < self.factor * self.best else self.worse + 1
        return self.worse >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """Return the metric, its best value, and the number of evaluations in a row that were far above it."""
        return {"metric": self.metric, "best": self.best, "worse": self.worse}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state, unless it belongs to another metric."""
        if state.get("metric") == self.metric:
            self.best, self.worse = state["best"], state["worse"]
