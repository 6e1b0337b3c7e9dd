"""Whether a discriminator that knows its images by heart is told from one that does not."""

import pytest
import torch
from fakes import Noise
from small_trainings import fit, small_gan
from torch import nn

from gan.augment import DiffAugment
from gan.callbacks import Overfitting, overfitting
from gan.losses import Relativistic
from gan.networks import Discriminator


class Heart(Discriminator):
    """Says `known` of the images that it was given, and `other` of all the others but generated ones: -1."""

    conditional = False

    def __init__(self, known_images, held_out_images, known, other):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.image_size, self.channels, self.num_classes = 32, 1, 0
        self.groups = (known_images.flatten(1), known), (held_out_images.flatten(1), other)

    def forward(self, x, y=None):
        logits = x.new_full((len(x),), -1.0)
        for images, logit in self.groups:
            logits[(torch.cdist(x.flatten(1), images) < 0.1).any(1)] = logit
        return logits * self.scale


class HeldOut(Noise):
    """Held-out images that are no training images."""

    def open(self, split):
        return Noise(self.images, seed=["train", "test"].index(split)).open(split)


def looked(known, other, loss=None):
    data = HeldOut(40)
    train, held_out = (data.images_at(split, range(data.num_images(split))) for split in ("train", "test"))
    module = small_gan(**({"loss": loss} if loss else {}))
    module.discriminator = Heart(train / 127.5 - 1, held_out / 127.5 - 1, known, other)
    return Overfitting(num_images=16).look(module, data)


def test_what_is_logged_is_the_papers():
    """r_t and r_v by hand: logits 3, 1 and -1."""
    values = looked(3.0, 1.0)
    assert values == pytest.approx({"train_sign": 1.0, "held_out_sign": 1.0, "gap": (3 - 1) / (3 - -1)})
    assert looked(2.0, -1.0) == pytest.approx({"train_sign": 1.0, "held_out_sign": -1.0, "gap": 1.0})
    assert looked(-2.0, -2.0) == {"train_sign": -1.0, "held_out_sign": -1.0}, "it does not tell real from generated"
    assert looked(2.0, 2.0, Relativistic()) == pytest.approx({"gap": 0.0}), "the sign says nothing of pairs"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"train_sign": 1.0, "gap": 0.4}, None),
        ({"train_sign": 1.0, "gap": 0.625}, "held-out ones look 62% of the way to generated ones"),
        ({"train_sign": 0.9}, None),
        ({"train_sign": 1.0, "held_out_sign": 1.0}, None),
        ({"train_sign": 0.96}, "takes 98% of the training images to be real"),
        ({}, None),
    ],
)
def test_bounds(values, said):
    verdict = Overfitting(max_gap=0.5, max_sign=0.9).verdict(values)
    assert verdict is None if said is None else said in verdict


@pytest.mark.parametrize(("shift", "said"), [(1.9, False), (2.1, True)])
def test_the_gap_needs_a_discriminator_that_tells_training_from_generated_images(monkeypatch, shift, said):
    """Logits of both kinds spread by 2 around their means."""
    spread = torch.tensor([-2.0, 2.0]).double()
    monkeypatch.setattr(overfitting, "_judge_split", lambda module, data, split, count: spread + shift)
    monkeypatch.setattr(overfitting, "_judge_generated", lambda module, count: spread)
    assert ("gap" in Overfitting().look(small_gan(), HeldOut(4))) == said


def test_it_is_said_once_in_a_training_and_changes_nothing(capsys, monkeypatch):
    monkeypatch.setattr(Overfitting, "verdict", lambda self, values: "too sure")
    said, watched, plain = Overfitting(every_n_steps=2, num_images=20), small_gan(), small_gan()
    fit(watched, 5, [said], data=Noise(40, size=32))
    assert capsys.readouterr().out.count("step 2: too sure; augmentation helps") == 1
    assert watched.published_at["overfitting/train_sign"] == watched.published_at["overfitting/held_out_sign"] == 4
    fit(plain, 5, data=Noise(40, size=32))
    assert all(torch.equal(*pair) for pair in zip(*(m.state_dict().values() for m in (watched, plain)), strict=True))
    resumed = Overfitting()
    resumed.load_state_dict(said.state_dict())
    resumed.every_n_steps = 1
    fit(small_gan(), 1, [resumed], data=Noise(40))
    assert "too sure" not in capsys.readouterr().out
    fit(small_gan(augment=DiffAugment()), 1, [Overfitting(every_n_steps=1)], data=Noise(40))
    assert "step 1: too sure; keep a checkpoint from before" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("images", "passes", "augment", "said"),
    [
        (300, 200.0, None, True),
        (300, 50.0, None, False),
        (5000, 200.0, None, False),
        (300, 200.0, DiffAugment(), False),
    ],
)
def test_augmentation_is_recommended_for_few_images_seen_often(images, passes, augment, said):
    advice = small_gan(augment=augment).advice(images, passes)
    assert (advice is not None) == said
    assert advice is None or "few images (300)" in advice
