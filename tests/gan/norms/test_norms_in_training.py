"""Norms with a state or an algorithm of their own in training: resumed, averaged, in two processes, compiled."""

import copy

import pytest
import torch
from small_trainings import differences, fit, small_gan, together
from torch import nn

from convnorm.spectra import operator_norm
from gan.callbacks import EMA
from gan.module import GAN
from gan.norms import ONI, Mixture, NormSite, Orthogonal, SpectralOperator
from gan.runs.checkpoints import read_checkpoint

NORMS = [Mixture(2), ONI(scale=2.0), Orthogonal(), SpectralOperator(scale=2.0)]


@pytest.fixture(params=NORMS, ids=lambda norm: type(norm).__name__)
def norm(request):
    return request.param


def sgd(parameters):
    """At a rate of 0.01, one process from weights that differ in the last bit ends 5e-8 away after 3 steps: mixtures
    divide by the small variances of their components."""
    return torch.optim.SGD(parameters, lr=0.001, momentum=0.9)


def train(path, norm, steps, processes=1, ckpt_path=None):
    optimizers = {"generator_optimizer": sgd, "discriminator_optimizer": sgd}
    module = small_gan(generator_norms=[norm], discriminator_norms=[norm], **optimizers)
    settings = {"processes": processes, "ckpt_path": ckpt_path, "precision": "64-true"}
    fit(module, steps, [EMA(half_life_images=20)], **settings).save_checkpoint(path)
    return module


def weights(path):
    return read_checkpoint(path)["state_dict"]


def test_a_run_goes_on_bit_for_bit(norm, tmp_path):
    train(tmp_path / "whole.ckpt", norm, 4)
    train(tmp_path / "half.ckpt", norm, 2)
    train(tmp_path / "rest.ckpt", norm, 4, ckpt_path=tmp_path / "half.ckpt")
    assert differences(weights(tmp_path / "whole.ckpt"), weights(tmp_path / "rest.ckpt")) == 0


def test_the_average_of_weights_has_its_state(norm, tmp_path):
    module = train(tmp_path / "run.ckpt", norm, 4)
    average, generator = module.generator_ema, module.generator
    of_both = zip(average.named_buffers(), generator.buffers(), strict=True)
    for (name, own), of_generator in of_both:
        if "parametrizations." not in name:
            assert torch.equal(own, of_generator), name  # such as a mixture, which a batch has moved
    moved = [name for name, own in average.named_parameters() if not torch.equal(own, generator.get_parameter(name))]
    assert moved, "it is an average, not a copy"
    if isinstance(norm, SpectralOperator):
        layer = average.ups[0].conv
        assert operator_norm(layer, (4, 4)) == pytest.approx(2.0, rel=0.01), "by its own singular vectors"
    if isinstance(norm, Mixture):
        assert average.norm.num_batches_tracked == 8, "in the updates of both networks"
    loaded = GAN.from_checkpoint(read_checkpoint(tmp_path / "run.ckpt"))
    assert torch.equal(loaded.sample(4), module.sample(4))


@pytest.mark.slow
def test_two_processes_compute_what_one_does(norm, tmp_path):
    one, two = tmp_path / "one.ckpt", tmp_path / "two.ckpt"
    assert together(lambda: train(one, norm, 3), 1) == [0]
    assert together(lambda: train(two, norm, 3, 2)) == [0, 0]
    assert differences(weights(one), weights(two)) < 1e-10


@pytest.mark.slow
def test_compiled_it_computes_the_same(norm):
    """By the graphs that are captured and differentiated; inductor would only translate them."""
    torch.manual_seed(0)
    torch.compiler.reset()
    mixture = isinstance(norm, Mixture)
    shape = (4, 4, 4, 4) if mixture else (8, 4)
    plain = norm.apply(NormSite(4) if mixture else nn.Linear(4, 6))
    plain(torch.randn(shape))  # a mixture begins with many more steps than it takes later
    compiled = copy.deepcopy(plain)
    compiled.compile(backend="aot_eager", dynamic=False)
    for _ in range(2):
        x = torch.randn(shape)
        for module in plain, compiled:
            module.zero_grad()
            module(x).sin().sum().backward()
        for ours, theirs in zip(plain.parameters(), compiled.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad)
    assert differences(plain.state_dict(), compiled.state_dict()) < 1e-5
