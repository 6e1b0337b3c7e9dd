"""Feature networks: what the metrics see of an image.

A feature network is any `nn.Module` that maps uint8 images (N, C, H, W) to `(features, logits)`: features (N, D) in
float32 and logits (N, K) in float32, or None if it is no classifier. The same image must always get the same features. It
may have two attributes: `name`, which stands in the names of its metrics (else the class name in lower case does), and
`resize`, which says for the protocol what becomes of the images' size.
"""

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

from gan.images import to_float

Features = tuple[Tensor, Tensor | None]


class FeatureNetwork(nn.Module):
    """Base of the feature networks here: always in evaluation mode."""

    name: str
    resize: str

    def train(self, mode: bool = True) -> "FeatureNetwork":
        """Stay in evaluation mode, whatever `mode` asks for."""
        return super().train(False)


def name_of(network: nn.Module) -> str:
    """Return the name that stands in the names of the metrics."""
    return str(getattr(network, "name", type(network).__name__.lower()))


def weights_hash(network: nn.Module) -> str:
    """Return 16 hexadecimal digits that identify the class and its parameters and buffers."""
    digest = hashlib.sha256(type(network).__qualname__.encode())
    for key, value in sorted(network.state_dict().items()):
        digest.update(f"{key} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


class DigitsClassifier(FeatureNetwork):
    """A small classifier of the handwritten digits of `gan.data.Digits`, for grayscale images of 32x32.

    Features (N, 64) are the globally averaged last activations, logits (N, 10) those of the classes. The shipped
    weights are what `benchmarks/digits_classifier.py` makes.

    Args:
        weights_path: A state dict; None for the shipped weights.
    """

    name = "digits"
    resize = "none"
    SIZE = 32

    def __init__(self, weights_path: str | None = None) -> None:
        super().__init__()
        self.body, self.classifier = digits_body(), nn.Linear(64, 10)
        path = Path(weights_path) if weights_path else Path(__file__).with_name("digits.pt")
        if not path.is_file():
            raise FileNotFoundError(f"weights_path: there is no file {path}")
        self.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map uint8 images (N, 1, 32, 32) to features (N, 64) and logits (N, 10)."""
        if images.shape[1:] != (1, self.SIZE, self.SIZE):
            raise ValueError(f"DigitsClassifier takes images of shape (N, 1, 32, 32), got {tuple(images.shape)}")
        features = self.body(to_float(images)).mean((2, 3))
        return features, self.classifier(features)


def digits_body() -> nn.Sequential:
    """Return the convolutions of `DigitsClassifier`: (N, 1, 32, 32) to (N, 64, 4, 4)."""
    blocks = [_block(1, 16), _block(16, 32), _block(32, 64)]
    return nn.Sequential(*blocks)


def _block(channels_in: int, channels_out: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels_out), nn.ReLU(), nn.MaxPool2d(2))
