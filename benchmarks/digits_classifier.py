"""Train the classifier whose features and logits score generated digits: `python -m benchmarks.digits_classifier`.

Four fifths of the digits train it, the last fifth (in scikit-learn's order: other writers) tests it. Deterministic on
one machine; about a minute on one core. Writes gan/metrics/digits.pt.
"""

import argparse

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan.data import Digits
from gan.images import to_float
from gan.metrics.digits import WEIGHTS, digits_body

EPOCHS = 40
BATCH = 64


def shifted(images: Tensor) -> Tensor:
    """Move all images by up to two pixels: the classifier shall tell shapes, not places."""
    dy, dx = torch.randint(-2, 3, (2,)).tolist()
    padded = F.pad(images, (2, 2, 2, 2), value=-1)
    return padded[:, :, 2 + dy : 34 + dy, 2 + dx : 34 + dx]


def train(network: nn.Module, images: Tensor, labels: Tensor) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-2)
    steps = EPOCHS * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    for step in range(steps):
        batch = torch.randint(len(images), (BATCH,))
        loss = F.cross_entropy(network(shifted(images[batch])), labels[batch], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 200 == 0:
            print(f"step {step}/{steps}: loss {loss.item():.3f}")


@torch.no_grad()
def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    return float((network.eval()(images).argmax(1) == labels).double().mean())


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)
    data = Digits()
    images, labels = to_float(torch.cat(list(data.reference("train")))), data.source("train").labels
    held_out = len(images) * 4 // 5
    body, classifier = digits_body(), nn.Linear(64, 10)
    network = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), classifier)
    train(network, images[:held_out], labels[:held_out])
    correct = accuracy(network, images[held_out:], labels[held_out:])
    print(f"accuracy on {len(images) - held_out} held-out digits: {correct:.4f}")
    state = {f"body.{k}": v for k, v in body.state_dict().items()}
    torch.save(state | {f"classifier.{k}": v for k, v in classifier.state_dict().items()}, WEIGHTS)
    print(f"wrote {WEIGHTS} ({WEIGHTS.stat().st_size} bytes)")


if __name__ == "__main__":
    main()
