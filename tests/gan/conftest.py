import logging

import pytest
from training import ARCHITECTURES

for library in "pytorch_lightning", "lightning_fabric":
    logging.getLogger(library).setLevel(logging.WARNING)


@pytest.fixture(params=ARCHITECTURES)
def architecture(request: pytest.FixtureRequest) -> str:
    """Each architecture in turn."""
    return str(request.param)
