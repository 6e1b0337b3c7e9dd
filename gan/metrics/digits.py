"""The feature network for `gan.data.Digits`."""

from pathlib import Path

import torch
from torch import Tensor, nn

from gan.images import to_float
from gan.metrics.features import FeatureNetwork

WEIGHTS = Path(__file__).with_name("digits.pt")


class DigitsClassifier(FeatureNetwork):
    """A small classifier of the handwritten digits of `gan.data.Digits`, for gray images of 32x32.

    Features (N, 64) are the last activations, averaged over the image; logits (N, 10) are those of the digits. The
    weights are part of the package; `benchmarks/digits_classifier.py` trains them.
    """

    name = "digits"
    resize = "none"

    def __init__(self) -> None:
        super().__init__()
        self.body, self.classifier = digits_body(), nn.Linear(64, 10)
        self.load_state_dict(torch.load(WEIGHTS, map_location="cpu", weights_only=True))
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map uint8 images (N, 1, 32, 32) to features (N, 64) and logits (N, 10)."""
        if images.shape[1:] != (1, 32, 32):
            raise ValueError(f"DigitsClassifier takes images of shape (N, 1, 32, 32), got {tuple(images.shape)}")
        features = self.body(to_float(images)).mean((2, 3))
        return features, self.classifier(features)


def digits_body() -> nn.Sequential:
    """Return the convolutions of `DigitsClassifier`: (N, 1, 32, 32) to (N, 64, 4, 4)."""
    return nn.Sequential(_block(1, 16), _block(16, 32), _block(32, 64))


def _block(channels_in: int, channels_out: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels_out), nn.ReLU(), nn.MaxPool2d(2))
