import copy

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback
from small_trainings import differences, fit, small_gan, small_networks
from torch import nn
from torch.nn import functional as F

from gan.callbacks.operator_norms import operator_norms
from gan.data import Digits
from gan.images import to_float, to_uint8
from gan.losses import R1, WGANGP, Hinge, Loss, NonSaturating
from gan.module import GAN
from gan.networks import DCGANDiscriminator
from gan.norms import Batch, ConditionalBatch, Conv, Layer, Mixture, Spectral, normalize
from gan.training.optimizers import LinearDecay


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.1)


class Recorder(Callback):
    """Keeps what goes in and out of every step."""

    def __init__(self):
        self.batches, self.outputs, self.steps = [], [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.batches.append(batch)
        self.outputs.append(outputs)
        self.steps.append(trainer.global_step)


def gradient(d, x, y):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(d(x, y).sum(), x, create_graph=True)[0]


def wgan_gp(d, real, fake, y, mix):
    slopes = gradient(d, real + mix[:, None, None, None] * (fake - real), y).square().sum((1, 2, 3)).sqrt()
    return 3 * (slopes - 1).square().mean()


def r1(d, real, fake, y, mix):
    return 3 / 2 * gradient(d, real, y).square().sum((1, 2, 3)).mean()


@pytest.mark.parametrize(
    ("discriminator_steps", "joint_pass", "conditional", "penalty", "penalty_by_hand"),
    [
        (1, True, False, None, None),
        (3, True, False, None, None),
        (1, False, False, None, None),
        (3, False, False, None, None),
        (2, True, True, WGANGP(3.0), wgan_gp),
        (2, False, True, R1(3.0), r1),
    ],
)
def test_a_run_is_the_loop_one_would_write_by_hand(
    discriminator_steps, joint_pass, conditional, penalty, penalty_by_hand
):
    """The same updates, in plain PyTorch, on the same data, noise and labels give the same weights."""
    seed, batch, ratio = 5, 8, 2
    recorder = Recorder()
    norms = [ConditionalBatch() if conditional else Batch()], [Spectral()]
    optimizers = {"generator_optimizer": sgd, "discriminator_optimizer": sgd}
    counts = {"discriminator_steps": discriminator_steps, "generator_batch_ratio": ratio}
    arguments = {"penalty": penalty, "joint_pass": joint_pass, "seed": seed}
    networks = small_networks("dcgan", conditional=conditional)
    module = GAN(*networks, NonSaturating(), *norms, **arguments, **optimizers, **counts)
    fit(module, 3, [recorder], precision="64-true")

    def drawn(stream, step, update):  # the streams by their numbers: noise 2, labels 3, mixes 4
        return np.random.default_rng((seed, stream, step, update))

    def inputs(count, step, update):
        z = drawn(2, step, update).standard_normal((count, 8), dtype=np.float32)
        return torch.from_numpy(z).double(), torch.from_numpy(drawn(3, step, update).integers(0, 10, count))

    g, d = map(normalize, small_networks("dcgan", conditional=conditional), norms)
    g, d = g.double(), d.double()
    g_optimizer, d_optimizer = sgd(g.parameters()), sgd(d.parameters())
    for step, (images, labels) in enumerate(recorder.batches):
        assert len(images) == len(labels) == discriminator_steps * batch
        for update in range(discriminator_steps):
            mine = slice(update * batch, (update + 1) * batch)
            real, y = (images[mine].float() / 127.5 - 1).double(), labels[mine]
            z, fake_y = inputs(batch, step, update)
            d_optimizer.zero_grad()
            fake = g(z, fake_y).detach()
            if joint_pass:
                real_logits, fake_logits = d(torch.cat([real, fake]), torch.cat([y, fake_y])).chunk(2)
            else:
                real_logits, fake_logits = d(real, y), d(fake, fake_y)
            loss = F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()
            if penalty_by_hand:
                mix = torch.from_numpy(drawn(4, step, update).random(batch, dtype=np.float32)).double()
                loss = loss + penalty_by_hand(d, real, fake, y, mix)
            loss.backward()
            d_optimizer.step()
        z, y = inputs(ratio * batch, step, discriminator_steps)
        g_optimizer.zero_grad()
        F.softplus(-d(g(z, y), y)).mean().backward()
        g_optimizer.step()
    assert differences(module.generator.state_dict(), g.state_dict()) < 1e-10
    assert differences(module.discriminator.state_dict(), d.state_dict()) < 1e-10


def weights_after_two_steps(norm, joint_pass):
    module = small_gan(discriminator_norms=[norm], joint_pass=joint_pass)
    fit(module, 2, precision="64-true")
    return module.discriminator.state_dict()


@pytest.mark.parametrize("norm", [Conv(), Layer()])
def test_one_pass_and_two_are_equal_for_norms_of_single_images(norm):
    assert differences(weights_after_two_steps(norm, True), weights_after_two_steps(norm, False)) < 1e-10


@pytest.mark.parametrize("norm", [Batch(), Mixture()])
def test_norms_of_batches_never_see_real_and_fake_images_together(norm):
    assert differences(weights_after_two_steps(norm, True), weights_after_two_steps(norm, False)) == 0


@pytest.mark.parametrize("penalty", [None, WGANGP()])
@pytest.mark.parametrize("conditional", [False, True])
def test_micro_batches_add_up_to_the_batch(penalty, conditional):
    def weights(micro_batches):
        generator, discriminator = small_networks("dcgan")
        if conditional:
            discriminator = type(discriminator)(32, 1, 10, conditional=True, width=8)
            generator.conditional = True  # the labels of its images go to the discriminator
        norms = {"generator_norms": [Layer()], "discriminator_norms": [Conv(), Layer()]}
        module = GAN(
            generator,
            discriminator,
            Hinge(),
            **norms,
            penalty=penalty,
            discriminator_steps=2,
            micro_batches=micro_batches,
        )
        recorder = Recorder()
        fit(module, 3, [recorder], precision="64-true")
        return module.state_dict(), {name: float(value) for name, value in recorder.outputs[-1].items()}

    whole, watched = weights(1)
    parts, watched_in_parts = weights(4)
    assert differences(whole, parts) < 1e-10
    assert watched_in_parts == pytest.approx(watched, abs=1e-10)


def test_micro_batches_must_divide_the_batch():
    with pytest.raises(ValueError, match="micro_batches must divide a process' 8 images, got 3"):
        fit(small_gan(micro_batches=3), 1)


def test_the_step_counts_generator_steps():
    recorder = Recorder()
    trainer = fit(small_gan(discriminator_steps=4), 5, [recorder])
    assert trainer.global_step == 5
    assert recorder.steps == [1, 2, 3, 4, 5]


def test_updates_touch_one_network_only():
    class Spy(Callback):
        def __init__(self):
            self.gradients = []

        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            has = [any(p.grad is not None and p.grad.any() for p in net.parameters()) for net in networks]
            self.gradients.append((trainer.optimizers.index(optimizer), has))

    module = small_gan(discriminator_steps=2)
    networks = module.generator, module.discriminator
    spy = Spy()
    fit(module, 1, [spy])
    assert [index for index, _ in spy.gradients] == [1, 1, 0]  # D, D, G
    assert spy.gradients[0][1] == [False, True]  # the first update of D leaves no gradient in G


def test_generator_loss_reaches_no_discriminator_gradient():
    module = small_gan(discriminator_optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.0))
    before = copy.deepcopy(module.discriminator.state_dict())
    fit(module, 2)
    assert differences(before, module.discriminator.state_dict()) == 0


def test_what_is_watched():
    recorder = Recorder()
    fit(small_gan(penalty=R1()), 1, [recorder])
    names = {"loss/discriminator", "loss/generator", "loss/penalty", "logits/real", "logits/fake", "logits/real_sign"}
    assert set(recorder.outputs[0]) == names
    assert all(value.ndim == 0 and not value.requires_grad for value in recorder.outputs[0].values())


@pytest.mark.parametrize("penalty", [R1(), WGANGP()])
@pytest.mark.parametrize("norm", [Conv(), Spectral()])
@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-mixed"])
def test_penalties_train_normalized_discriminators(penalty, norm, precision):
    """A penalty needs second derivatives: of ConvNorm's filter too."""
    module = small_gan(penalty=penalty, discriminator_norms=[norm])
    before = copy.deepcopy(module.discriminator.state_dict())
    fit(module, 2, precision=precision)
    assert 0 < differences(before, module.discriminator.state_dict()) < 1


def test_learning_rates_decay_over_their_own_horizon():
    decay = LinearDecay(end=10, start=2)
    assert [decay(step) for step in (0, 2, 3, 6, 10, 99)] == [1, 1, 0.875, 0.5, 0, 0]
    module = small_gan(decay=LinearDecay(end=8), generator_optimizer=sgd)
    fit(module, 2)
    assert module.learning_rates() == {"generator": pytest.approx(0.0875), "discriminator": pytest.approx(1.75e-4)}


def test_optimizers_are_of_the_papers_settings_and_fused_unless_the_configuration_chooses():
    chosen = {"discriminator_optimizer": lambda parameters: torch.optim.Adam(parameters, foreach=True)}
    (ours,), (theirs,) = (optimizer.param_groups for optimizer in fit(small_gan(**chosen), 1).optimizers)
    assert (ours["lr"], ours["betas"], ours["fused"]) == (2e-4, (0.0, 0.9), True)
    assert (theirs["lr"], theirs["betas"], theirs["fused"], theirs["foreach"]) == (1e-3, (0.9, 0.999), None, True)


def test_channels_last_trains_as_the_plain_form(architecture):
    norms = {"generator_norms": [Batch()], "discriminator_norms": [Conv()]}
    plain, fast = Recorder(), Recorder()
    fit(small_gan(architecture, **norms), 2, [plain])
    module = small_gan(architecture, **norms, channels_last=True)
    fit(module, 2, [fast])
    for a, b in zip(plain.outputs, fast.outputs, strict=True):
        for name in a:
            assert float(b[name]) == pytest.approx(float(a[name]), abs=1e-4, rel=1e-4), name
    kernels = [p for p in module.parameters() if p.ndim == 4 and min(p.shape[1:]) > 1]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)


def test_bfloat16_updates_the_weights_as_float32(architecture):
    """The first update of each network differs by less than 30 %; with AVX2 and AVX-512 by 0.4 to 9 %.

    Adam would not do: its first update is the sign of the gradient, so a rounding error moves a weight as far as the
    learning rate. Nor would few images: the rounding errors of single images average out over 64.
    """

    def weights(network):
        return torch.cat([p.detach().flatten() for p in network.parameters()])

    def update(precision, channels_last):
        norms = {"generator_norms": [Batch()], "discriminator_norms": [Conv()]}
        optimizers = {"generator_optimizer": sgd, "discriminator_optimizer": sgd}
        module = small_gan(architecture, **norms, **optimizers, channels_last=channels_last)
        networks = module.generator, module.discriminator
        before = [weights(network) for network in networks]
        fit(module, 1, data=Digits(batch_size=64), precision=precision)
        assert all(p.dtype == torch.float32 for p in module.parameters())
        return [weights(network) - start for network, start in zip(networks, before, strict=True)]

    for exact, rounded in zip(update("32-true", False), update("bf16-mixed", True), strict=True):
        assert 0 < (rounded - exact).norm() < 0.3 * exact.norm()


def test_the_loss_is_of_logits_in_the_precision_of_the_weights():
    class Spy(Hinge):
        def __init__(self):
            self.seen = set()

        def discriminator(self, real, fake):
            self.seen |= {real.dtype, fake.dtype}
            return super().discriminator(real, fake)

        def generator(self, fake, real=None):
            self.seen.add(fake.dtype)
            return super().generator(fake)

    for precision, dtype in {"bf16-mixed": torch.float32, "64-true": torch.float64}.items():
        module = small_gan(loss=Spy())
        fit(module, 1, precision=precision)
        assert module.loss.seen == {dtype}


def test_conditional_training_feeds_labels_to_both_networks():
    generator, _ = small_networks("sngan_resnet")
    _, discriminator = small_networks("sngan_resnet")
    discriminator = type(discriminator)(32, 1, 10, conditional=True, width_multiplier=1 / 16)
    module = GAN(generator, discriminator, Hinge(), [ConditionalBatch()])
    assert module.conditional
    embedding = discriminator.head.embedding.weight.clone()
    gain = generator.blocks[0].norm1.gain.weight.clone()
    fit(module, 2, data=Digits(batch_size=32))
    assert (discriminator.head.embedding.weight != embedding).any()
    assert (generator.blocks[0].norm1.gain.weight != gain).any()
    same_noise = module.sample(2, torch.tensor([3, 7]), seed=1)
    assert not torch.equal(same_noise, module.sample(2, torch.tensor([7, 3]), seed=1))
    assert torch.equal(same_noise, module.sample(2, [3, 7], seed=1))


def test_samples_do_not_depend_on_how_they_are_asked_for():
    module = small_gan(generator_norms=[Batch()])
    whole = module.sample(150)
    assert whole.dtype == torch.uint8
    assert whole.shape == (150, 1, 32, 32)
    parts = torch.cat([module.sample(1), module.sample(99, start=1), module.sample(50, start=100)])
    # the same inputs in other batches: convolution kernels may round differently
    assert (whole.int() - parts.int()).abs().max() <= 1
    assert not torch.equal(module.sample(4), module.sample(4, seed=1))
    assert torch.equal(module.sample(4), module.sample(4))


def test_sampling_leaves_the_training_alone():
    module = small_gan(generator_norms=[Batch()])
    module.train()
    state, random_state = copy.deepcopy(module.state_dict()), torch.get_rng_state()
    module.sample(4)
    assert module.generator.training
    assert differences(state, module.state_dict()) == 0
    assert torch.equal(random_state, torch.get_rng_state())


def test_what_is_frozen_in_evaluation_mode_stays_so():
    """A look at the networks is none of the training's business: the mode of every single module comes back."""
    module = small_gan(generator_norms=[Batch()], discriminator_norms=[Batch()])
    module.generator.ups.eval()
    module.discriminator.downs[0].eval()
    modes = [each.training for each in module.modules()]
    module.sample(4)
    assert [each.training for each in module.modules()] == modes
    assert operator_norms(module.discriminator, torch.zeros(1, 1, 32, 32))
    assert [each.training for each in module.modules()] == modes


class Unusual(DCGANDiscriminator):
    """Does not call one layer, calls another by keyword, a third by hooks, and has attention, which calls none."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.unused, self.named = nn.Linear(2, 2), nn.Conv2d(1, 1, 1)
        self.attention = nn.MultiheadAttention(1, 1, batch_first=True)
        self.hooked = nn.utils.spectral_norm(nn.Linear(1, 1))

    def forward(self, x, y=None):
        pixels = self.hooked(self.named(input=x).flatten(2).transpose(1, 2)[:, :4])
        return super().forward(x, y) + self.attention(pixels, pixels, pixels)[0].mean((1, 2))


def test_layers_that_are_not_called_have_no_operator_norm():
    network = Unusual(image_size=32, channels=1, num_classes=10, width=4)
    measured = operator_norms(network, torch.zeros(1, 1, 32, 32))
    assert {"downs.0.conv", "named"} <= set(measured)
    assert measured["named"] == pytest.approx(abs(network.named.weight.item()))
    assert not [name for name in measured if name.startswith(("unused", "attention", "hooked"))]


def conditional():
    return small_gan(generator_norms=[ConditionalBatch()])


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda gan: gan.sample(0), "the number of samples must be at least 1, got 0"),
        (lambda gan: conditional().sample(2, torch.tensor([1])), r"labels must have the shape \(2,\), got \(1,\)"),
        (lambda gan: gan.sample(1, seed=-1), "seed must be between 0 and 4294967295, got -1"),
        (lambda gan: gan.sample(1, seed=2**32), "seed must be between 0 and 4294967295, got 4294967296"),
        (lambda gan: gan.sample(1, start=-3), "start must be at least 0, got -3"),
        (lambda gan: conditional().sample(1, [0.5]), r"labels must be whole numbers, got \[0.5\]"),
        (lambda gan: conditional().sample(1, ["a"]), "there is no class 'a'; known are 0 to 9"),
        (lambda gan: conditional().sample(1, [None]), r"labels must be whole numbers, got \[None\]"),
        (lambda gan: conditional().sample(1, 3), r"labels must have the shape \(1,\), got \(\)"),
        (lambda gan: gan.sample(1, torch.tensor([0])), "labels were given, but the generator is not conditional"),
        (lambda gan: conditional().sample(1, torch.tensor([10])), r"labels must be in \[0, 10\), got 10 to 10"),
        (lambda gan: small_gan(discriminator_steps=0), "discriminator_steps must be at least 1, got 0"),
        (lambda gan: small_gan(generator_batch_ratio=0), "generator_batch_ratio must be at least 1, got 0"),
        (lambda gan: small_gan(seed=-1), "seed must be between 0 and 4294967295, got -1"),
        (lambda gan: LinearDecay(end=0), "start must be at least 0 and below end, got 0 and 0"),
        (lambda gan: fit(gan, 1, max_epochs=3), "trainer.max_epochs must be -1, got 3: the data have no end"),
        (lambda gan: fit(small_gan(), -1), "trainer.max_steps must be at least 1, got -1"),
    ],
)
def test_wrong_arguments_are_named(ask, message):
    with pytest.raises(ValueError, match=message):
        ask(small_gan())


def test_a_conditional_discriminator_needs_a_conditional_generator():
    generator, discriminator = small_networks("dcgan")
    discriminator = type(discriminator)(32, 1, 10, conditional=True, width=8)
    with pytest.raises(ValueError, match="the generator is not: add ConditionalBatch"):
        GAN(generator, discriminator, Hinge())


def test_pixels_round_as_saved_images_do():
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(to_float(every)), every)
    # -0.9999 is 0.013 of 255, 0.003 is 127.88; beyond the range is clamped
    assert to_uint8(torch.tensor([-0.9999, 0.003, 1.5, -2.0])).tolist() == [0, 128, 255, 0]


@pytest.mark.parametrize("loss", [kind() for kind in Loss.__subclasses__()])
def test_a_toy_is_learnt(loss):
    """With every loss, the mean of the generator's pixels moves to that of constant data."""

    class Constant(Digits):
        def train_dataloader(self):
            images = torch.full((16, 1, 32, 32), 230, dtype=torch.uint8)
            while True:
                yield images, torch.zeros(16, dtype=torch.long)

    adam = lambda parameters: torch.optim.Adam(parameters, lr=2e-3, betas=(0.5, 0.9))  # noqa: E731
    module = small_gan(
        loss=loss,
        generator_norms=[Batch()],
        discriminator_norms=[Spectral()],
        generator_optimizer=adam,
        discriminator_optimizer=adam,
    )
    before = float(module.sample(16).float().mean())
    fit(module, 60, data=Constant(batch_size=16))
    after = float(module.sample(16).float().mean())
    assert abs(after - 230) < 0.5 * abs(before - 230)
