"""Every norm in either network of every architecture trains."""

import pytest
import torch
from small_trainings import fit, small_gan
from test_norms import COMBINATIONS, name

from gan.norms import Batch, Spectral


@pytest.mark.slow
@pytest.mark.parametrize("part", ["generator_norms", "discriminator_norms"])
@pytest.mark.parametrize("norms", COMBINATIONS, ids=name)
def test_four_steps_on_the_digits(norms, part, architecture):
    recipe = {"generator_norms": [Batch()], "discriminator_norms": [Spectral()], part: norms}
    module = small_gan(architecture, **recipe)
    before = {key: value.clone() for key, value in module.named_parameters()}
    trainer = fit(module, 4)
    assert trainer.global_step == 4
    for key, value in module.state_dict().items():
        assert value.isfinite().all(), key
    changed = {key.split(".")[0] for key, value in module.named_parameters() if not torch.equal(value, before[key])}
    assert changed == {"generator", "discriminator"}
