"""Calls that cannot work name the one that does."""

from collections.abc import Callable

import pytest
import torch
from small_trainings import fit, small_gan, small_networks
from torch import Tensor, nn

from gan.callbacks import Evaluation
from gan.losses import Hinge
from gan.metrics import Frechet
from gan.module import GAN
from gan.norms import ConditionalBatch


class WantsFloats(nn.Module):
    name = "floats"

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 4, 3)

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        return self.layer(images).mean((2, 3)), None


def test_a_feature_network_that_wants_floats_is_told_what_it_gets() -> None:
    evaluation = Evaluation(WantsFloats(), [Frechet()], num_samples=8)
    with pytest.raises(ValueError, match=r"floats must take uint8 images \(N, C, H, W\) in \[0, 255\]"):
        fit(small_gan(), 1, [evaluation])


def test_a_conditional_generator_asks_for_labels() -> None:
    conditional = GAN(*small_networks("dcgan"), Hinge(), [ConditionalBatch()])
    with pytest.raises(ValueError, match=r"generate\(\) needs labels \(N,\), sample\(\) draws them"):
        conditional.generate(torch.zeros(2, 8))
    assert conditional.generate(torch.zeros(2, 8), torch.tensor([0, 1])).shape == (2, 1, 32, 32)


@pytest.mark.parametrize(
    ("call", "instead"),
    [
        (lambda gan: gan.load_from_checkpoint("a.ckpt"), r"gan\.load\(path\)"),
        (lambda gan: gan.to_onnx("a.onnx"), "gan export RUN --to onnx"),
        (lambda gan: gan.to_torchscript(), "gan export RUN"),
    ],
)
def test_lightnings_ways_out_name_ours(call: Callable[[GAN], object], instead: str) -> None:
    with pytest.raises(TypeError, match=instead):
        call(small_gan())
