from dataclasses import replace

import pytest
import torch

from gan.data import Digits
from gan.metrics import DigitsClassifier
from robustness.attacks import FGSM, PGD, MarginPGD, is_wrong, loss_gradient
from robustness.networks import ResNet20

EPSILON = 8 / 255


@pytest.fixture(scope="module")
def logits():
    """An undefended network that knows the digits: the feature network that comes with the package."""
    network = DigitsClassifier()

    def logits(x):
        return network.classifier(network.body(x * 2 - 1).mean((2, 3)))

    return logits


@pytest.fixture(scope="module")
def digits():
    source = Digits().source("train")
    return torch.stack([source[i] for i in range(40)]).float() / 255, source.labels[:40], range(40)


def accuracy(logits, attack, digits):
    x, y, indices = digits
    return 1 - is_wrong(logits, attack(logits, x, y, indices), y).double().mean().item()


def test_succeed_on_an_undefended_network_and_pgd_at_least_as_often(logits, digits):
    clean = 1 - is_wrong(logits, *digits[:2]).double().mean().item()
    assert clean > 0.9
    strong = FGSM(epsilon=24), PGD(10, epsilon=24, step_size=4), MarginPGD(10, epsilon=24, step_size=4)
    fgsm, pgd, margin = (accuracy(logits, attack, digits) for attack in strong)
    assert fgsm < clean - 0.2
    assert pgd <= fgsm
    assert margin <= fgsm
    assert pgd < 0.2


@pytest.mark.parametrize("kind", [PGD, MarginPGD])
def test_more_steps_and_restarts_are_never_weaker(kind, logits, digits):
    attack = kind(epsilon=16, keep=True)
    by_steps = [accuracy(logits, replace(attack, steps=steps), digits) for steps in (1, 2, 4, 8)]
    assert by_steps == sorted(by_steps, reverse=True)
    assert by_steps[-1] < by_steps[0]
    by_restarts = [accuracy(logits, replace(attack, steps=2, restarts=n, keep=False), digits) for n in (1, 3)]
    assert by_restarts == sorted(by_restarts, reverse=True)


def test_what_is_kept_fools_for_each_image_with_more_steps_too(logits, digits):
    x, y, indices = digits
    attack = PGD(epsilon=16, keep=True)
    few, many = (is_wrong(logits, replace(attack, steps=n)(logits, x, y, indices), y) for n in (3, 10))
    assert (many | ~few).all()


def test_what_a_later_step_would_undo_is_kept():
    """The steps jump to and fro over the place where the network errs: every second one is in it."""

    def logits(x):
        x = x.flatten(1)
        return torch.cat([torch.zeros_like(x), 0.8 / 255 - (x - 0.5).abs()], 1)

    x, y = torch.full((50, 1, 1, 1), 0.5 + 4 / 255), torch.zeros(50, dtype=torch.long)
    fooled = [is_wrong(logits, PGD(steps=n, keep=True)(logits, x, y, range(50)), y) for n in (8, 9)]
    assert (fooled[1] | ~fooled[0]).all()
    assert fooled[0].any()
    last = [is_wrong(logits, PGD(steps=n)(logits, x, y, range(50)), y) for n in (8, 9)]
    assert (last[0] & ~last[1]).any()


@pytest.mark.parametrize("attack", [FGSM(), PGD(steps=5), MarginPGD(steps=5, restarts=2), PGD(steps=5, keep=True)])
def test_stays_within_epsilon_and_the_pixels_range(attack, logits, digits):
    x, y, indices = digits
    changed = attack(logits, x, y, indices)
    assert (changed - x).abs().max() <= EPSILON + 1e-6
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert not changed.requires_grad


@pytest.mark.parametrize("attack", [FGSM(), PGD(steps=3), PGD(steps=3, restarts=3, keep=True)])
def test_an_image_depends_on_its_number_and_not_on_its_batch(attack, digits):
    network = ResNet20(width=4, channels=1).double().eval()
    x, y = digits[0][:6].double(), digits[1][:6]
    whole = attack(network, x, y, range(6))
    parts = [attack(network, x[i : i + 1], y[i : i + 1], [i]) for i in range(6)]
    torch.testing.assert_close(torch.cat(parts), whole)


def test_a_linear_network_by_hand():
    """Of a linear network the worst change is known: epsilon against each weight's sign."""
    weights = torch.tensor([[1.0, -2.0, 0.5, -0.25], [0.0, 0.0, 0.0, 0.0]])

    def logits(x):
        return x.flatten(1) @ weights.T

    x, y = torch.full((1, 1, 2, 2), 0.5), torch.tensor([0])
    expected = 0.5 - EPSILON * weights[0].sign().view(1, 1, 2, 2)
    for attack in FGSM(), PGD(), MarginPGD():
        torch.testing.assert_close(attack(logits, x, y, [0]), expected)


def test_the_margins_gradient_does_not_vanish_where_the_network_is_sure():
    x, y = torch.full((1, 1, 1, 2), 0.5), torch.tensor([0])

    def sure(x):
        return torch.cat([x[:, 0, 0, :1] + 200, x[:, 0, 0, 1:]], 1)

    assert loss_gradient(sure, x, y)[0].abs().max() == 0
    assert loss_gradient(sure, x, y, MarginPGD().loss)[0].tolist() == [[[[-1.0, 1.0]]]]


def test_names_tell_attacks_apart():
    assert [each.name for each in (FGSM(), PGD(), MarginPGD(steps=50, restarts=5, keep=True))] == [
        "fgsm",
        "pgd20",
        "marginpgd50x5_keep",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"epsilon": 0}, "PGD: epsilon must be positive, got 0"), ({"steps": 0}, "PGD: steps must be at least 1, got 0")],
)
def test_what_would_do_nothing_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        PGD(**arguments)
