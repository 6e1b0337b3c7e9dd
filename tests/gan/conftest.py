import logging

import pytest
from small_trainings import ARCHITECTURES

for library in "pytorch_lightning", "lightning_fabric":
    logging.getLogger(library).setLevel(logging.WARNING)


@pytest.fixture(params=ARCHITECTURES)
def architecture(request: pytest.FixtureRequest) -> str:
    """Each architecture in turn."""
    return str(request.param)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Keep cached reference statistics in the test's own folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("CONVNORM_GAN_CACHE", str(folder))
    return folder
