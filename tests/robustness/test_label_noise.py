import pytest
import torch

from robustness.label_noise import CIFAR100_SUPERCLASSES, CIFAR100Pairs, Pairs, Symmetric

LABELS = torch.arange(10).repeat(500)


@pytest.mark.parametrize("fraction", [0.0, 0.2, 0.4, 0.6, 1.0])
def test_without_the_true_class_exactly_so_many_are_wrong(fraction):
    noisy = Symmetric(fraction, include_true=False)(LABELS, 10)
    assert (noisy != LABELS).sum() == round(fraction * 5000)
    if fraction:
        counts = torch.bincount(noisy[noisy != LABELS], minlength=10).double() / (fraction * 5000)
        torch.testing.assert_close(counts, torch.full((10,), 0.1).double(), rtol=0, atol=0.03)


@pytest.mark.parametrize("fraction", [0.2, 0.4, 0.6])
def test_with_the_true_class_nine_tenths_of_them_are(fraction):
    wrong = (Symmetric(fraction)(LABELS, 10) != LABELS).double().mean().item()
    assert wrong == pytest.approx(0.9 * fraction, abs=0.015)


def test_pairs_change_an_exact_share_of_their_classes_to_one_other():
    noisy = Pairs(0.4)(LABELS, 10)
    for true, taken in {9: 1, 2: 0, 3: 5, 5: 3, 4: 7}.items():
        now = noisy[true == LABELS]
        assert (now == taken).sum() == 200
        assert (now == true).sum() == 300
    for untouched in 0, 1, 6, 7, 8:
        assert (noisy[untouched == LABELS] == untouched).all()


def test_of_cifar_100_each_class_becomes_another_of_its_superclass():
    members = torch.bincount(torch.tensor(CIFAR100_SUPERCLASSES))
    assert members.tolist() == [5] * 20
    labels = torch.arange(100)
    taken = CIFAR100Pairs(1.0)(labels, 100)
    assert sorted(taken.tolist()) == labels.tolist()
    assert (taken != labels).all()
    assert all(CIFAR100_SUPERCLASSES[int(new)] == CIFAR100_SUPERCLASSES[old] for old, new in enumerate(taken))
    assert taken[[0, 97]].tolist() == [51, 3]  # apple: mushroom; wolf, the last large carnivore: bear


def test_depends_on_the_seed_and_leaves_the_given_labels():
    before = LABELS.clone()
    first = Symmetric(0.4)(LABELS, 10, seed=1)
    assert torch.equal(LABELS, before)
    assert torch.equal(first, Symmetric(0.4)(LABELS, 10, seed=1))
    assert not torch.equal(first, Symmetric(0.4)(LABELS, 10, seed=2))


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"Symmetric: fraction must be between 0 and 1, got 1\.5"):
        Symmetric(1.5)
    with pytest.raises(ValueError, match="the data have 4 classes, none is 4"):
        Pairs(0.4)(torch.arange(4), 4)
