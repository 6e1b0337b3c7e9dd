import math

import pytest
import torch
from torch import nn

from gan.losses import R1, WGANGP, Hinge, LeastSquares, Loss, NonSaturating, Penalty, Wasserstein

# logits (real; fake), the discriminator's loss, the generator's: computed by hand
LOG2 = math.log(2)
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
]


@pytest.mark.parametrize(("loss", "real", "fake", "discriminator", "generator"), VALUES)
def test_values_by_hand(loss, real, fake, discriminator, generator):
    real, fake = torch.tensor(real), torch.tensor(fake)
    assert float(loss.discriminator(real, fake)) == pytest.approx(discriminator)
    assert float(loss.generator(fake)) == pytest.approx(generator)


def test_every_loss_and_penalty_is_tested():
    assert {type(row[0]) for row in VALUES} == set(Loss.__subclasses__())
    assert {R1, WGANGP} == set(Penalty.__subclasses__())


@pytest.mark.parametrize("loss", [kind() for kind in Loss.__subclasses__()])
def test_each_network_moves_the_logits_its_way(loss):
    real, fake = torch.zeros(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    loss.discriminator(real, fake).backward()
    assert (real.grad < 0).all()  # descent makes real logits rise
    # at zero, the least squares discriminator is where it wants to be for fakes
    assert (fake.grad > 0).all() or isinstance(loss, LeastSquares)
    fake.grad = None
    loss.generator(fake).backward()
    assert (fake.grad < 0).all()


class Linear(nn.Module):
    """D(x) = scale · sum of the pixels: its gradient is `scale` everywhere."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x, y=None):
        return self.scale * x.sum((1, 2, 3))


def test_penalties_of_a_linear_discriminator():
    images = torch.randn(5, 1, 2, 2)
    arguments = images, torch.randn_like(images), torch.zeros(5), torch.rand(5)
    network = Linear(3.0)  # four pixels: the gradient's norm is 2 · 3
    r1 = R1(weight=10.0)(network, *arguments)
    assert float(r1) == pytest.approx(10 / 2 * 36)
    r1.backward()
    assert float(network.scale.grad) == pytest.approx(10 / 2 * 4 * 2 * 3)  # d/ds of 5 · 4 s²
    assert float(WGANGP(weight=10.0)(network, *arguments)) == pytest.approx(10 * (6 - 1) ** 2)


def test_penalties_judge_an_image_as_of_its_class():
    class Classes(nn.Module):
        def forward(self, x, y):
            return torch.tensor([1.0, 2.0, 3.0])[y] * x.sum((1, 2, 3))

    images = torch.randn(2, 1, 2, 2)  # four pixels: the gradients' norms are 2 · 3 and 2 · 1
    arguments = images, torch.randn_like(images), torch.tensor([2, 0]), torch.rand(2)
    assert float(R1(weight=10.0)(Classes(), *arguments)) == pytest.approx(10 / 2 * (36 + 4) / 2)
    assert float(WGANGP(weight=10.0)(Classes(), *arguments)) == pytest.approx(10 * (25 + 1) / 2)


def test_penalties_are_computed_in_float32_at_least():
    """The gradient of a sum of 257 pixels has the squared norm 257, which bfloat16 rounds to 256."""
    network, images = Linear(1.0).bfloat16(), torch.zeros(1, 1, 1, 257, dtype=torch.bfloat16)
    arguments = images, images, torch.zeros(1), torch.zeros(1)
    assert R1(weight=2.0)(network, *arguments).item() == 257
    assert WGANGP(weight=1.0)(network, *arguments).item() == pytest.approx((257**0.5 - 1) ** 2)


def test_wgan_gp_looks_between_real_and_fake():
    class Spy(Linear):
        def forward(self, x, y=None):
            self.seen = x
            return super().forward(x)

    spy = Spy(1.0)
    real, fake = torch.zeros(2, 1, 1, 1), torch.ones(2, 1, 1, 1)
    WGANGP()(spy, real, fake, torch.zeros(2), torch.tensor([0.25, 0.75]))
    assert spy.seen.flatten().tolist() == [0.25, 0.75]
