import math

import pytest
import torch
from small_trainings import small_gan

from gan.callbacks import Pictures
from gan.callbacks.pictures import interpolations
from gan.latents import sample_inputs
from gan.norms import ConditionalBatch


def test_a_row_leads_from_one_sample_to_the_next(monkeypatch):
    module, asked = small_gan(), []
    monkeypatch.setattr(module, "generate", lambda z, labels: asked.append(z) or torch.zeros(len(z), 1, 1, 1))
    assert interpolations(module, rows=3, columns=5, seed=7).shape == (15, 1, 1, 1)
    ways = asked[0].float().view(3, 5, -1)
    z, _ = sample_inputs(module.generator, 4, seed=7)
    assert torch.equal(ways[:, 0], z[:3])
    torch.testing.assert_close(ways[:, -1], z[1:])
    torch.testing.assert_close(ways[:, 2], (z[:3] + z[1:]) / math.sqrt(2))


def test_a_row_keeps_to_its_class():
    module = small_gan(generator_norms=[ConditionalBatch()])
    images = interpolations(module, rows=3, columns=2, seed=0).view(3, 2, 1, 32, 32)
    samples = module.sample(4, torch.tensor([0, 1, 2, 2]), seed=0)
    assert (images[:, 0].int() - samples[:3].int()).abs().max() <= 1
    assert (images[2, 1].int() - samples[3].int()).abs().max() <= 1


def test_numbers_of_nothing_are_refused():
    with pytest.raises(ValueError, match="pictures: columns must be at least 1, got 0"):
        Pictures(columns=0)
