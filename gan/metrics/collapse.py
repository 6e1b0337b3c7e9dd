"""When to give up on a run."""


class Collapse:
    """Stops a training whose distance stays far above its best: GANs that collapse do not come back.

    Args:
        metric: Name of the metric; lower is better.
        factor: How many times its best value is far above.
        patience: How many evaluations in a row.
    """

    def __init__(self, metric: str = "fid", factor: float = 2.0, patience: int = 3) -> None:
        if factor <= 1:
            raise ValueError(f"factor must be above 1, got {factor}")
        if patience < 1:
            raise ValueError(f"patience must be at least 1, got {patience}")
        self.metric = metric
        self.factor = factor
        self.patience = patience
        self.best = float("inf")
        self.worse = 0

    def __str__(self) -> str:
        return (
            f"{self.metric} was {self.factor:g} times its best ({self.best:.4g}) or more, {self.worse} times in a row"
        )

    def has_come(self, values: dict[str, float]) -> bool:
        """Take the values of an evaluation and return whether the training should stop.

        Raises:
            ValueError: The metric is not among them.
        """
        if self.metric not in values:
            raise ValueError(f"Collapse: metric must be one of {', '.join(values)}, got {self.metric!r}")
        value = values[self.metric]
        self.best = min(self.best, value)
        # "not below": a NaN counts as far above
        self.worse = 0 if value < self.factor * self.best else self.worse + 1
        return self.worse >= self.patience

    def state_dict(self) -> dict[str, float]:
        """Return the best value, and how many evaluations in a row have been far above it."""
        return {"best": self.best, "worse": self.worse}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Restore what `state_dict` returned."""
        self.best, self.worse = state["best"], int(state["worse"])
