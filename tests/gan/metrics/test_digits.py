import pytest
import torch

from gan.data import Digits
from gan.metrics import DigitsClassifier
from gan.metrics.digits import WEIGHTS


def test_shipped_weights_recognize_the_digits_that_did_not_train_them():
    data = Digits()
    images, labels = torch.cat(list(data.reference("train"))), data.source("train").labels
    held_out = len(images) * 4 // 5
    _, logits = DigitsClassifier()(images[held_out:])
    assert (logits.argmax(1) == labels[held_out:]).double().mean() >= 0.98


def test_weights_are_small():
    assert WEIGHTS.stat().st_size < 300_000


def test_is_frozen():
    network = DigitsClassifier().train()
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_features_and_logits():
    features, logits = DigitsClassifier()(torch.zeros(2, 1, 32, 32, dtype=torch.uint8))
    assert features.shape == (2, 64)
    assert logits.shape == (2, 10)


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (2, 1, 64, 64)])
def test_refuses_other_images(shape):
    with pytest.raises(ValueError, match=r"takes images of shape \(N, 1, 32, 32\), got \(2, "):
        DigitsClassifier()(torch.zeros(shape, dtype=torch.uint8))
