import math

import pytest
import torch
from torch import nn

from gan.losses import (
    R1,
    R2,
    WGANGP,
    BalancedConsistency,
    Consistency,
    Generation,
    Hinge,
    Judged,
    LatentConsistency,
    LeastSquares,
    LeCam,
    Loss,
    NonSaturating,
    Relativistic,
    Update,
    Wasserstein,
)
from gan.losses.consistency import mirrored_and_moved
from gan.losses.penalty import Penalty
from gan.schedules import Cosine

# logits (real; fake), the discriminator's loss, the generator's: computed by hand
LOG2 = math.log(2)
PENALTIES = {R1, R2, WGANGP, LeCam, Consistency, BalancedConsistency, LatentConsistency}
VALUES = [
    (Hinge(), [0.0], [0.0], 2.0, 0.0),
    (Hinge(), [2.0, 0.5], [-3.0, 1.0], 0.25 + 1.0, 1.0),
    (Hinge(), [-1.0], [-1.0], 2.0, 1.0),
    (NonSaturating(), [0.0], [0.0], 2 * LOG2, LOG2),
    (NonSaturating(), [math.log(3)], [-math.log(3)], 2 * math.log(4 / 3), math.log(4)),
    (NonSaturating(), [100.0], [100.0], 100.0, 0.0),
    (LeastSquares(), [1.0], [0.0], 0.0, 0.5),
    (LeastSquares(), [0.0, 2.0], [1.0, 3.0], 0.5 * (1 + 5), 0.5 * 2),
    (LeastSquares(), [-1.0], [2.0], 0.5 * (4 + 4), 0.5),
    (Wasserstein(), [0.0], [0.0], 0.0, 0.0),
    (Wasserstein(), [3.0, 1.0], [-2.0], -4.0, 2.0),
    (Wasserstein(), [-1.0], [5.0], 6.0, -5.0),
    (Relativistic(), [0.0], [0.0], LOG2, LOG2),
    (Relativistic(), [5.0 + math.log(3), 7.0], [5.0, 7.0], (math.log(4 / 3) + LOG2) / 2, (math.log(4) + LOG2) / 2),
    (Relativistic(), [-100.0], [0.0], 100.0, 0.0),
]


@pytest.mark.parametrize(("loss", "real", "fake", "discriminator", "generator"), VALUES)
def test_values_by_hand(loss, real, fake, discriminator, generator):
    real, fake = torch.tensor(real), torch.tensor(fake)
    assert float(loss.discriminator(real, fake)) == pytest.approx(discriminator)
    assert float(loss.generator(fake, real)) == pytest.approx(generator)


def test_every_loss_and_penalty_is_tested():
    assert {type(row[0]) for row in VALUES} == set(Loss.__subclasses__())
    assert {each for each in leaves(Penalty) if each.__module__.startswith("gan.")} == PENALTIES


def leaves(kind):
    below = kind.__subclasses__()
    return {leaf for each in below for leaf in leaves(each)} if below else {kind}


def test_the_pairing_loss_needs_pairs():
    with pytest.raises(ValueError, match="Relativistic: the generator's loss needs the logits of real images"):
        Relativistic().generator(torch.zeros(2))


@pytest.mark.parametrize("loss", [kind() for kind in Loss.__subclasses__()])
def test_each_network_moves_the_logits_its_way(loss):
    real, fake = torch.zeros(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    loss.discriminator(real, fake).backward()
    assert (real.grad < 0).all()  # descent makes real logits rise
    # at zero, the least squares discriminator is where it wants to be for fakes
    assert (fake.grad > 0).all() or isinstance(loss, LeastSquares)
    fake.grad = None
    loss.generator(fake, real.detach()).backward()
    assert (fake.grad < 0).all()


class Linear(nn.Module):
    """D(x) = scale · sum of the pixels: its gradient is `scale` everywhere."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x, y=None):
        return self.scale * x.sum((1, 2, 3))


def update(network, real, fake=None, labels=(0, 0), numbers=None, number=0, **facts):
    """An update of a discriminator without augmentation."""
    fake = torch.randn_like(real) if fake is None else fake
    real_labels, fake_labels = (
        torch.tensor([label] * len(real)) if isinstance(label, int) else label for label in labels
    )
    groups = [
        Judged(images, y, torch.zeros(len(images), 0), network(images, y))
        for images, y in ((real, real_labels), (fake, fake_labels))
    ]
    given = {"seen": 0, "generate": None, "latents": torch.zeros(len(real), 2), **facts}
    numbers = torch.rand(len(real), 8) if numbers is None else numbers
    return Update(*groups, numbers=numbers, number=number, judge=lambda x, judged: network(x, judged.labels), **given)


def test_penalties_of_a_linear_discriminator():
    network = Linear(3.0)  # four pixels: the gradient's norm is 2 · 3
    seen = update(network, torch.randn(5, 1, 2, 2), numbers=torch.rand(5, 1))
    for kind in R1, R2:
        network.scale.grad = None
        penalty = kind(weight=10.0).discriminator(seen)
        assert float(penalty) == pytest.approx(10 / 2 * 36)
        penalty.backward()
        assert float(network.scale.grad) == pytest.approx(10 / 2 * 4 * 2 * 3)  # d/ds of 5 · 4 s²
    assert float(WGANGP(weight=10.0).discriminator(seen)) == pytest.approx(10 * (6 - 1) ** 2)


class Classes(nn.Module):
    """D(x) = (1 + y) · sum of the pixels."""

    def forward(self, x, y):
        return (1.0 + y) * x.sum((1, 2, 3))


def test_penalties_judge_an_image_as_of_its_class():
    labels = torch.tensor([2, 0]), torch.tensor([1, 1])
    seen = update(Classes(), torch.randn(2, 1, 2, 2), labels=labels, numbers=torch.rand(2, 1))
    # four pixels: the gradients' norms are 2 · 3 and 2 · 1 for real images, 2 · 2 for generated ones
    assert float(R1(weight=10.0).discriminator(seen)) == pytest.approx(10 / 2 * (36 + 4) / 2)
    assert float(R2(weight=10.0).discriminator(seen)) == pytest.approx(10 / 2 * 16)
    assert float(WGANGP(weight=10.0).discriminator(seen)) == pytest.approx(10 * (25 + 1) / 2)


def test_penalties_are_computed_in_float32_at_least():
    """The gradient of a sum of 257 pixels has the squared norm 257, which bfloat16 rounds to 256."""
    network, images = Linear(1.0).bfloat16(), torch.zeros(1, 1, 1, 257, dtype=torch.bfloat16)
    seen = update(network, images, images, numbers=torch.zeros(1, 1))
    assert R1(weight=2.0).discriminator(seen).item() == 257
    assert WGANGP(weight=1.0).discriminator(seen).item() == pytest.approx((257**0.5 - 1) ** 2)


def test_wgan_gp_looks_between_real_and_fake():
    class Spy(Linear):
        def forward(self, x, y=None):
            self.seen = x
            return super().forward(x)

    spy = Spy(1.0)
    real, fake = torch.zeros(2, 1, 1, 1), torch.ones(2, 1, 1, 1)
    WGANGP().discriminator(update(spy, real, fake, numbers=torch.tensor([[0.25], [0.75]])))
    assert spy.seen.flatten().tolist() == [0.25, 0.75]


def test_every_nth_update_has_n_times_the_penalty():
    penalty = R1(weight=10.0, every=4)
    terms = [penalty.discriminator(update(Linear(3.0), torch.randn(2, 1, 2, 2), number=number)) for number in range(8)]
    assert [number for number, term in enumerate(terms) if term is not None] == [0, 4]
    assert float(terms[4]) == pytest.approx(4 * 180)


def test_weights_follow_schedules():
    penalty = R1(weight=Cosine(2.0, 1.0, 100))
    terms = []
    for images in 0, 50, 100:
        penalty.begin(images)
        terms.append(float(penalty.discriminator(update(Linear(1.0), torch.randn(2, 1, 2, 2), seen=images))))
    assert terms == pytest.approx([4, 3, 2])


# LeCam


def judged_as(real, fake, number):
    """An update in which the discriminator said this."""
    nothing = torch.zeros(len(real), 0)
    groups = [Judged(nothing, nothing, nothing, torch.tensor(logits)) for logits in (real, fake)]
    return Update(*groups, nothing, nothing, number, 0, None, None)


def test_lecam_by_hand():
    penalty = LeCam(weight=0.5, decay=0.75, start=0)
    assert penalty.discriminator(judged_as([1.0], [2.0], 0)) is None, "no average yet"
    penalty.observe(torch.tensor(1.0), torch.tensor(-2.0))
    # (relu(1 + 2)² + relu(-3 + 2)²) / 2 = 4.5 and (relu(1 - 0)² + relu(1 - 5)²) / 2 = 0.5
    assert float(penalty.discriminator(judged_as([1.0, -3.0], [0.0, 5.0], 1))) == pytest.approx(0.5 * (4.5 + 0.5))
    penalty.observe(torch.tensor(5.0), torch.tensor(2.0))
    assert (float(penalty.real_average), float(penalty.fake_average)) == (2.0, -1.0)


def test_lecam_starts_late_with_the_latest_averages():
    penalty = LeCam(decay=0.5, start=3)
    for number, logit in enumerate((1.0, 2.0, 4.0, 8.0)):
        assert (penalty.discriminator(judged_as([0.0], [0.0], number)) is None) == (number < 3)
        penalty.observe(torch.tensor(logit), torch.tensor(-logit))
    assert float(penalty.real_average) == 6.0


def test_lecam_stays_exact_in_half_precision_and_goes_on_from_its_state():
    penalty, other = LeCam(start=0).bfloat16(), LeCam(start=0)
    for logit in 1.0, 1.001:
        penalty.observe(torch.tensor(logit), torch.tensor(0.0))
    assert float(penalty.real_average) == pytest.approx(1.00001, abs=1e-7)
    other.load_state_dict(penalty.state_dict())
    assert torch.equal(other.real_average, penalty.real_average)
    assert LeCam().double().real_average.dtype == torch.float64


# Consistency


def test_images_are_mirrored_and_moved_by_hand():
    x = torch.arange(64.0).view(1, 1, 8, 8)
    numbers = torch.tensor([[0.9, 0.5, 0.5], [0.1, 0.5, 0.5], [0.9, 0.99, 0.5], [0.9, 0.5, 0.0]])
    same, mirrored, down, left = mirrored_and_moved(x.expand(4, 1, 8, 8), *numbers.unbind(1))
    assert torch.equal(same, x[0])
    assert torch.equal(mirrored, x[0].flip(-1))
    assert torch.equal(down[0], torch.cat([x[0, 0, 1:2], x[0, 0, :7]]))  # by 8 / 8 = 1 pixel, reflected
    assert torch.equal(left[0], torch.cat([x[0, 0, :, 1:], x[0, 0, :, 6:7]], dim=1))


class First(nn.Module):
    """D(x) = the first pixel."""

    def forward(self, x, y=None):
        return x[:, 0, 0, 0]


def test_consistency_is_the_squared_difference():
    real, fake = torch.randn(3, 1, 8, 8), torch.randn(3, 1, 8, 8)
    mirror, stay = [0.1, 0.5, 0.5], [0.9, 0.5, 0.5]
    gap = (real[:, 0, 0, 0] - real[:, 0, 0, 7]).square().mean()
    fake_gap = (fake[:, 0, 0, 0] - fake[:, 0, 0, 7]).square().mean()

    def term(penalty, *numbers):
        given = torch.tensor([[each for part in numbers for each in part]] * 3)
        return penalty.discriminator(update(First(), real, fake, numbers=given))

    torch.testing.assert_close(term(Consistency(10.0), mirror), 10 * gap)
    assert term(Consistency(10.0), stay) == 0
    torch.testing.assert_close(term(BalancedConsistency(10.0, 5.0), mirror, mirror), 10 * gap + 5 * fake_gap)
    torch.testing.assert_close(term(BalancedConsistency(10.0, 5.0), stay, mirror), 5 * fake_gap)


def test_consistency_in_the_latent_space():
    def generate(z, y):
        return (2 * z).view(-1, 1, 1, 2)

    latents, one = torch.randn(3, 2), 0.8413447  # the uniform number of one standard deviation
    numbers = torch.full((3, 2), one)
    penalty = LatentConsistency(weight=20.0, diversity=0.5, std=0.1)
    assert penalty.numbers(latent_dim=2) == 2
    images = generate(latents, None)
    seen = update(Linear(1.0), images, images, numbers=numbers, latents=latents, generate=generate)
    # each of two pixels moves by 2 · 0.1: so does half of the logit
    assert float(penalty.discriminator(seen)) == pytest.approx(20 * 0.4**2, rel=1e-4)
    generation = Generation(images, torch.zeros(3), latents, numbers, generate)
    assert float(penalty.generator(generation)) == pytest.approx(-0.5 * 0.2**2, rel=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: R1(weight=0), "R1: weight must be positive, got 0"),
        (lambda: R2(weight=Cosine(1, -1, 10)), "R2: weight must be positive, got -1"),
        (lambda: R1(every=0), "R1: every must be at least 1, got 0"),
        (lambda: LeCam(decay=1.0), "LeCam: decay must be at least 0 and below 1, got 1.0"),
        (lambda: LeCam(start=-1), "LeCam: start must be at least 0, got -1"),
        (lambda: BalancedConsistency(fake_weight=-1), "BalancedConsistency: fake_weight must be positive, got -1"),
        (lambda: LatentConsistency(std=0), "LatentConsistency: std must be positive, got 0"),
    ],
)
def test_what_is_out_of_range_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
