"""A CIFAR-10 classifier as a feature network, for where Inception's weights cannot be had.

Trains a ResNet-9 on the 50,000 training images, tests it on the 10,000 others, and writes its weights. With it, scores
are called `fd_cifar` and `is_cifar`; they are not FID and inception score, and compare with nothing but themselves.
22 epochs take two to three hours on one CPU core.

    python -m benchmarks.cifar_features --root data --out cifar_features.pt
    gan study cifar10 run --set metrics.features=benchmarks.cifar_features.CIFARFeatures \
        --set metrics.features.weights=cifar_features.pt
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan.data import CIFAR10
from gan.metrics.features import FeatureNetwork

BATCH = 256
PADDING = 4
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # of the training images, in [0, 1]


class CIFARFeatures(FeatureNetwork):
    """A ResNet-9 for 32x32 colour images.

    Features (N, 384) are the last activations, averaged over the image; logits (N, 10) are those of CIFAR-10's classes.

    Args:
        weights: File of its state dict; None: random weights.
    """

    name = "cifar"
    resize = "none"

    def __init__(self, weights: str | None = None) -> None:
        super().__init__()
        self.body = nn.Sequential(
            block(3, 32, pool=True),
            block(32, 64),
            Residual(64),
            block(64, 192, pool=True),
            block(192, 384, pool=True),
            Residual(384),
        )
        self.fc = nn.Linear(384, 10)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1) * 255, persistent=False)
        if weights is not None:
            self.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
            self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map uint8 images (N, 3, 32, 32) to features (N, 384) and logits (N, 10)."""
        if images.shape[1:] != (3, 32, 32):
            raise ValueError(f"CIFARFeatures takes images of shape (N, 3, 32, 32), got {tuple(images.shape)}")
        features = self.body((images.float() - self.mean) / self.std).mean((2, 3))
        return features, self.fc(features)


class Residual(nn.Module):
    """Two blocks beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.a, self.b = block(channels, channels), block(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.b(self.a(x))


def block(channels_in: int, channels_out: int, pool: bool = False) -> nn.Sequential:
    convolution = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
    layers = [convolution, nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, *([nn.MaxPool2d(2)] if pool else []))


def augmented(images: Tensor) -> Tensor:
    """Return every image mirrored or not, and a random crop of it after padding by `PADDING` pixels."""
    size, n = images.shape[-1], len(images)
    images = torch.where(torch.rand(n, 1, 1, 1) < 0.5, images.flip(3), images)
    padded = F.pad(images.float(), (PADDING,) * 4, mode="reflect").to(images.dtype)
    rows, columns = (torch.randint(2 * PADDING + 1, (n, 1)) + torch.arange(size) for _ in range(2))
    return padded[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def train(network: CIFARFeatures, images: Tensor, labels: Tensor, epochs: int) -> None:
    steps = len(images) // BATCH
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.4, total_steps=epochs * steps)
    for epoch in range(epochs):
        order = torch.randperm(len(images))
        for batch in order[: steps * BATCH].split(BATCH):
            _, logits = nn.Module.train(network, True)(augmented(images[batch]))
            loss = F.cross_entropy(logits, labels[batch], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1} of {epochs}: loss {loss.item():.3f}", flush=True)


@torch.inference_mode()
def accuracy(network: CIFARFeatures, images: Tensor, labels: Tensor) -> float:
    network.eval()
    found = torch.cat([network(batch)[1].argmax(1) for batch in images.split(500)])
    return float((found == labels).double().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data", help="as CIFAR10's `root`: a folder to download to, or a zip")
    parser.add_argument("--out", type=Path, default=Path("cifar_features.pt"), help="file of the weights")
    parser.add_argument("--epochs", type=int, default=22)
    parser.add_argument("--num_images", type=int, default=None, help="train on fewer images, to try it")
    given = parser.parse_args()
    torch.manual_seed(0)
    data = CIFAR10(given.root, num_images=given.num_images)
    splits = {split: (torch.cat(list(data.reference(split))), data.source(split).labels) for split in ("train", "test")}
    network = CIFARFeatures()
    train(network, *splits["train"], given.epochs)
    print(f"accuracy on {len(splits['test'][1]):,} test images: {accuracy(network, *splits['test']):.4f}")
    torch.save(network.state_dict(), given.out)
    print(f"wrote {given.out}")


if __name__ == "__main__":
    main()
