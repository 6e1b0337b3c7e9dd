"""Training with augmentation, pairs and penalties: the loop by hand, resumed, in two processes, in parts, compiled."""

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback
from small_trainings import differences, fit, small_gan, small_networks, together
from torch.nn import functional as F

from gan.augment import ADA, DiffAugment, Pipe
from gan.data import Digits
from gan.losses import (
    R1,
    R2,
    WGANGP,
    BalancedConsistency,
    Consistency,
    Hinge,
    LatentConsistency,
    LeCam,
    NonSaturating,
    Relativistic,
)
from gan.module import GAN
from gan.norms import ConditionalBatch, Conv, Layer, Spectral
from gan.runs.checkpoints import read_checkpoint
from gan.schedules import Cosine
from gan.training.optimizers import Annealing, LinearDecay


def ada():
    return ADA(images_to_one=200, every=3, target=0.0, cutout=1.0)


def everything():
    return [LeCam(start=2), BalancedConsistency(), LatentConsistency(), WGANGP(every=2)]


RECIPES = {
    "ada": lambda: {"augment": ada(), "penalty": everything(), "loss": Hinge()},
    "diff_augment": lambda: {
        "augment": DiffAugment(),
        "penalty": [Consistency(), LeCam(start=0)],
        "loss": NonSaturating(),
    },
    "r3gan": lambda: {
        "architecture": "r3gan",
        "generator_norms": [],
        "discriminator_norms": [],
        "augment": Pipe(Cosine(0.0, 0.5, 100), color=0.5, cutout=1.0),
        "penalty": [R1(Cosine(1.0, 0.1, 100)), R2(1.0, every=2)],
        "loss": Relativistic(),
        "annealing": Annealing(lr=Cosine(1e-3, 1e-4, 100), beta2=Cosine(0.9, 0.99, 100)),
        "generator_batch_ratio": 2,
    },
}


def gan(recipe, **arguments):
    norms = {"generator_norms": [Layer()], "discriminator_norms": [Conv()]}
    return small_gan(**{"discriminator_steps": 2, **norms, **RECIPES[recipe](), **arguments})


def train(path, recipe, steps, processes=1, ckpt_path=None, **arguments):
    data = Digits(batch_size=8, flip=True)
    trainer = fit(
        gan(recipe, **arguments), steps, data=data, processes=processes, ckpt_path=ckpt_path, precision="64-true"
    )
    trainer.save_checkpoint(path)


def weights(path):
    return read_checkpoint(path)["state_dict"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_run_goes_on_bit_for_bit(tmp_path, recipe):
    train(tmp_path / "whole.ckpt", recipe, 7)
    train(tmp_path / "half.ckpt", recipe, 3)
    train(tmp_path / "rest.ckpt", recipe, 7, ckpt_path=tmp_path / "half.ckpt")
    whole, rest = weights(tmp_path / "whole.ckpt"), weights(tmp_path / "rest.ckpt")
    assert differences(whole, rest) == 0
    if recipe == "ada":
        assert whole["augment.images_up"] > 0
        assert whole["augment.judged"] > 0, "the checkpoint fell between two moves of p"
        assert whole["penalties.0.updates"] == 14


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_two_processes_compute_what_one_does(tmp_path, recipe):
    sgd = {
        f"{network}_optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.01)
        for network in ("generator", "discriminator")
    }
    arguments = {**sgd, "annealing": None}
    one, two = tmp_path / "one.ckpt", tmp_path / "two.ckpt"
    assert together(lambda: train(one, recipe, 3, **arguments), 1) == [0]
    assert together(lambda: train(two, recipe, 3, 2, **arguments)) == [0, 0]
    assert differences(weights(one), weights(two)) < 1e-10


@pytest.mark.parametrize("recipe", RECIPES)
def test_parts_add_up_to_the_batch(tmp_path, recipe):
    train(tmp_path / "whole.ckpt", recipe, 3)
    train(tmp_path / "parts.ckpt", recipe, 3, micro_batches=4)
    # rounding is amplified by Adam's first steps
    assert differences(weights(tmp_path / "whole.ckpt"), weights(tmp_path / "parts.ckpt")) < 1e-8


@pytest.mark.parametrize("recipe", RECIPES)
def test_one_pass_and_two_are_equal(tmp_path, recipe):
    train(tmp_path / "one.ckpt", recipe, 2)
    train(tmp_path / "two.ckpt", recipe, 2, joint_pass=False)
    assert differences(weights(tmp_path / "one.ckpt"), weights(tmp_path / "two.ckpt")) < 1e-8


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("norm", [Spectral(), Conv()])
def test_it_trains_in_bfloat16_and_channels_last(recipe, norm):
    module = gan(recipe, discriminator_norms=[norm], channels_last=True)
    fit(module, 3, precision="bf16-mixed")
    assert all(value.isfinite().all() for value in module.state_dict().values())


class Settings(Callback):
    """Keeps learning rates and betas of both optimizers in every step."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        groups = [optimizer.param_groups[0] for optimizer in trainer.optimizers]
        assert groups[0]["lr"] == groups[1]["lr"]
        assert groups[0]["betas"] == groups[1]["betas"]
        self.seen.append((groups[0]["lr"], *groups[0]["betas"]))


def test_learning_rates_and_betas_follow_the_images_seen():
    """16 real images a step: halfway along the cosine is the mean of both ends."""
    annealing, settings = Annealing(Cosine(1e-3, 1e-4, 32), Cosine(0.9, 0.98, 32)), Settings()
    fit(small_gan(annealing=annealing, discriminator_steps=2), 4, [settings])
    halfway, after = (5.5e-4, 0.0, 0.94), (1e-4, 0.0, 0.98)
    for seen, expected in zip(settings.seen, [(1e-3, 0.0, 0.9), halfway, after, after], strict=True):
        assert seen == pytest.approx(expected)


class Batches(Callback):
    def __init__(self):
        self.batches = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.batches.append(batch)


def test_pairs_are_the_loop_one_would_write_by_hand():
    """R3GAN's update: each generated image against a real one of its class, fresh real images for the generator."""

    def sgd(parameters):
        return torch.optim.SGD(parameters, lr=0.1)

    recorder = Batches()
    penalties = [R1(0.5), R2(0.25)]
    g, d = small_networks("dcgan", conditional=True)
    optimizers = {"generator_optimizer": sgd, "discriminator_optimizer": sgd}
    module = GAN(
        g, d, Relativistic(), [ConditionalBatch()], penalty=penalties, augment=DiffAugment(), seed=5, **optimizers
    )
    g, d = (network.double() for network in small_networks("dcgan", conditional=True))
    g = GAN(g, d, Hinge(), [ConditionalBatch()]).generator.double()
    fit(module, 3, [recorder], precision="64-true")
    augment, g_optimizer, d_optimizer = DiffAugment(), sgd(g.parameters()), sgd(d.parameters())

    def drawn(stream, step, update):
        return np.random.default_rng((5, stream, step, update))

    def inputs(step, update):
        z = torch.from_numpy(drawn(2, step, update).standard_normal((8, 8), dtype=np.float32)).double()
        return z, torch.from_numpy(drawn(8, step, update).random((8, 2, 7), dtype=np.float32)).double()

    for step, (images, labels) in enumerate(recorder.batches):
        assert len(images) == 16
        real, other = (images.float() / 127.5 - 1).double().chunk(2)
        y, other_y = labels.chunk(2)
        z, u = inputs(step, 0)
        real = real.requires_grad_()
        fake = g(z, y).detach().requires_grad_()
        d_optimizer.zero_grad()
        real_logits, fake_logits = d(augment(real, u[:, 0]), y), d(augment(fake, u[:, 1]), y)
        slopes = (
            torch.autograd.grad(logits.sum(), x, create_graph=True)[0]
            for logits, x in ((real_logits, real), (fake_logits, fake))
        )
        r1, r2 = (slope.square().sum((1, 2, 3)).mean() for slope in slopes)
        (F.softplus(fake_logits - real_logits).mean() + 0.25 * r1 + 0.125 * r2).backward()
        d_optimizer.step()
        z, u = inputs(step, 1)
        g_optimizer.zero_grad()
        fake_logits, real_logits = d(augment(g(z, other_y), u[:, 1]), other_y), d(augment(other, u[:, 0]), other_y)
        F.softplus(real_logits - fake_logits).mean().backward()
        g_optimizer.step()
    assert differences(module.generator.state_dict(), g.state_dict()) < 1e-9
    assert differences(module.discriminator.state_dict(), d.state_dict()) < 1e-9


def test_samples_need_no_augmentation(tmp_path):
    train(tmp_path / "run.ckpt", "ada", 1)
    module = GAN.from_checkpoint(read_checkpoint(tmp_path / "run.ckpt"))
    assert module.sample(2).shape == (2, 1, 32, 32)


def test_decay_and_annealing_exclude_each_other():
    with pytest.raises(ValueError, match="decay and annealing both set the learning rates: give one of them"):
        small_gan(decay=LinearDecay(5), annealing=Annealing())
