from typing import Any

import pytest
import torch

from convnorm import algorithms


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=["_filter", "_mix", "_mix_few"])
def algorithm(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one algorithm run wherever there is a choice."""
    compare, chosen = algorithms._costs, getattr(algorithms, request.param)

    def costs(*args: Any) -> dict[algorithms.Algorithm, float]:
        found = compare(*args)
        return {chosen: 0} if chosen in found else found

    monkeypatch.setattr(algorithms, "_costs", costs)
