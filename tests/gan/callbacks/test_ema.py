"""The average of the generator's weights: its half-life as it ramps up, and as a schedule has it."""

import pytest
import torch
from pytorch_lightning import Callback
from small_trainings import fit, small_gan

from gan.callbacks import EMA
from gan.data import Digits
from gan.schedules import Cosine


class Weights(Callback):
    """Keeps the generator's first layer after each step."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.seen.append(pl_module.generator.project.weight.detach().clone())


@pytest.mark.parametrize(
    ("ema", "half_lives"),
    [
        # 16 real images a generator step: two updates of the discriminator on batches of 8
        (EMA(100.0, ramp_up=0.5), [0, 8, 16, 24]),
        (EMA(10.0, ramp_up=0.5), [0, 8, 10, 10]),
        (EMA(Cosine(0.0, 20.0, 32)), [0, 10, 20, 20]),
        (EMA(Cosine(0.0, 20.0, 32), ramp_up=1.0), [0, 10, 20, 20]),
    ],
)
def test_the_half_life_follows_the_images_seen(ema, half_lives):
    weights = Weights()
    module = small_gan(discriminator_steps=2)
    average = module.generator.project.weight.detach().clone()
    fit(module, 4, [weights, ema], data=Digits(batch_size=8))
    for weight, half_life in zip(weights.seen, half_lives, strict=True):
        share = 0.5 ** (8 / half_life) if half_life else 0.0  # eight generated images a step
        average = share * average + (1 - share) * weight
    torch.testing.assert_close(module.generator_ema.project.weight, average)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"half_life_images": 0.0}, "half_life_images must be positive, got 0.0"),
        ({"half_life_images": Cosine(-1.0, 5.0, 10)}, "half_life_images must be positive, got -1.0 to 5.0"),
        ({"ramp_up": 0.0}, "ramp_up must be positive, got 0.0"),
    ],
)
def test_what_is_out_of_range_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        EMA(**arguments)
